/**
 * Plain HTTP to the server: which model it serves, and one picture through POST /sharpen.
 */

import { keyHeaders, tellLocked } from "./access.js";
import { retryDelayMs } from "./retry.js";

/** @typedef {{id: string, device: string, backend: string, precision: string, default_strength: number}} Model */

/**
 * @typedef {object} Sharpened
 * @property {Blob} encoded
 * @property {Record<string, number>} timesMs stage -> ms, from Server-Timing
 * @property {number} roundTripMs
 */

/** A request the server answered with a problem, or did not answer at all (status 0). */
export class RequestFailed extends Error {
  /**
   * @param {number} status
   * @param {string} title
   * @param {string} detail
   */
  constructor(status, title, detail) {
    super(detail);
    this.status = status;
    this.title = title;
    this.detail = detail;
  }
}

/** The connection ended in the middle of the answer. */
export class AnswerBroken extends RequestFailed {
  constructor() {
    super(0, "The answer broke off", "The connection was cut before all of it had come.");
  }
}

/**
 * @returns {Promise<Model>}
 * @throws {RequestFailed}
 */
export async function fetchModel() {
  const response = await request("/model", { cache: "no-store" });
  return whole(response.json());
}

/**
 * Asks which model is served until there is an answer; then it rests until it is asked to check
 * again.
 */
export class ServerWatch {
  #attempt = 0;
  #timer = 0;

  /**
   * @param {object} listener
   * @param {(model: Model) => void} listener.onModel
   * @param {(failure: RequestFailed, retryAtMs: number) => void} listener.onGone
   */
  constructor(listener) {
    this.listener = listener;
  }

  async check() {
    window.clearTimeout(this.#timer);
    let model;
    try {
      model = await fetchModel();
    } catch (error) {
      if (!(error instanceof RequestFailed)) throw error;
      window.clearTimeout(this.#timer);
      if (error.status === 401) return; // without a key the answer stays the same
      const delayMs = retryDelayMs(this.#attempt++);
      this.#timer = window.setTimeout(() => void this.check(), delayMs);
      this.listener.onGone(error, performance.now() + delayMs);
      return;
    }
    this.#attempt = 0;
    this.listener.onModel(model);
  }
}

/**
 * @param {Blob} picture
 * @param {{strength: number, format?: string, signal: AbortSignal}} options
 * @returns {Promise<Sharpened>}
 * @throws {RequestFailed} also where the request was aborted by `signal`: look at it first
 */
export async function sharpen(picture, { strength, format, signal }) {
  const query = new URLSearchParams({ strength: String(strength), ...(format ? { format } : {}) });
  const body = new FormData();
  body.set("file", picture);
  const startedMs = performance.now();
  const response = await request(`/sharpen?${query}`, { method: "POST", body, signal });
  const encoded = await whole(response.blob());
  return {
    encoded,
    timesMs: parseServerTiming(response.headers.get("Server-Timing") ?? ""),
    roundTripMs: performance.now() - startedMs,
  };
}

/**
 * @param {string} header as "decode;dur=1.5, queue;dur=0"
 * @returns {Record<string, number>}
 */
export function parseServerTiming(header) {
  /** @type {Record<string, number>} */
  const times = {};
  for (const entry of header.split(",")) {
    const [name, ...parameters] = entry.split(";").map((part) => part.trim());
    const duration = parameters.find((parameter) => parameter.startsWith("dur="));
    if (name && duration) times[name] = Number(duration.slice(4));
  }
  return times;
}

/**
 * @template T
 * @param {Promise<T>} body of an answer
 * @returns {Promise<T>}
 * @throws {AnswerBroken}
 */
function whole(body) {
  return body.catch(() => {
    throw new AnswerBroken();
  });
}

/**
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 */
async function request(path, init) {
  let response;
  try {
    response = await fetch(path, { ...init, headers: keyHeaders() });
  } catch {
    throw new RequestFailed(0, "No answer", "The server did not answer.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) tellLocked(problem.detail ?? "");
  throw new RequestFailed(
    response.status,
    problem.title ?? `The server answered ${response.status}`,
    problem.detail ?? response.statusText,
  );
}

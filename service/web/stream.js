/**
 * One session on WS /stream: settings, frames out, results in, and coming back after the server
 * went away.
 * Owns the socket and the count of unanswered frames; knows nothing of cameras and canvases.
 */

import { retryDelayMs } from "./retry.js";
import { PROTOCOL, frameHeader, parseResult } from "./wire.js";

/** A server that leaves a frame (or the opening) unanswered for so long is treated as gone. */
const SILENCE_MS = 10_000;
const WATCH_MS = 1000;

/** @typedef {{strength?: number, quality?: number, format?: string}} StreamSettings */

/**
 * @typedef {object} Hello
 * @property {number} protocol
 * @property {string} model
 * @property {string} device
 * @property {string} backend
 * @property {number} default_strength
 * @property {number} max_frame_bytes
 * @property {number} max_frame_px
 * @property {number} in_flight
 */

/**
 * @typedef {{name: "connecting"} | {name: "live", hello: Hello} | {name: "closed"} |
 *   {name: "waiting", cause: Cause, detail: string, retryAtMs: number} |
 *   {name: "mismatch"}} StreamState
 */

/** @typedef {"gone" | "busy" | "silent" | "refused"} Cause why a session ended */

/**
 * @typedef {object} Listener
 * @property {(state: StreamState) => void} onState
 * @property {(result: import("./wire.js").Result, sent: Blob) => void} onResult
 * @property {(settings: StreamSettings) => void} onSettings what the server now applies
 * @property {(message: string) => void} onError the server could not use a message; the stream goes on
 */

/**
 * @param {number} code of the close event
 * @returns {Cause}
 */
function causeOf(code) {
  if (code === 1013) return "busy";
  if ([1003, 1007, 1008, 1009].includes(code)) return "refused";
  return "gone";
}

export class Stream {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Hello | null} */
  #hello = null;
  /** @type {Map<number, {blob: Blob, sentAtMs: number}>} */
  #unanswered = new Map();
  /** @type {StreamSettings} */
  #settings = {};
  #sequence = 0;
  #attempt = 0;
  #openedAtMs = 0;
  #refusal = "";
  #retryTimer = 0;
  #watchTimer = 0;

  /**
   * @param {string} url
   * @param {Listener} listener
   */
  constructor(url, listener) {
    this.url = url;
    this.listener = listener;
  }

  /** Connect, and stay connected until `close`. */
  open() {
    this.#watchTimer ||= window.setInterval(() => this.#watch(), WATCH_MS);
    this.#connect();
  }

  /** Do not wait for the next attempt. */
  retryNow() {
    this.#connect();
  }

  close() {
    window.clearInterval(this.#watchTimer);
    this.#watchTimer = 0;
    this.#abandon();
    this.listener.onState({ name: "closed" });
  }

  /** Whether the server has greeted and not gone since. */
  get isLive() {
    return this.#hello !== null;
  }

  /** Whether one more frame may be sent now. */
  get hasRoom() {
    return this.#hello !== null && this.#unanswered.size < this.#hello.in_flight;
  }

  /**
   * Settings hold from the next frame on, and again after every reconnection.
   * @param {StreamSettings} settings
   */
  apply(settings) {
    this.#settings = { ...this.#settings, ...settings };
    if (this.#hello) this.#sendSettings();
  }

  /**
   * Send one JPEG. False where there is no room (then it is not sent).
   * @param {Blob} blob
   * @param {number} timestampMs
   */
  send(blob, timestampMs) {
    const hello = this.#hello;
    if (!hello || !this.hasRoom) return false;
    if (blob.size > hello.max_frame_bytes) {
      this.listener.onError(
        `The frame has ${blob.size} bytes; the server takes ${hello.max_frame_bytes}. Choose a smaller size.`,
      );
      return false;
    }
    const sequence = this.#sequence++ >>> 0;
    this.#unanswered.set(sequence, { blob, sentAtMs: performance.now() });
    this.#socket?.send(new Blob([frameHeader(sequence, timestampMs), blob]));
    return true;
  }

  #connect() {
    this.#abandon();
    this.#openedAtMs = performance.now();
    this.#refusal = "";
    this.listener.onState({ name: "connecting" });
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#wait(causeOf(code), this.#refusal || reason);
    this.#socket = socket;
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    if (typeof data !== "string") {
      this.#receiveResult(data);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "hello") this.#greet(message);
    else if (message.type === "settings") this.listener.onSettings(message);
    else if (message.type === "error") this.#receiveError(message);
  }

  /** @param {{message: string, sequence: number | null}} error */
  #receiveError({ message, sequence }) {
    if (sequence !== null) this.#unanswered.delete(sequence);
    // Before the greeting it is why the server is about to close, and belongs to that.
    if (this.#hello) this.listener.onError(message);
    else this.#refusal = message;
  }

  /** @param {Hello} hello */
  #greet(hello) {
    if (hello.protocol !== PROTOCOL) {
      this.#abandon();
      this.listener.onState({ name: "mismatch" });
      return;
    }
    this.#hello = hello;
    this.#sequence = 0;
    if (Object.keys(this.#settings).length > 0) this.#sendSettings();
    this.listener.onState({ name: "live", hello });
  }

  /** @param {ArrayBuffer} data */
  #receiveResult(data) {
    const result = parseResult(data);
    const sent = this.#unanswered.get(result.sequence);
    // Results come in order: what is older than this one was dropped and will not be answered.
    for (const sequence of this.#unanswered.keys()) {
      if (sequence <= result.sequence) this.#unanswered.delete(sequence);
    }
    this.#attempt = 0;
    if (sent) this.listener.onResult(result, sent.blob);
  }

  #sendSettings() {
    this.#socket?.send(JSON.stringify({ type: "settings", ...this.#settings }));
  }

  #watch() {
    const now = performance.now();
    const oldest = this.#unanswered.values().next().value;
    const opening = this.#socket !== null && this.#hello === null;
    const since = oldest ? oldest.sentAtMs : opening ? this.#openedAtMs : now;
    if (now - since > SILENCE_MS) this.#wait("silent", "");
  }

  /**
   * @param {Cause} cause
   * @param {string} detail the server's own words, or ""
   */
  #wait(cause, detail) {
    this.#abandon();
    const delay = retryDelayMs(this.#attempt++);
    this.#retryTimer = window.setTimeout(() => this.#connect(), delay);
    this.listener.onState({ name: "waiting", cause, detail, retryAtMs: performance.now() + delay });
  }

  /** Let go of the socket at once; a dead one may take minutes to report its own end. */
  #abandon() {
    window.clearTimeout(this.#retryTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.#hello = null;
    this.#unanswered.clear();
    if (!socket) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }
}

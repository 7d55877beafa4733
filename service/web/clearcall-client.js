/**
 * The reference client of WS /stream, for browsers, workers and Node 22 or later: frames out,
 * results in, settings, pause, ping and statistics, and coming back after the server went away.
 *
 * It owns the socket and the count of frames in flight; it knows nothing of cameras, canvases and
 * the DOM. Together with wire.js and retry.js it is all that a program of its own needs:
 *
 *     const client = new ClearcallClient("ws://127.0.0.1:8000/stream", { settings: { strength: 1 } });
 *     client.addEventListener("result", ({ detail: { result } }) => use(result.encoded));
 *     client.addEventListener("room", () => client.send(jpeg));
 *     client.connect();
 *
 * A server that wants an API key gets it as `apiKey`: with it a token is fetched for each connection
 * (POST /token), since a browser's WebSocket sends no header. A page that is not to hold a key gives
 * `token`, a function that asks its own server for one.
 *
 * Events, each a CustomEvent:
 *
 * | type | detail | when |
 * |---|---|---|
 * | `state` | StreamState | connecting, live, waiting (for the next attempt), mismatch, forbidden, closed |
 * | `result` | {result, tag} | a sharpened frame, in order; `tag` is what `send` was given |
 * | `room` | null | another frame may be sent: after the hello, after answers |
 * | `settings` | StreamSettings | the server confirms what holds from the next frame on |
 * | `refusal` | {code, message, sequence} | the server could not use a message; the stream goes on |
 * | `model` | Hello | another model is served; the hello with what is now true of it |
 * | `paused`, `resumed` | null | the server confirms it |
 */

import { retryDelayMs } from "./retry.js";
import { PROTOCOL, frameHeader, isAfter, parseResult } from "./wire.js";

export { NotAResult, PROTOCOL, frameHeader, parseResult } from "./wire.js";

/** A server that leaves a frame (or the opening) unanswered for so long is treated as gone. */
const SILENCE_MS = 10_000;
const WATCH_MS = 1000;

/**
 * @typedef {object} StreamSettings All optional; what is left out keeps its value.
 * @property {number} [strength] 0 to 2
 * @property {number} [quality] 1 to 100
 * @property {"jpeg" | "webp" | "png"} [format]
 * @property {number} [window] results that may be unacknowledged
 * @property {number | null} [target_fps]
 * @property {number | null} [target_latency_ms]
 * @property {boolean} [adapt] hold the target with smaller students and scales
 * @property {boolean} [still_regions]
 * @property {number | null} [max_kbps]
 */

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
 * @property {string[]} students best first; results tell the index
 * @property {number} window
 * @property {{width: number, height: number, ms: number}[]} sizes that the server measured
 * @property {{max_fps: number, max_bytes_per_s: number, idle_timeout_s: number}} limits 0 = none
 */

/** @typedef {"gone" | "busy" | "restarting" | "silent" | "refused"} Cause why a connection ended */

/**
 * @typedef {{name: "connecting"} | {name: "live", hello: Hello} | {name: "closed"} |
 *   {name: "waiting", cause: Cause, detail: string, delayMs: number} |
 *   {name: "mismatch", protocol: number} | {name: "forbidden", detail: string}} StreamState forbidden:
 *   the key is not accepted; only `connect` tries again
 */

/** The connection ended before the answer came. */
export class Disconnected extends Error {}

/**
 * @param {number} code of the close event
 * @returns {Cause}
 */
function causeOf(code) {
  if (code === 1013) return "busy";
  if (code === 1012) return "restarting";
  if ([1003, 1007, 1008, 1009].includes(code)) return "refused";
  return "gone";
}

/** Whether a header can hold it. @param {string} key without spaces around it */
export function isSendable(key) {
  return /^[\x21-\x7e]+$/.test(key);
}

/** The server does not accept the key. */
class Forbidden extends Error {}

/** The server gives no token now. */
class Refused extends Error {}

/**
 * @param {string} streamUrl
 * @param {string} apiKey
 * @param {typeof globalThis.fetch} fetch
 * @returns {Promise<string>}
 */
async function fetchToken(streamUrl, apiKey, fetch) {
  const key = apiKey.trim();
  if (!isSendable(key)) {
    throw new Forbidden("The API key has characters that no key has: copy it anew.");
  }
  const url = new URL("token", streamUrl);
  url.protocol = url.protocol === "wss:" ? "https:" : "http:";
  url.search = "";
  const response = await fetch(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}` },
    signal: AbortSignal.timeout(SILENCE_MS),
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer.token;
  const isForbidden = response.status === 401 || response.status === 403;
  throw new (isForbidden ? Forbidden : Refused)(answer.detail ?? `HTTP ${response.status}`);
}

export class ClearcallClient extends EventTarget {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Hello | null} */
  #hello = null;
  /** Sent and not answered, oldest first. @type {Map<number, {tag: unknown, sentAtMs: number}>} */
  #unanswered = new Map();
  /** Answered and not acknowledged. @type {Set<number>} */
  #undisplayed = new Set();
  /** @type {Map<string, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  #questions = new Map();
  /** @type {StreamSettings} */
  #settings;
  #isAcknowledging = false;
  #isPaused = false;
  #sequence = 0;
  #question = 0;
  #attempt = 0;
  #openedAtMs = 0;
  #lastSentAtMs = 0;
  #dueAtMs = 0;
  #refusal = "";
  /** Counts attempts: what an earlier one still waits for is void. */
  #era = 0;
  /** @type {(() => string | Promise<string>) | null} */
  #getToken = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #rateTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #watchTimer;

  /**
   * @param {string} url ws: or wss:
   * @param {object} [options]
   * @param {StreamSettings} [options.settings] from the first frame on
   * @param {string} [options.apiKey] that tokens are fetched with
   * @param {string | (() => string | Promise<string>)} [options.token] instead of a key; a string is
   *   good for a minute, a function is asked before each connection
   * @param {typeof fetch} [options.fetch] where there is none by that name
   * @param {typeof WebSocket} [options.WebSocket] where there is none by that name
   * @param {() => number} [options.random] 0 to 1, spreads the reconnections
   */
  constructor(
    url,
    {
      settings = {},
      apiKey = "",
      token = "",
      fetch = globalThis.fetch,
      WebSocket = globalThis.WebSocket,
      random = Math.random,
    } = {},
  ) {
    super();
    this.url = url;
    this.#settings = { ...settings };
    this.WebSocket = WebSocket;
    if (typeof token === "function") this.#getToken = token;
    else if (token) this.#getToken = () => token;
    else if (apiKey) this.#getToken = () => fetchToken(url, apiKey, fetch);
    this.random = random;
  }

  /** What the server said of itself, or null while there is no connection. */
  get hello() {
    return this.#hello;
  }

  get isLive() {
    return this.#hello !== null;
  }

  get isPaused() {
    return this.#isPaused;
  }

  /** How many frames may be in flight: the credit window. */
  get window() {
    return this.#settings.window ?? this.#hello?.window ?? 0;
  }

  /** Frames sent and not answered; with acknowledgements, not displayed. */
  get inFlight() {
    return this.#unanswered.size + (this.#isAcknowledging ? this.#undisplayed.size : 0);
  }

  /** Whether one more frame may be sent now. */
  get hasRoom() {
    const isOpen = this.isLive && !this.#isPaused && this.inFlight < this.window;
    return isOpen && performance.now() >= this.#dueAtMs;
  }

  /** Connect, and stay connected until `close`. Called while waiting, it does not wait longer. */
  connect() {
    this.#watchTimer ??= setInterval(() => this.#watch(), WATCH_MS);
    this.#connect();
  }

  close() {
    clearInterval(this.#watchTimer);
    this.#watchTimer = undefined;
    this.#abandon();
    this.#tell("state", { name: "closed" });
  }

  /**
   * Settings hold from the next frame on, and again after every reconnection.
   * @param {StreamSettings} settings
   */
  set(settings) {
    this.#settings = { ...this.#settings, ...settings };
    if (this.isLive) this.#say({ type: "settings", ...settings });
  }

  /** No more frames until `resume`; also across reconnections. Frames in flight are given up. */
  pause() {
    if (this.#isPaused) return;
    this.#isPaused = true;
    if (this.isLive) this.#say({ type: "pause" });
  }

  resume() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    // What the server still had is dropped there and never answered.
    this.#unanswered.clear();
    this.#undisplayed.clear();
    if (this.isLive) this.#say({ type: "resume" });
    this.#tellRoom();
  }

  /**
   * Send one JPEG. Null where there is no room (see `hasRoom`): then nothing was sent.
   * @param {Blob | ArrayBuffer | Uint8Array} jpeg
   * @param {object} [options]
   * @param {number} [options.capturedAtMs] any clock; it comes back as the result's `timestampMs`
   * @param {unknown} [options.tag] comes back beside the result
   * @returns {number | null} the frame's sequence number
   */
  send(jpeg, { capturedAtMs = performance.timeOrigin + performance.now(), tag } = {}) {
    if (!this.hasRoom) return null;
    const hello = /** @type {Hello} */ (this.#hello);
    const bytes = jpeg instanceof Blob ? jpeg.size : jpeg.byteLength;
    if (bytes > hello.max_frame_bytes) {
      const message = `The frame has ${bytes} bytes; the server takes ${hello.max_frame_bytes}. Choose a smaller size.`;
      this.#tell("refusal", { code: "frame-too-large", message, sequence: null });
      return null;
    }
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) >>> 0;
    const now = performance.now();
    this.#unanswered.set(sequence, { tag, sentAtMs: now });
    this.#lastSentAtMs = now;
    this.#keepRate(hello.limits, bytes, now);
    this.#socket?.send(new Blob([frameHeader(sequence, capturedAtMs), /** @type {any} */ (jpeg)]));
    return sequence;
  }

  /**
   * Acknowledge a result, once it is on the screen (or was given up). From the first call on, the
   * window counts results that were not acknowledged, too.
   * @param {import("./wire.js").Result} result
   * @param {number} latencyMs from the frame's capture until now
   */
  displayed(result, latencyMs) {
    if (!this.isLive || !this.#undisplayed.delete(result.sequence)) return;
    this.#isAcknowledging = true;
    this.#say({ type: "displayed", sequence: result.sequence, latency_ms: Math.max(0, latencyMs) });
    this.#tellRoom();
  }

  /**
   * @returns {Promise<number>} round trip to the server and back, ms
   * @throws {Disconnected}
   */
  async ping() {
    const id = `ping-${++this.#question}`;
    const startedMs = performance.now();
    await this.#ask(id, { type: "ping", id });
    return performance.now() - startedMs;
  }

  /**
   * @returns {Promise<Record<string, unknown>>} the stream's statistics, as the server counts them
   * @throws {Disconnected}
   */
  stats() {
    return this.#ask(`stats-${++this.#question}`, { type: "stats" });
  }

  #connect() {
    this.#abandon();
    this.#openedAtMs = performance.now();
    this.#refusal = "";
    this.#tell("state", { name: "connecting" });
    if (this.#getToken === null) this.#openSocket(this.url);
    else void this.#openWithToken(this.#getToken, this.#era);
  }

  /** @param {() => string | Promise<string>} getToken @param {number} era */
  async #openWithToken(getToken, era) {
    try {
      const url = new URL(this.url);
      url.searchParams.set("token", await getToken());
      if (era === this.#era) this.#openSocket(url.href);
    } catch (error) {
      if (era !== this.#era) return;
      if (error instanceof Forbidden) {
        this.#abandon();
        this.#tell("state", { name: "forbidden", detail: error.message });
      } else if (error instanceof Refused) this.#wait("busy", error.message);
      // A TypeError is the network's; another is of the page's own function.
      else this.#wait("gone", error instanceof TypeError ? "" : String(error?.message ?? error));
    }
  }

  /** @param {string} url */
  #openSocket(url) {
    const socket = new this.WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onerror = () => {}; // a close follows, and says more
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
    switch (message.type) {
      case "hello":
        this.#greet(message);
        break;
      case "model":
        this.#followModel(message);
        break;
      case "error":
        this.#receiveError(message);
        break;
      case "pong":
        this.#answer(message.id, message);
        break;
      case "stats":
        this.#answer([...this.#questions.keys()].find((id) => id.startsWith("stats")), message);
        break;
      case "settings":
        this.#tell("settings", message);
        break;
      case "paused":
      case "resumed":
        this.#tell(message.type, null);
    }
  }

  /** @param {{code: string, message: string, sequence: number | null}} error */
  #receiveError(error) {
    if (error.sequence !== null) this.#unanswered.delete(error.sequence);
    // Before the greeting it is why the server is about to close, and belongs to that.
    if (!this.isLive) this.#refusal = error.message;
    else {
      this.#tell("refusal", error);
      this.#tellRoom();
    }
  }

  /** @param {Hello} hello */
  #greet(hello) {
    if (hello.protocol !== PROTOCOL) {
      this.#abandon();
      this.#tell("state", { name: "mismatch", protocol: hello.protocol });
      return;
    }
    this.#hello = hello;
    this.#sequence = 0;
    this.#isAcknowledging = false;
    // One by one: one that is refused takes no other with it.
    for (const [name, value] of Object.entries(this.#settings)) {
      this.#say({ type: "settings", [name]: value });
    }
    if (this.#isPaused) this.#say({ type: "pause" });
    this.#tell("state", { name: "live", hello });
    this.#tellRoom();
  }

  /**
   * Another model is served: the hello now has its facts, and results its students' codes.
   *
   * @param {{type: string}} message
   */
  #followModel({ type: _, ...facts }) {
    if (this.#hello === null) return;
    this.#hello = { ...this.#hello, ...facts };
    this.#tell("model", this.#hello);
  }

  /** @param {ArrayBuffer} data */
  #receiveResult(data) {
    const result = parseResult(data);
    const sent = this.#unanswered.get(result.sequence);
    // Results come in order: what is older than this one was dropped and will not be answered.
    for (const sequence of this.#unanswered.keys()) {
      if (!isAfter(sequence, result.sequence)) this.#unanswered.delete(sequence);
    }
    this.#attempt = 0;
    if (!sent) return;
    if (!this.#isAcknowledging) this.#undisplayed.clear(); // whoever never acknowledges collects none
    this.#undisplayed.add(result.sequence);
    this.#tell("result", { result, tag: sent.tag });
    this.#tellRoom();
  }

  /** @param {string} id @param {object} message @returns {Promise<any>} */
  #ask(id, message) {
    return new Promise((resolve, reject) => {
      if (!this.isLive) {
        reject(new Disconnected("There is no connection to ask over."));
        return;
      }
      this.#questions.set(id, { resolve, reject });
      this.#say(message);
    });
  }

  /** @param {string | undefined} id @param {object} message */
  #answer(id = "", message) {
    this.#questions.get(id)?.resolve(message);
    this.#questions.delete(id);
  }

  /** @param {object} message */
  #say(message) {
    this.#lastSentAtMs = performance.now();
    this.#socket?.send(JSON.stringify(message));
  }

  /**
   * What is sent faster than the server takes it is lost there.
   * @param {{max_fps?: number, max_bytes_per_s?: number}} limits 0 = any
   * @param {number} bytes of the frame that is sent now
   * @param {number} now
   */
  #keepRate({ max_fps: fps, max_bytes_per_s: rate }, bytes, now) {
    const waitMs = 1000 * Math.max(fps ? 1 / fps : 0, rate ? bytes / rate : 0);
    if (!waitMs) return;
    this.#dueAtMs = now + waitMs;
    clearTimeout(this.#rateTimer);
    this.#rateTimer = setTimeout(() => this.#tellRoom(), waitMs);
  }

  #tellRoom() {
    if (this.hasRoom) this.#tell("room", null);
  }

  /** @param {string} type @param {unknown} detail */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #watch() {
    const now = performance.now();
    const oldest = this.#isPaused ? undefined : this.#unanswered.values().next().value;
    const isOpening = this.#socket !== null && !this.isLive;
    const since = oldest ? oldest.sentAtMs : isOpening ? this.#openedAtMs : now;
    if (now - since > SILENCE_MS) this.#wait("silent", "");
    else this.#keepAlive(now);
  }

  /** A stream that rests for long is closed by the server; a ping tells that it is still wanted. @param {number} now */
  #keepAlive(now) {
    const limitMs = (this.#hello?.limits.idle_timeout_s || Infinity) * 1000;
    if (this.isLive && now - this.#lastSentAtMs > limitMs / 3) this.ping().catch(() => {});
  }

  /**
   * @param {Cause} cause
   * @param {string} detail the server's own words, or ""
   */
  #wait(cause, detail) {
    this.#abandon();
    const delayMs = retryDelayMs(this.#attempt++, this.random);
    this.#retryTimer = setTimeout(() => this.#connect(), delayMs);
    this.#tell("state", { name: "waiting", cause, detail, delayMs });
  }

  /** Let go of the socket at once; a dead one may take minutes to report its own end. */
  #abandon() {
    this.#era++;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#rateTimer);
    this.#dueAtMs = 0;
    const socket = this.#socket;
    this.#socket = null;
    this.#hello = null;
    this.#unanswered.clear();
    this.#undisplayed.clear();
    for (const { reject } of this.#questions.values()) reject(new Disconnected("The stream broke."));
    this.#questions.clear();
    if (!socket) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }
}

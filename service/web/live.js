/**
 * A source, live: from a camera, a screen or a video file through the pipeline onto the stage.
 * It pauses where the tab is hidden. Who may see what of it is the listener's affair.
 */

import { storedKey, tellLocked } from "./access.js";
import { feed } from "./feeder.js";
import { PROTOCOL_PROBLEM, SOURCE_PROBLEMS } from "./problems.js";
import { SourceError, openCamera, openScreen, openVideo } from "./sources.js";

/** @typedef {"idle" | "asking" | "connecting" | "live" | "paused" | "hidden" | "waiting"} LiveStatus */
/** @typedef {import("./clearcall-client.js").StreamSettings} StreamSettings */
/** @typedef {{height: number, width: number, input: number, output: number}} PairFacts sizes, bytes */
/** @typedef {{deviceId?: string, file?: File}} Choice which camera, or which file */

/**
 * @typedef {object} LiveListener
 * @property {(status: LiveStatus) => void} onStatus
 * @property {(hello: import("./clearcall-client.js").Hello) => void} onHello
 * @property {(settings: StreamSettings) => void} onSettings
 * @property {(facts: PairFacts) => void} onShown a pair was drawn
 * @property {(reading: import("./meters.js").Reading | null) => void} onReading
 * @property {(dropped: Record<string, number>) => void} onDropped frames without a result, by reason
 * @property {(cause: import("./clearcall-client.js").Cause, detail: string, retryAtMs: number) => void} onBroken
 *   the stream broke and is going to be opened again
 * @property {(message: string) => void} onFrameError
 * @property {(problem: import("./problems.js").Problem) => void} onRefused a screen was not given: what was there stays
 * @property {(problem: import("./problems.js").Problem | null) => void} onEnded it cannot go on; null
 *   where somebody ended it on purpose elsewhere
 */

/** The stream beside the page, as a WebSocket address. */
export function streamUrl() {
  const url = new URL("/stream", window.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

export class Live {
  /** @type {LiveStatus} */
  #status = "idle";
  /** The status before it asked. @type {LiveStatus} */
  #before = "idle";
  /** @type {import("./sources.js").Source | null} */
  #source = null;
  /** @type {import("./feeder.js").Feed | null} */
  #feed = null;
  #box = { height: 360, width: 640 };
  /** @type {number | null} */
  #fps = null;
  /** @type {StreamSettings} */
  #settings = {};
  #asked = 0;
  #isPaused = false;
  #isHidden = false;
  #isConnected = false;

  /**
   * @param {HTMLVideoElement} video that plays what the browser cannot hand over otherwise
   * @param {import("./stage.js").Stage} stage
   * @param {LiveListener} listener
   */
  constructor(video, stage, listener) {
    this.video = video;
    this.stage = stage;
    this.listener = listener;
    stage.addEventListener("pipeline", (/** @type {any} */ { detail }) => this.#onMessage(detail));
    document.addEventListener("visibilitychange", () => this.#hide(document.hidden));
  }

  get isRunning() {
    return this.#source !== null;
  }

  get isPaused() {
    return this.#isPaused;
  }

  /** @returns {import("./sources.js").SourceKind | null} */
  get kind() {
    return this.#source?.kind ?? null;
  }

  get title() {
    return this.#source?.title ?? "";
  }

  /** The camera in use, or "". */
  get deviceId() {
    return this.#source?.deviceId ?? "";
  }

  /**
   * Ask for a source and start. A second call changes the source.
   * @param {import("./sources.js").SourceKind} kind
   * @param {Choice} [choice]
   * @returns {Promise<boolean>} whether it runs
   */
  async start(kind, choice = {}) {
    const asked = ++this.#asked;
    if (this.#status !== "asking") this.#before = this.#status;
    this.#setStatus("asking");
    if (kind !== "screen") this.#letGo(); // some systems lend a camera to one opening at a time
    try {
      const source = await this.#openSource(kind, choice);
      if (asked !== this.#asked) {
        source.stop();
        return false;
      }
      this.#letGo();
      await this.#use(source);
      return true;
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      if (asked !== this.#asked) return false;
      this.#refuse(error, kind === "screen");
      return false;
    }
  }

  /** @param {SourceError} error @param {boolean} isScreen */
  #refuse({ fault }, isScreen) {
    const problem = SOURCE_PROBLEMS[fault]();
    if (isScreen) {
      // Nothing was let go for it: what was there stays.
      this.#setStatus(this.isRunning ? this.#before : "idle");
      if (fault !== "screenDenied") this.listener.onRefused(problem); // somebody thought better of it
      return;
    }
    this.stop();
    this.listener.onEnded(problem);
  }

  /**
   * @param {import("./sources.js").SourceKind} kind
   * @param {Choice} choice
   */
  #openSource(kind, { deviceId, file }) {
    if (kind === "screen") return openScreen(this.#fps);
    if (kind === "video") return openVideo(/** @type {File} */ (file), this.video);
    return openCamera({ deviceId, box: this.#box, fps: this.#fps });
  }

  /** @param {import("./sources.js").Source} source */
  async #use(source) {
    this.#source = source;
    source.whenEnded(() => {
      this.stop();
      this.listener.onEnded(source.kind === "camera" ? SOURCE_PROBLEMS.cameraLost() : null);
    });
    this.#isPaused = false;
    this.#isConnected = false;
    this.stage.setWaiting(true);
    this.stage.post({
      type: "open",
      url: streamUrl(),
      settings: this.#settings,
      apiKey: storedKey(),
    });
    const host = await this.stage.host;
    if (source !== this.#source) return; // stopped, or another one meanwhile
    this.#feed = feed(source.media, this.video, host);
    this.#hide(document.hidden);
  }

  stop() {
    this.#asked++;
    this.stage.post({ type: "close" });
    this.#letGo();
    this.#isPaused = false;
    this.#setStatus("idle");
  }

  /** Do not wait for the next attempt. */
  retryNow() {
    this.stage.post({ type: "retry" });
  }

  /** @param {boolean} isPaused */
  pause(isPaused) {
    this.#isPaused = isPaused;
    this.#applyPause();
  }

  /** A hidden tab needs no pictures, and gets few frames anyway. @param {boolean} isHidden */
  #hide(isHidden) {
    this.#isHidden = isHidden;
    if (this.isRunning) this.#applyPause();
  }

  #applyPause() {
    const isResting = this.#isPaused || this.#isHidden;
    this.#source?.hold(isResting);
    this.stage.post({ type: "pause", isPaused: isResting });
    this.#setStatus(this.#restingStatus() ?? (this.#isConnected ? "live" : "connecting"));
  }

  /** @returns {"paused" | "hidden" | null} */
  #restingStatus() {
    if (this.#isPaused) return "paused";
    return this.#isHidden ? "hidden" : null;
  }

  /** @param {StreamSettings} settings */
  set(settings) {
    this.#settings = { ...this.#settings, ...settings };
    this.stage.post({ type: "settings", settings });
  }

  /** @param {string} line a key of LINES in encoder.js */
  setLine(line) {
    this.stage.post({ type: "capturing", capturing: { line } });
  }

  /** @param {{height: number, width: number}} box that the frames are scaled into */
  setBox(box) {
    this.#box = box;
    this.stage.post({ type: "capturing", capturing: { box } });
    this.#source?.wish(box, this.#fps);
  }

  /** @param {number | null} fps wanted; null: as many as the server manages */
  setFps(fps) {
    this.#fps = fps;
    this.stage.post({ type: "capturing", capturing: { fps } });
    this.#source?.wish(this.#box, fps);
    this.set({ target_fps: fps });
  }

  #letGo() {
    this.#feed?.stop();
    this.#feed = null;
    this.#source?.stop();
    this.#source = null;
  }

  /** @param {LiveStatus} status */
  #setStatus(status) {
    if (this.#status === status) return;
    this.#status = status;
    this.listener.onStatus(status);
  }

  /** @param {{type: string, detail?: any}} message of the pipeline */
  #onMessage({ type, detail }) {
    if (!this.isRunning) return;
    switch (type) {
      case "wanted":
        this.#feed?.want();
        break;
      case "state":
        this.#onState(detail);
        break;
      case "model":
        this.listener.onHello(detail);
        break;
      case "settings":
        this.listener.onSettings(detail);
        break;
      case "refusal":
        this.listener.onFrameError(detail.message);
        break;
      case "pair":
        this.stage.setWaiting(false);
        this.listener.onShown(detail);
        break;
      case "stats":
        this.listener.onDropped(detail.dropped);
        break;
      case "reading":
        this.listener.onReading(detail);
    }
  }

  /** @param {import("./clearcall-client.js").StreamState} state */
  #onState(state) {
    if (state.name === "closed") return;
    this.#isConnected = state.name === "live";
    if (state.name === "mismatch") {
      this.stop();
      this.listener.onEnded(PROTOCOL_PROBLEM);
    } else if (state.name === "forbidden") {
      this.stop();
      this.listener.onEnded(null);
      tellLocked(state.detail);
    } else if (state.name === "waiting") {
      this.#setStatus("waiting");
      this.listener.onBroken(state.cause, state.detail, performance.now() + state.delayMs);
    } else if (state.name === "live") {
      this.listener.onHello(state.hello);
      this.#setStatus(this.#restingStatus() ?? "live");
    } else if (this.#status === "asking") this.#setStatus("connecting");
  }
}

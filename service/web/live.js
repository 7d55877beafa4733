/**
 * The camera, live: frames from the camera through the stream onto the stage, never more than the
 * server wants.
 * Who may see what of it is the listener's affair.
 */

import { CameraError, openCamera, sizeWish, watchFrames } from "./camera.js";
import { Capture, coverCrop } from "./capture.js";
import { StreamMeters } from "./meters.js";
import { CAMERA_PROBLEMS, PROTOCOL_PROBLEM } from "./problems.js";
import { Stream } from "./stream.js";

/** Results that wait to be drawn before a slow browser stops sending. */
const MAX_UNDRAWN = 2;

/** @typedef {"idle" | "asking" | "connecting" | "live" | "paused" | "waiting"} LiveStatus */
/** @typedef {{height: number, width: number, bytes: number}} PictureFacts */

/**
 * @typedef {object} LiveListener
 * @property {(status: LiveStatus) => void} onStatus
 * @property {(hello: import("./stream.js").Hello) => void} onHello
 * @property {(settings: import("./stream.js").StreamSettings) => void} onSettings
 * @property {(input: PictureFacts, output: PictureFacts) => void} onShown a pair was drawn
 * @property {(cause: import("./stream.js").Cause, detail: string, retryAtMs: number) => void} onBroken
 *   the stream broke and is going to be opened again
 * @property {(message: string) => void} onFrameError
 * @property {(problem: import("./problems.js").Problem) => void} onEnded it cannot go on
 */

export class Live {
  #capture = new Capture();
  #meters = new StreamMeters();
  /** @type {LiveStatus} */
  #status = "idle";
  /** @type {MediaStream | null} */
  #media = null;
  #size = { height: 360, width: 640 };
  #line = "clear";
  /** Time at which the video's frame came, as long as it was not captured; else null. @type {number | null} */
  #freshAtMs = null;
  #asked = 0;
  #isEncoding = false;
  #isPaused = false;
  #hasResult = false;
  #undrawn = 0;
  #arrived = 0;
  #drawn = 0;
  #unwatch = () => {};

  /**
   * @param {HTMLVideoElement} video
   * @param {import("./stage.js").Stage} stage
   * @param {LiveListener} listener
   */
  constructor(video, stage, listener) {
    this.video = video;
    this.stage = stage;
    this.listener = listener;
    const url = new URL("/stream", window.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.stream = new Stream(url.href, {
      onState: (state) => this.#onState(state),
      onResult: (result, sent) => void this.#show(result, sent),
      onSettings: (settings) => listener.onSettings(settings),
      onError: (message) => listener.onFrameError(message),
    });
  }

  get isRunning() {
    return this.#media !== null;
  }

  get isPaused() {
    return this.#isPaused;
  }

  /** The camera in use, or "". */
  get deviceId() {
    return this.#media?.getVideoTracks()[0]?.getSettings().deviceId ?? "";
  }

  /** @param {number} nowMs */
  read(nowMs) {
    return this.#isPaused ? null : this.#meters.read(nowMs);
  }

  /**
   * Ask for a camera and start. A second call changes the camera.
   * @param {string} [deviceId]
   * @returns {Promise<boolean>} whether it runs
   */
  async start(deviceId) {
    const asked = ++this.#asked;
    this.#setStatus("asking");
    this.#letGoOfCamera(); // some systems lend a camera to one opening at a time
    let media;
    try {
      media = await openCamera({ deviceId, ...this.#size });
    } catch (error) {
      if (!(error instanceof CameraError)) throw error;
      if (asked !== this.#asked) return false;
      this.stop();
      this.listener.onEnded(CAMERA_PROBLEMS[error.fault]());
      return false;
    }
    if (asked !== this.#asked) {
      for (const track of media.getTracks()) track.stop();
      return false;
    }
    await this.#use(media);
    return true;
  }

  /** @param {MediaStream} media */
  async #use(media) {
    this.#media = media;
    media.getVideoTracks()[0].onended = () => {
      this.stop();
      this.listener.onEnded(CAMERA_PROBLEMS.cameraLost());
    };
    this.#hasResult = false;
    this.#isPaused = false;
    this.#meters.reset();
    this.stage.setWaiting(true);
    this.#unwatch = watchFrames(this.video, (nowMs) => this.#onFrame(nowMs));
    this.video.srcObject = media;
    this.stream.open();
    await this.video.play().catch(() => {}); // only fails where another source was set meanwhile
  }

  stop() {
    this.#asked++;
    this.stream.close();
    this.#letGoOfCamera();
    this.#isPaused = false;
    this.#setStatus("idle");
  }

  /** @param {boolean} isPaused */
  pause(isPaused) {
    this.#isPaused = isPaused;
    this.#freshAtMs = null;
    this.#meters.reset();
    this.#setStatus(isPaused ? "paused" : this.stream.isLive ? "live" : "connecting");
  }

  /** @param {number} strength */
  setStrength(strength) {
    this.stream.apply({ strength });
  }

  /** @param {string} line a key of LINES in capture.js */
  setLine(line) {
    this.#line = line;
  }

  /** @param {{height: number, width: number}} size of the frames that are sent */
  setSize(size) {
    this.#size = size;
    this.#meters.reset();
    const track = this.#media?.getVideoTracks()[0];
    // A camera that cannot change stays as it is: its frames are scaled.
    track?.applyConstraints(sizeWish(size.height, size.width)).catch(() => {});
  }

  #letGoOfCamera() {
    this.#unwatch();
    this.#unwatch = () => {};
    for (const track of this.#media?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.#media = null;
    this.#freshAtMs = null;
    this.video.srcObject = null;
  }

  /** @param {LiveStatus} status */
  #setStatus(status) {
    if (this.#status === status) return;
    this.#status = status;
    this.listener.onStatus(status);
  }

  /** @param {import("./stream.js").StreamState} state */
  #onState(state) {
    if (state.name === "closed") return;
    if (state.name === "mismatch") {
      this.stop();
      this.listener.onEnded(PROTOCOL_PROBLEM);
    } else if (state.name === "waiting") {
      this.#meters.reset();
      this.#setStatus("waiting");
      this.listener.onBroken(state.cause, state.detail, state.retryAtMs);
    } else if (state.name === "live") {
      this.listener.onHello(state.hello);
      this.#setStatus(this.#isPaused ? "paused" : "live");
      void this.#pump();
    } else if (this.#status === "asking") this.#setStatus("connecting");
  }

  /** @param {number} nowMs */
  #onFrame(nowMs) {
    if (this.#isPaused) return;
    this.#freshAtMs = nowMs;
    if (!this.#hasResult || !this.stream.isLive) this.#preview();
    void this.#pump();
  }

  #preview() {
    const source = { height: this.video.videoHeight, width: this.video.videoWidth };
    const crop = coverCrop(source, this.#size);
    this.stage.drawPreview("input", this.video, crop, this.#size);
    if (!this.#hasResult) this.stage.drawPreview("output", this.video, crop, this.#size);
  }

  /** Send the newest frame, if there is one that was not sent and the server wants one. */
  async #pump() {
    const timestampMs = this.#freshAtMs;
    const isFree = !this.#isEncoding && this.#undrawn < MAX_UNDRAWN && this.stream.hasRoom;
    if (timestampMs === null || !isFree) return;
    this.#freshAtMs = null;
    this.#isEncoding = true;
    try {
      const blob = await this.#capture.encode(this.video, this.#size, this.#line);
      if (this.isRunning && !this.#isPaused) this.stream.send(blob, timestampMs);
    } finally {
      this.#isEncoding = false;
    }
    void this.#pump();
  }

  /**
   * @param {import("./wire.js").Result} result
   * @param {Blob} sent the frame it answers: the input is shown as the server got it
   */
  async #show(result, sent) {
    const order = ++this.#arrived;
    this.#undrawn++;
    void this.#pump(); // the answer made room
    try {
      const [input, output] = await Promise.all([
        createImageBitmap(sent),
        createImageBitmap(result.encoded),
      ]);
      const isWanted = this.isRunning && !this.#isPaused && order > this.#drawn;
      if (isWanted) this.#draw(order, result, input, output, sent.size);
      else for (const bitmap of [input, output]) bitmap.close();
    } catch {
      this.listener.onFrameError("The browser could not decode a result.");
    } finally {
      this.#undrawn--;
    }
    void this.#pump();
  }

  /**
   * @param {number} order
   * @param {import("./wire.js").Result} result
   * @param {ImageBitmap} input
   * @param {ImageBitmap} output
   * @param {number} sentBytes
   */
  #draw(order, result, input, output, sentBytes) {
    this.#drawn = order;
    this.#hasResult = true;
    const { height, width } = input;
    this.stage.setWaiting(false);
    this.stage.draw("input", input);
    this.stage.draw("output", output);
    const nowMs = performance.now();
    this.#meters.add(nowMs, {
      latencyMs: nowMs - result.timestampMs,
      times: result.times,
      dropped: result.dropped,
    });
    this.listener.onShown(
      { height, width, bytes: sentBytes },
      { height: result.height, width: result.width, bytes: result.encoded.size },
    );
  }
}

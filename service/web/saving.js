/**
 * The buttons that keep something: a film of the output, and a snapshot of the pair.
 */

import { byId } from "./elements.js";
import { Recorder, fileName, save } from "./recorder.js";

const TICK_MS = 500;

export class Saving {
  #timer = 0;
  #isPaused = false;
  #shape = "";

  /**
   * @param {import("./stage.js").Stage} stage
   * @param {(news: string) => void} say for screen readers
   */
  constructor(stage, say) {
    this.stage = stage;
    this.say = say;
    this.record = /** @type {HTMLButtonElement} */ (byId("record"));
    this.label = byId("record-label");
    this.snapshot = /** @type {HTMLButtonElement} */ (byId("snapshot"));
    this.recorder = new Recorder(
      (isRecording) => this.#show(isRecording),
      (isSaved) => say(isSaved ? "The recording is saved." : "Nothing moved: nothing was recorded."),
    );
    this.record.hidden = !Recorder.isSupported;
    this.record.addEventListener("click", () => this.#toggle());
    this.snapshot.addEventListener("click", () => stage.post({ type: "snapshot" }));
    stage.addEventListener("pipeline", (/** @type {any} */ { detail }) => {
      if (detail.type === "snapshot") this.#keep(detail.detail);
      if (detail.type === "shape") this.#reshape(detail.detail);
    });
  }

  /** @param {boolean} isThere whether there is a result to keep */
  enable(isThere) {
    this.record.disabled = !isThere;
    this.snapshot.disabled = !isThere;
  }

  /** @param {boolean} isPaused nothing moves, so nothing is recorded */
  pause(isPaused) {
    this.#isPaused = isPaused;
    this.recorder.pause(isPaused);
  }

  stop() {
    this.recorder.stop();
  }

  get isRecording() {
    return this.recorder.isRecording;
  }

  #toggle() {
    if (this.recorder.isRecording) this.recorder.stop();
    else {
      this.recorder.start(this.stage.output.captureStream());
      this.recorder.pause(this.#isPaused);
    }
  }

  /** @param {boolean} isRecording */
  #show(isRecording) {
    window.clearInterval(this.#timer);
    this.record.setAttribute("aria-pressed", String(isRecording));
    if (isRecording) this.say("Recording");
    this.label.textContent = "Record";
    if (!isRecording) return;
    const tick = () => {
      const seconds = Math.floor(this.recorder.lastedMs / 1000);
      const minutes = Math.floor(seconds / 60);
      this.label.textContent = `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
    };
    tick();
    this.#timer = window.setInterval(tick, TICK_MS);
  }

  /** Films have one size: with another one the film is done. @param {{height: number, width: number}} shape */
  #reshape({ height, width }) {
    const shape = `${width}x${height}`;
    if (this.#shape !== shape) this.recorder.stop();
    this.#shape = shape;
  }

  /** @param {{input: Blob, output: Blob}} pair */
  #keep({ input, output }) {
    const now = new Date();
    save(input, fileName(now, "-before.png"));
    save(output, fileName(now, "-after.png"));
    this.say("The snapshot is saved: before and after.");
  }
}

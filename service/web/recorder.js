/**
 * Saving what is shown: the output as a film, and the pair that is on the screen as two pictures.
 */

/** What browsers record, the best first. MP4 comes last: its header cannot follow a change of size. */
const FILM_TYPES = [
  "video/webm;codecs=vp9",
  "video/webm;codecs=vp8",
  "video/webm",
  "video/mp4;codecs=avc1.42E01E",
  "video/mp4",
];
const BITS_PER_S = 8_000_000;

/**
 * @param {Date} date
 * @param {string} ending
 * @returns {string} clearcall-20260131-235959-after.png
 */
export function fileName(date, ending) {
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join("");
  return `clearcall-${day}-${time}${ending}`;
}

/** @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still be reading it
}

export class Recorder {
  /** @type {MediaRecorder | null} */
  #recorder = null;
  #startedAtMs = 0;
  #lastedMs = 0;

  /**
   * @param {(isRecording: boolean) => void} onChange
   * @param {(isSaved: boolean) => void} onEnd false where there was no picture to save
   */
  constructor(onChange, onEnd) {
    this.onChange = onChange;
    this.onEnd = onEnd;
  }

  /** Whether this browser can record at all. */
  static get isSupported() {
    return "MediaRecorder" in window && "captureStream" in HTMLCanvasElement.prototype;
  }

  get isRecording() {
    return this.#recorder !== null;
  }

  /** What is recorded so far, without pauses. */
  get lastedMs() {
    const isRunning = this.#recorder?.state === "recording";
    return this.#lastedMs + (isRunning ? performance.now() - this.#startedAtMs : 0);
  }

  /** @param {MediaStream} media its pictures are recorded until `stop`, then saved */
  start(media) {
    const mimeType = FILM_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(media, { mimeType, videoBitsPerSecond: BITS_PER_S });
    /** @type {Blob[]} */
    const parts = [];
    const name = fileName(new Date(), recorder.mimeType.includes("mp4") ? ".mp4" : ".webm");
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      for (const track of media.getTracks()) track.stop();
      const film = new Blob(parts, { type: recorder.mimeType });
      if (film.size > 0) save(film, name);
      this.onEnd(film.size > 0);
    };
    recorder.start(1000);
    this.#recorder = recorder;
    this.#lastedMs = 0;
    this.#startedAtMs = performance.now();
    this.onChange(true);
  }

  /** @param {boolean} isPaused */
  pause(isPaused) {
    const recorder = this.#recorder;
    if (!recorder || (recorder.state === "paused") === isPaused) return;
    if (isPaused) {
      this.#lastedMs = this.lastedMs;
      recorder.pause();
    } else {
      this.#startedAtMs = performance.now();
      recorder.resume();
    }
  }

  stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    recorder?.stop();
    if (recorder) this.onChange(false);
  }
}

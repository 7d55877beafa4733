/**
 * A MediaStream in, the sharpened MediaStream out: for pages that put Clearcall between
 * `getUserMedia` and a call.
 *
 *     const camera = await navigator.mediaDevices.getUserMedia({ video: true });
 *     const clear = new ClearcallMedia(camera, { url: "wss://host/stream" });
 *     for (const track of clear.stream.getTracks()) peer.addTrack(track, clear.stream);
 *
 * Sound is none of its affair: hand the microphone's track to the call as it is, or delayed by
 * `latencyMs`. Events, each a CustomEvent: `state` and `refusal` as of ClearcallClient, `reading`
 * (meters.js), and `shape` ({height, width} of the output).
 */

import { feed } from "./feeder.js";
import { openHost } from "./host.js";

const PASSED_ON = ["state", "refusal", "reading", "shape"];

/**
 * @typedef {object} MediaOptions
 * @property {string} url of WS /stream
 * @property {import("./clearcall-client.js").StreamSettings} [settings]
 * @property {string} [apiKey] where the server wants one
 * @property {string} [token] instead of it, good for the first connection
 * @property {{height: number, width: number}} [box] that frames are scaled into; 1280x720 if not given
 * @property {number | null} [fps] at most
 * @property {HTMLCanvasElement} [canvas] to draw on; one that nobody sees if not given
 */

export class ClearcallMedia extends EventTarget {
  /** @type {import("./feeder.js").Feed | null} */
  #feed = null;
  #isClosed = false;

  /**
   * @param {MediaStream} source stays the caller's
   * @param {MediaOptions} options
   */
  constructor(
    source,
    {
      url,
      settings,
      apiKey = "",
      token = "",
      box = { height: 720, width: 1280 },
      fps = null,
      canvas,
    },
  ) {
    super();
    const output = canvas ?? document.createElement("canvas");
    /** Until the first answer it shows the source as it is. @type {MediaStream} */
    this.stream = output.captureStream();
    /** From capture to the sharpened frame, median; NaN before there is one. */
    this.latencyMs = NaN;
    this.host = openHost({ input: null, output, lens: null }, (message) => this.#receive(message));
    this.#post({ type: "capturing", capturing: { box, fps } });
    this.#post({ type: "shown", isInputShown: false });
    this.#post({ type: "open", url, settings, apiKey, token });
    void this.host.then((host) => this.#begin(source, host));
  }

  /** @param {import("./clearcall-client.js").StreamSettings} settings hold from the next frame on */
  set(settings) {
    this.#post({ type: "settings", settings });
  }

  /** @param {boolean} isPaused the output stands still */
  pause(isPaused) {
    this.#post({ type: "pause", isPaused });
  }

  close() {
    this.#isClosed = true;
    this.#feed?.stop();
    for (const track of this.stream.getTracks()) track.stop();
    void this.host.then((host) => host.end());
  }

  /** @param {MediaStream} source @param {import("./host.js").Host} host */
  #begin(source, host) {
    if (this.#isClosed) return;
    const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    this.#feed = feed(source, video, host);
  }

  /** @param {object} message */
  #post(message) {
    void this.host.then((host) => host.post(message));
  }

  /** @param {{type: string, detail?: any}} message */
  #receive({ type, detail }) {
    if (type === "wanted") this.#feed?.want();
    if (type === "reading") this.latencyMs = detail?.latencyMedianMs ?? NaN;
    if (PASSED_ON.includes(type)) this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

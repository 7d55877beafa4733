/**
 * Frames of a source into the pipeline, by the cheapest way that the browser has: straight from the
 * track into the worker (MediaStreamTrackProcessor), or from a video element, one by one as the
 * pipeline asks for them (requestVideoFrameCallback, or each time the screen is drawn).
 */

import { sharedNowMs } from "./pipeline.js";

/**
 * @typedef {object} Feed
 * @property {() => void} want the pipeline asks for one frame
 * @property {() => void} stop
 */

/**
 * @param {MediaStream | null} media null: the video element already plays a file
 * @param {HTMLVideoElement} video
 * @param {import("./host.js").Host} host
 * @returns {Feed} at once: what the pipeline asks for must find it
 */
export function feed(media, video, host) {
  const Processor = /** @type {any} */ (globalThis).MediaStreamTrackProcessor;
  if (media && host.isWorker && Processor) {
    const track = media.getVideoTracks()[0].clone(); // the page keeps its own to stop and to change
    const { readable } = new Processor({ track });
    host.post({ type: "source", readable, mayRest: !isCamera(track) }, [readable]);
    return { want: () => {}, stop: () => track.stop() };
  }
  const feeder = new VideoFeed(video, host);
  host.post({ type: "source" });
  if (media) {
    video.srcObject = media;
    video.play().catch(() => {}); // only fails where another source was set meanwhile
  }
  return feeder;
}

/**
 * Whether a track is a device's, which gives frames as long as it is on.
 * @param {MediaStreamTrack} track
 */
function isCamera(track) {
  return "groupId" in track.getSettings();
}

/** One frame of a video element each time one is wanted, as soon as a new one is there. */
class VideoFeed {
  #isWanted = false;
  #isGrabbing = false;
  #count = 0;
  #unwatch;

  /** @param {HTMLVideoElement} video @param {import("./host.js").Host} host */
  constructor(video, host) {
    this.video = video;
    this.host = host;
    this.#unwatch = watchFrames(video, (capturedAtMs) => {
      this.#count++;
      if (this.#isWanted && !this.#isGrabbing) void this.#give(capturedAtMs);
    });
  }

  want() {
    this.#isWanted = true;
  }

  stop() {
    this.#unwatch();
    this.video.srcObject = null;
  }

  /** @param {number} capturedAtMs */
  async #give(capturedAtMs) {
    this.#isGrabbing = true;
    try {
      const picture = await this.#grab();
      const count = this.#count;
      this.#count = 0;
      this.#isWanted = false;
      const handed = picture === this.video ? [] : [/** @type {Transferable} */ (picture)];
      this.host.post({ type: "frame", picture, capturedAtMs, count }, handed);
    } catch {
      // The source changed under us: there is no frame to take, and the next one will do.
    } finally {
      this.#isGrabbing = false;
    }
  }

  /** @returns {VideoFrame | HTMLVideoElement | Promise<ImageBitmap>} */
  #grab() {
    if (!this.host.isWorker) return this.video; // drawn in this thread: nothing to hand over
    if ("VideoFrame" in window) return new VideoFrame(this.video);
    return createImageBitmap(this.video);
  }
}

/**
 * Call `onFrame` each time the video element holds a new frame, until the returned function is
 * called.
 * @param {HTMLVideoElement} video
 * @param {(capturedAtMs: number) => void} onFrame
 * @returns {() => void}
 */
export function watchFrames(video, onFrame) {
  let handle = 0;
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    /** @type {VideoFrameRequestCallback} */
    const next = (_, { captureTime }) => {
      handle = video.requestVideoFrameCallback(next);
      onFrame(captureTime ? performance.timeOrigin + captureTime : sharedNowMs());
    };
    handle = video.requestVideoFrameCallback(next);
    return () => video.cancelVideoFrameCallback(handle);
  }
  let shownAt = -1;
  const next = () => {
    handle = requestAnimationFrame(next);
    if (video.readyState < video.HAVE_CURRENT_DATA || video.currentTime === shownAt) return;
    shownAt = video.currentTime;
    onFrame(sharedNowMs());
  };
  handle = requestAnimationFrame(next);
  return () => cancelAnimationFrame(handle);
}

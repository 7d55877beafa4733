/**
 * Where the pipeline runs: in a worker that takes a camera's frames and draws into canvases handed
 * over to it, or, where the browser cannot do that, in the page. Both take and give the same messages.
 */

import { Pipeline } from "./pipeline.js";

const WORKER_URL = new URL("./pipeline-worker.js", import.meta.url);

/**
 * @typedef {{input: HTMLCanvasElement | null, output: HTMLCanvasElement | null, lens: HTMLCanvasElement | null}} Canvases
 */

/**
 * @typedef {object} Host
 * @property {boolean} isWorker
 * @property {(message: object, transfer?: Transferable[]) => void} post
 * @property {() => void} end
 */

/**
 * Whether a worker can do it all. Where the page has to hand it every frame, as in Firefox, little
 * is gained, and recording a canvas that a worker draws into stops Firefox for ten seconds.
 * @returns {boolean}
 */
function canUseWorker() {
  return (
    "MediaStreamTrackProcessor" in window &&
    "Worker" in window &&
    "OffscreenCanvas" in window &&
    "convertToBlob" in OffscreenCanvas.prototype &&
    "transferControlToOffscreen" in HTMLCanvasElement.prototype
  );
}

/**
 * @param {Canvases} canvases the pipeline's from now on
 * @param {(message: {type: string, detail?: any}) => void} onMessage
 * @returns {Promise<Host>}
 */
export async function openHost(canvases, onMessage) {
  const worker = canUseWorker() ? await startWorker() : null;
  if (!worker) return openInPage(canvases, onMessage);
  worker.onmessage = ({ data }) => onMessage(data);
  const surfaces = Object.fromEntries(
    Object.entries(canvases).map(([name, canvas]) => [
      name,
      canvas ? canvas.transferControlToOffscreen() : null,
    ]),
  );
  const handed = /** @type {Transferable[]} */ (Object.values(surfaces).filter(Boolean));
  worker.postMessage({ type: "surfaces", surfaces }, handed);
  return {
    isWorker: true,
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    end: () => worker.terminate(),
  };
}

/** @param {Canvases} surfaces @param {(message: any) => void} onMessage @returns {Host} */
function openInPage(surfaces, onMessage) {
  const pipeline = new Pipeline((message) => queueMicrotask(() => onMessage(message)));
  pipeline.handle({ type: "surfaces", surfaces });
  return {
    isWorker: false,
    post: (message) => pipeline.handle(message),
    end: () => pipeline.handle({ type: "close" }),
  };
}

/** @returns {Promise<Worker | null>} once it runs; null where it does not start */
function startWorker() {
  return new Promise((resolve) => {
    let worker;
    try {
      worker = new Worker(WORKER_URL, { type: "module" });
    } catch {
      resolve(null);
      return;
    }
    const started = worker;
    started.onmessage = () => resolve(started);
    started.onerror = () => resolve(null);
  });
}

/**
 * A source's frame as a JPEG: scaled into the wanted size, and made worse on request. For workers
 * and for the page.
 */

const SEND_QUALITY = 0.85;

/**
 * What a thin line does to a picture, for trying Clearcall with a camera that is too good.
 * @type {Record<string, {scale: number, quality: number}>}
 */
export const LINES = {
  clear: { scale: 1, quality: SEND_QUALITY },
  soft: { scale: 1 / 2, quality: SEND_QUALITY },
  weak: { scale: 1 / 2.5, quality: 0.45 },
};

/** @typedef {{height: number, width: number}} Size */
/** @typedef {OffscreenCanvas | HTMLCanvasElement} Canvas */

/**
 * The size at which a source fills a landscape box, or the same box upright if it is upright: its
 * shape is kept, whatever a turned phone or another window makes of it.
 * @param {Size} source
 * @param {Size} box
 * @returns {Size} even numbers
 */
export function fitInto(source, box) {
  const isUpright = source.height > source.width;
  const [height, width] = isUpright ? [box.width, box.height] : [box.height, box.width];
  const scale = Math.min(height / source.height, width / source.width);
  const even = (/** @type {number} */ side) => Math.max(2, 2 * Math.round((side * scale) / 2));
  return { height: even(source.height), width: even(source.width) };
}

/**
 * @param {VideoFrame | ImageBitmap | HTMLVideoElement} source
 * @returns {Size} upright, in pixels
 */
export function sizeOf(source) {
  if ("displayWidth" in source) {
    return { height: source.displayHeight, width: source.displayWidth };
  }
  if ("videoWidth" in source) return { height: source.videoHeight, width: source.videoWidth };
  return { height: source.height, width: source.width };
}

/** @returns {Canvas} */
export function newCanvas() {
  return "OffscreenCanvas" in globalThis
    ? new OffscreenCanvas(1, 1)
    : document.createElement("canvas");
}

/**
 * In Firefox a worker gets the context of a page's canvas the first time only.
 * @type {WeakMap<Canvas, OffscreenCanvasRenderingContext2D>}
 */
const contexts = new WeakMap();

/**
 * A canvas's context, asked for once.
 * @param {Canvas} canvas
 * @param {CanvasRenderingContext2DSettings} [settings] of the first time
 * @returns {OffscreenCanvasRenderingContext2D}
 */
export function contextOf(canvas, settings) {
  let context = contexts.get(canvas);
  if (!context) {
    context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", settings));
    contexts.set(canvas, context);
  }
  return context;
}

/**
 * @param {Canvas} canvas
 * @param {string} type
 * @param {number} [quality] 0 to 1
 * @returns {Promise<Blob>}
 */
export async function toBlob(canvas, type, quality) {
  if ("convertToBlob" in canvas) return canvas.convertToBlob({ type, quality });
  return new Promise((resolve, reject) => {
    const take = (/** @type {Blob | null} */ blob) =>
      blob ? resolve(blob) : reject(new Error(`The browser could not encode ${type}.`));
    canvas.toBlob(take, type, quality);
  });
}

/** Owns the canvases that frames pass through; one frame at a time. */
export class Encoder {
  #full = newCanvas();
  #small = newCanvas();

  /**
   * Takes the frame in at once, so that the caller may release it when this returns its promise.
   * @param {VideoFrame | ImageBitmap | HTMLVideoElement} source
   * @param {Size} box
   * @param {string} line a key of LINES
   * @returns {Promise<Blob>}
   */
  encode(source, box, line) {
    const { scale, quality } = LINES[line];
    const size = fitInto(sizeOf(source), box);
    if (scale === 1) draw(this.#full, size, source);
    else {
      const small = {
        height: Math.round(size.height * scale),
        width: Math.round(size.width * scale),
      };
      draw(this.#small, small, source);
      draw(this.#full, size, this.#small);
    }
    return toBlob(this.#full, "image/jpeg", quality);
  }
}

/**
 * @param {Canvas} canvas
 * @param {Size} size
 * @param {CanvasImageSource} source
 */
export function draw(canvas, size, source) {
  if (canvas.width !== size.width) canvas.width = size.width;
  if (canvas.height !== size.height) canvas.height = size.height;
  // willReadFrequently keeps the canvas in memory: it is read back for every frame.
  const context = contextOf(canvas, { alpha: false, willReadFrequently: true });
  context.imageSmoothingQuality = "medium";
  context.drawImage(source, 0, 0, size.width, size.height);
}

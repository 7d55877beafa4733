/**
 * The video's current frame as a JPEG: cropped to the wanted shape, scaled, and made worse on
 * request.
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

/**
 * The largest centred part of a source that has the target's shape.
 * @param {{height: number, width: number}} source
 * @param {{height: number, width: number}} target
 */
export function coverCrop(source, target) {
  const scale = Math.min(source.width / target.width, source.height / target.height);
  const width = target.width * scale;
  const height = target.height * scale;
  return { x: (source.width - width) / 2, y: (source.height - height) / 2, height, width };
}

/** @returns {OffscreenCanvas | HTMLCanvasElement} */
function newCanvas() {
  return "OffscreenCanvas" in window ? new OffscreenCanvas(1, 1) : document.createElement("canvas");
}

/**
 * @param {OffscreenCanvas | HTMLCanvasElement} canvas
 * @param {number} quality
 * @returns {Promise<Blob>}
 */
async function toJpeg(canvas, quality) {
  if (!(canvas instanceof HTMLCanvasElement)) {
    return canvas.convertToBlob({ type: "image/jpeg", quality });
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) =>
        blob ? resolve(blob) : reject(new Error("The browser could not encode the frame.")),
      "image/jpeg",
      quality,
    );
  });
}

/** Owns the canvases that frames pass through; encodes one frame at a time. */
export class Capture {
  #full = newCanvas();
  #small = newCanvas();

  /**
   * @param {HTMLVideoElement} video
   * @param {{height: number, width: number}} size
   * @param {string} line a key of LINES
   * @returns {Promise<Blob>}
   */
  async encode(video, size, line) {
    const { scale, quality } = LINES[line];
    const source = { height: video.videoHeight, width: video.videoWidth };
    const crop = coverCrop(source, size);
    const small = {
      height: Math.round(size.height * scale),
      width: Math.round(size.width * scale),
    };
    const first = scale === 1 ? this.#full : this.#small;
    draw(first, small, video, crop);
    if (scale !== 1) draw(this.#full, size, this.#small, { x: 0, y: 0, ...small });
    return toJpeg(this.#full, quality);
  }
}

/**
 * @param {OffscreenCanvas | HTMLCanvasElement} canvas
 * @param {{height: number, width: number}} size
 * @param {CanvasImageSource} source
 * @param {{x: number, y: number, height: number, width: number}} part of the source
 */
function draw(canvas, size, source, part) {
  if (canvas.width !== size.width) canvas.width = size.width;
  if (canvas.height !== size.height) canvas.height = size.height;
  // willReadFrequently keeps the canvas in memory: it is read back for every frame.
  const context = /** @type {CanvasRenderingContext2D} */ (
    canvas.getContext("2d", { alpha: false, willReadFrequently: true })
  );
  context.imageSmoothingQuality = "medium";
  context.drawImage(source, part.x, part.y, part.width, part.height, 0, 0, size.width, size.height);
}

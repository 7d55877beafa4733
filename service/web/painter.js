/**
 * The canvases that people look at: the input, the output, and the magnifier, which shows the same
 * spot of both. For workers and for the page.
 */

import { contextOf, sizeOf } from "./encoder.js";

/** @typedef {import("./encoder.js").Canvas} Canvas */
/** @typedef {import("./encoder.js").Size} Size */
/** @typedef {{input: Canvas | null, output: Canvas | null, lens: Canvas | null}} Surfaces */

export class Painter {
  /** Where the magnifier looks, as shares of the picture. @type {{x: number, y: number} | null} */
  #spot = null;
  #zoom = 6;

  /** @param {Surfaces} surfaces what is null is not drawn */
  constructor(surfaces) {
    this.surfaces = surfaces;
  }

  /**
   * Draw a picture; it stays the caller's.
   * @param {"input" | "output"} side
   * @param {VideoFrame | ImageBitmap | HTMLVideoElement} source
   * @param {Size} [size] of the canvas, if not the source's own
   * @returns {boolean} whether the canvas has another size now
   */
  paint(side, source, size = sizeOf(source)) {
    const canvas = this.surfaces[side];
    if (!canvas) return false;
    const isOther = canvas.height !== size.height || canvas.width !== size.width;
    if (isOther) {
      canvas.height = size.height;
      canvas.width = size.width;
    }
    const context = contextOf(canvas);
    context.clearRect(0, 0, size.width, size.height); // pictures may be transparent
    context.drawImage(source, 0, 0, size.width, size.height);
    return isOther;
  }

  clear() {
    for (const canvas of Object.values(this.surfaces)) {
      if (canvas) contextOf(canvas).clearRect(0, 0, canvas.width, canvas.height);
    }
  }

  /**
   * @param {{x: number, y: number} | null} spot
   * @param {number} zoom how large one pixel is
   */
  look(spot, zoom) {
    this.#spot = spot;
    this.#zoom = zoom;
    this.paintLens();
  }

  get isLooking() {
    return this.#spot !== null;
  }

  /** Both halves of the magnifier, pixel by pixel, nothing smoothed. */
  paintLens() {
    const { lens, input, output } = this.surfaces;
    if (!lens || !this.#spot) return;
    const half = lens.width / 2;
    const context = contextOf(lens);
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, lens.width, lens.height);
    const part = { width: half / this.#zoom, height: lens.height / this.#zoom };
    for (const [canvas, left] of /** @type {[Canvas | null, number][]} */ ([
      [input, 0],
      [output, half],
    ])) {
      if (!canvas) continue;
      const x = Math.round(this.#spot.x * canvas.width - part.width / 2);
      const y = Math.round(this.#spot.y * canvas.height - part.height / 2);
      // A source rectangle that leaves the picture must not fill the other half.
      context.save();
      context.beginPath();
      context.rect(left, 0, half, lens.height);
      context.clip();
      context.drawImage(canvas, x, y, part.width, part.height, left, 0, half, lens.height);
      context.restore();
    }
  }
}

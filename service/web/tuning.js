/**
 * What can be set while a stream runs, but for its strength: size, frame rate, how the server may
 * hold it, and how bad the input is made.
 */

import { byId } from "./elements.js";

/** @param {string} id @returns {HTMLSelectElement} */
const select = (id) => /** @type {HTMLSelectElement} */ (byId(id));
/** @param {string} id @returns {HTMLInputElement} */
const check = (id) => /** @type {HTMLInputElement} */ (byId(id));

export class Tuning {
  /** @param {import("./live.js").Live} live */
  constructor(live) {
    this.size = select("size");
    this.size.addEventListener("change", () => {
      const [width, height] = this.size.value.split("x").map(Number);
      live.setBox({ height, width });
    });
    const rate = select("rate");
    rate.addEventListener("change", () => live.setFps(rate.value ? Number(rate.value) : null));
    const line = select("line");
    line.addEventListener("change", () => live.setLine(line.value));
    const adapt = check("adapt");
    adapt.addEventListener("change", () => live.set({ adapt: adapt.checked }));
    const stillRegions = check("still-regions");
    stillRegions.addEventListener("change", () =>
      live.set({ still_regions: stillRegions.checked }),
    );
  }

  /**
   * Show what this server can do, and how long a frame of each size takes there.
   * @param {import("./clearcall-client.js").Hello} hello
   */
  offer(hello) {
    for (const option of this.size.options) {
      const [width, height] = option.value.split("x").map(Number);
      const size = hello.sizes.find((known) => known.width === width && known.height === height);
      option.disabled = width * height > hello.max_frame_px;
      option.textContent = size ? `${height}p · ${Math.round(size.ms)} ms` : `${height}p`;
    }
  }
}

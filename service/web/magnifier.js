/**
 * The magnifier: a loupe beside the pointer that shows the same few pixels before and after. It
 * follows the pointer; by keyboard, the arrow keys move it while its button or the pictures have
 * the focus.
 */

import { clamp } from "./pointing.js";

const ZOOM = 6;
const KEY_STEP = 0.02;
const DISTANCE_PX = 24;

export class Magnifier {
  /** Where it looks, as shares of the picture. */
  #spot = { x: 0.5, y: 0.5 };

  /**
   * @param {HTMLElement} viewer
   * @param {(spot: {x: number, y: number} | null, zoom: number) => void} onLook null: closed
   */
  constructor(viewer, onLook) {
    this.panes = /** @type {HTMLElement} */ (viewer.querySelector("#panes"));
    this.lens = /** @type {HTMLElement} */ (viewer.querySelector("#lens"));
    this.button = /** @type {HTMLElement} */ (viewer.querySelector("#magnify"));
    this.onLook = onLook;
    this.button.addEventListener("click", () => (this.isOpen ? this.close() : this.open()));
    this.button.addEventListener("keydown", (event) => this.#moveByKey(event));
    this.panes.addEventListener("keydown", (event) => this.#moveByKey(event));
    for (const kind of ["pointermove", "pointerdown"]) {
      this.panes.addEventListener(kind, (event) => this.#follow(/** @type {any} */ (event)));
    }
  }

  get isOpen() {
    return !this.lens.hidden;
  }

  open() {
    this.lens.hidden = false;
    this.panes.dataset.magnified = "true";
    this.button.setAttribute("aria-pressed", "true");
    this.#look(this.#frames()[0]);
  }

  close() {
    if (!this.isOpen) return;
    this.lens.hidden = true;
    this.panes.dataset.magnified = "false";
    this.button.setAttribute("aria-pressed", "false");
    this.onLook(null, ZOOM);
  }

  /** The frames that are laid out now. @returns {HTMLElement[]} */
  #frames() {
    const frames = /** @type {HTMLElement[]} */ ([...this.panes.querySelectorAll(".frame")]);
    return frames.filter((frame) => frame.clientWidth > 0).reverse();
  }

  /** @param {PointerEvent} event */
  #follow(event) {
    if (!this.isOpen) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const frame = /** @type {HTMLElement | null} */ (target.closest(".frame"));
    if (!frame) return;
    const { left, top, width, height } = frame.getBoundingClientRect();
    this.#spot = {
      x: clamp((event.clientX - left) / width, 0, 1),
      y: clamp((event.clientY - top) / height, 0, 1),
    };
    this.#look(frame);
  }

  /** @param {KeyboardEvent} event */
  #moveByKey(event) {
    if (!this.isOpen || event.defaultPrevented) return;
    /** @type {Record<string, [number, number]>} */
    const steps = {
      ArrowLeft: [-KEY_STEP, 0],
      ArrowRight: [KEY_STEP, 0],
      ArrowUp: [0, -KEY_STEP],
      ArrowDown: [0, KEY_STEP],
    };
    if (event.key === "Escape") this.close();
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const { x, y } = this.#spot;
    this.#spot = { x: clamp(x + step[0], 0, 1), y: clamp(y + step[1], 0, 1) };
    this.#look(this.#frames()[0]);
  }

  /** Put the loupe beside the spot, inside the panes. @param {HTMLElement} frame */
  #look(frame) {
    const around = this.panes.getBoundingClientRect();
    const { left, top, width, height } = frame.getBoundingClientRect();
    const x = left - around.left + this.#spot.x * width;
    const y = top - around.top + this.#spot.y * height;
    const { offsetWidth, offsetHeight } = this.lens;
    const lowest = Math.max(0, around.height - offsetHeight);
    const above = y - offsetHeight - DISTANCE_PX;
    const below = Math.min(y + DISTANCE_PX, lowest); // small pictures leave no place that is free
    const beside = clamp(x - offsetWidth / 2, 0, Math.max(0, around.width - offsetWidth));
    this.lens.style.setProperty("--x", `${beside}px`);
    this.lens.style.setProperty("--y", `${above >= 0 || y > lowest ? Math.max(0, above) : below}px`);
    this.onLook(this.#spot, ZOOM);
  }
}

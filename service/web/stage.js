/**
 * The two pictures: drawn into two canvases, side by side or split by a divider, fitted or at
 * actual pixels.
 */

const KEY_STEP = 2;
const KEY_LEAP = 10;
const PAN_STEP = 8;

/** @typedef {{x: number, y: number, height: number, width: number}} Part of a source, in its pixels */

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class Stage {
  #split = 50;
  #pan = { x: 50, y: 50 };

  /** @param {HTMLElement} panes holds the figures, their canvases and the divider */
  constructor(panes) {
    this.panes = panes;
    this.input = /** @type {HTMLCanvasElement} */ (panes.querySelector("#input"));
    this.output = /** @type {HTMLCanvasElement} */ (panes.querySelector("#output"));
    this.divider = /** @type {HTMLElement} */ (panes.querySelector("#divider"));
    this.divider.addEventListener("keydown", (event) => this.#moveByKey(event));
    panes.addEventListener("keydown", (event) => this.#panByKey(event));
    panes.addEventListener("pointerdown", (event) => this.#drag(event));
    this.#setSplit(50);
  }

  /** @param {"side" | "split"} view */
  setView(view) {
    this.panes.dataset.view = view;
    this.divider.tabIndex = view === "split" ? 0 : -1;
  }

  /** @param {boolean} isActual one picture pixel per CSS pixel, to be dragged about */
  setActualPixels(isActual) {
    this.panes.dataset.zoom = isActual ? "actual" : "fit";
    this.panes.tabIndex = isActual ? 0 : -1;
    this.#setPan(50, 50);
  }

  /**
   * Draw a bitmap and release it.
   * @param {"input" | "output"} side
   * @param {ImageBitmap} bitmap
   */
  draw(side, bitmap) {
    const { height, width } = bitmap;
    this.#paint(this[side], bitmap, { x: 0, y: 0, height, width }, { height, width });
    bitmap.close();
  }

  /**
   * Draw part of a source that stays the caller's, as long as there is no result.
   * @param {"input" | "output"} side
   * @param {CanvasImageSource} source
   * @param {Part} part
   * @param {{height: number, width: number}} size
   */
  drawPreview(side, source, part, size) {
    this.#paint(this[side], source, part, size);
  }

  /** The output waits for a result: it is shown soft until then. @param {boolean} isWaiting */
  setWaiting(isWaiting) {
    this.panes.dataset.waiting = String(isWaiting);
  }

  clear() {
    for (const canvas of [this.input, this.output]) {
      canvas.getContext("2d")?.clearRect(0, 0, canvas.width, canvas.height);
    }
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {CanvasImageSource} source
   * @param {Part} part
   * @param {{height: number, width: number}} size
   */
  #paint(canvas, source, part, { height, width }) {
    if (canvas.height !== height || canvas.width !== width) {
      canvas.height = height;
      canvas.width = width;
      this.panes.style.setProperty("--ratio", String(width / height));
    }
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.clearRect(0, 0, width, height); // pictures may be transparent
    context.drawImage(source, part.x, part.y, part.width, part.height, 0, 0, width, height);
  }

  /** @param {number} split share of the input, in percent */
  #setSplit(split) {
    this.#split = clamp(split, 0, 100);
    const shown = Math.round(this.#split);
    this.panes.style.setProperty("--split", `${this.#split}%`);
    this.divider.setAttribute("aria-valuenow", String(shown));
    this.divider.setAttribute("aria-valuetext", `${shown} % input, ${100 - shown} % output`);
  }

  /** @param {KeyboardEvent} event */
  #moveByKey(event) {
    /** @type {Record<string, number>} */
    const targets = {
      ArrowLeft: this.#split - KEY_STEP,
      ArrowDown: this.#split - KEY_STEP,
      ArrowRight: this.#split + KEY_STEP,
      ArrowUp: this.#split + KEY_STEP,
      PageDown: this.#split - KEY_LEAP,
      PageUp: this.#split + KEY_LEAP,
      Home: 0,
      End: 100,
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#setSplit(targets[event.key]);
  }

  /** @param {number} x percent @param {number} y percent */
  #setPan(x, y) {
    this.#pan = { x: clamp(x, 0, 100), y: clamp(y, 0, 100) };
    this.panes.style.setProperty("--pan", `${this.#pan.x}% ${this.#pan.y}%`);
  }

  /** @param {KeyboardEvent} event */
  #panByKey(event) {
    if (this.panes.dataset.zoom !== "actual") return;
    const { x, y } = this.#pan;
    if (event.key === "ArrowLeft") this.#setPan(x - PAN_STEP, y);
    else if (event.key === "ArrowRight") this.#setPan(x + PAN_STEP, y);
    else if (event.key === "ArrowUp") this.#setPan(x, y - PAN_STEP);
    else if (event.key === "ArrowDown") this.#setPan(x, y + PAN_STEP);
    else return;
    event.preventDefault();
  }

  /**
   * Dragging moves the divider where there is one; at actual pixels it moves the picture, but for
   * the divider itself.
   * @param {PointerEvent} event
   */
  #drag(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const frame = /** @type {HTMLElement | null} */ (target.closest(".frame"));
    if (!frame || event.button !== 0) return;
    const onDivider = this.divider.contains(target);
    const isActual = this.panes.dataset.zoom === "actual";
    if (!onDivider && !isActual && this.panes.dataset.view !== "split") return;
    const movesSplit = onDivider || !isActual;
    event.preventDefault();
    if (movesSplit) this.divider.focus({ preventScroll: true });
    const move = movesSplit ? this.#splitDrag(frame) : this.#panDrag(frame, event);
    if (movesSplit) move(event);
    frame.setPointerCapture(event.pointerId);
    frame.addEventListener("pointermove", move);
    const end = () => frame.removeEventListener("pointermove", move);
    frame.addEventListener("lostpointercapture", end, { once: true });
  }

  /**
   * @param {HTMLElement} frame
   * @returns {(event: PointerEvent) => void}
   */
  #splitDrag(frame) {
    return (event) => {
      const { left, width } = frame.getBoundingClientRect();
      this.#setSplit(((event.clientX - left) / width) * 100);
    };
  }

  /**
   * @param {HTMLElement} frame
   * @param {PointerEvent} start
   * @returns {(event: PointerEvent) => void}
   */
  #panDrag(frame, start) {
    const from = this.#pan;
    const hiddenX = this.output.width - frame.clientWidth;
    const hiddenY = this.output.height - frame.clientHeight;
    return (event) => {
      const dx = hiddenX > 0 ? ((start.clientX - event.clientX) / hiddenX) * 100 : 0;
      const dy = hiddenY > 0 ? ((start.clientY - event.clientY) / hiddenY) * 100 : 0;
      this.#setPan(from.x + dx, from.y + dy);
    };
  }
}

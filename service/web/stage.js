/**
 * The two pictures: their layout, the divider between them, actual pixels, the magnifier, full
 * screen. The canvases are the pipeline's; the stage opens it and passes its messages on, as events
 * of type "pipeline".
 */

import { openHost } from "./host.js";
import { Magnifier } from "./magnifier.js";
import { clamp, onDrag } from "./pointing.js";

const KEY_STEP = 2;
const KEY_LEAP = 10;
const PAN_STEP = 8;

/** @typedef {"split" | "side" | "output"} View */

/** @template {HTMLElement} T @param {ParentNode} root @param {string} selector @returns {T} */
const find = (root, selector) => /** @type {T} */ (root.querySelector(selector));

export class Stage extends EventTarget {
  #split = 50;
  #pan = { x: 50, y: 50 };
  #shape = { height: 360, width: 640 };

  /** @param {HTMLElement} viewer holds the panes and the toolbar */
  constructor(viewer) {
    super();
    this.viewer = viewer;
    this.panes = find(viewer, "#panes");
    const canvas = (/** @type {string} */ selector) =>
      /** @type {HTMLCanvasElement} */ (find(viewer, selector));
    this.output = canvas("#output");
    this.divider = find(viewer, "#divider");
    this.zoom = /** @type {HTMLButtonElement} */ (find(viewer, "#zoom"));
    /** @type {Promise<import("./host.js").Host>} */
    this.host = openHost(
      {
        input: canvas("#input"),
        output: this.output,
        lens: canvas("#lens-canvas"),
      },
      (message) => this.#receive(message),
    );
    this.magnifier = new Magnifier(viewer, (spot, zoom) => {
      if (spot) this.setActualPixels(false);
      this.post({ type: "lens", spot, zoom });
    });
    this.#listen();
    this.#setSplit(50);
  }

  #listen() {
    this.divider.addEventListener("keydown", (event) => this.#moveByKey(event));
    this.panes.addEventListener("keydown", (event) => this.#panByKey(event));
    this.panes.addEventListener("pointerdown", (event) => this.#drag(event));
    for (const choice of this.viewer.querySelectorAll("input[name=view]")) {
      const { value } = /** @type {HTMLInputElement} */ (choice);
      choice.addEventListener("change", () => this.setView(/** @type {View} */ (value)));
    }
    this.zoom.addEventListener("click", () => {
      this.setActualPixels(this.zoom.getAttribute("aria-pressed") !== "true");
    });
    this.#offerFullScreen(find(this.viewer, "#full"));
  }

  /** @param {HTMLButtonElement} button */
  #offerFullScreen(button) {
    button.hidden = !document.fullscreenEnabled;
    button.addEventListener("click", () => {
      const change = document.fullscreenElement
        ? document.exitFullscreen()
        : this.viewer.requestFullscreen();
      change.catch(() => {}); // refused by the browser: everything stays as it is
    });
    document.addEventListener("fullscreenchange", () => {
      button.setAttribute("aria-pressed", String(document.fullscreenElement === this.viewer));
    });
  }

  /**
   * A message for the pipeline; they are kept until it runs.
   * @param {object} message
   * @param {Transferable[]} [transfer]
   */
  post(message, transfer) {
    void this.host.then((host) => host.post(message, transfer));
  }

  /** @param {{type: string, detail?: any}} message */
  #receive(message) {
    if (message.type === "shape") this.#setShape(message.detail);
    this.dispatchEvent(new CustomEvent("pipeline", { detail: message }));
  }

  /** Of the picture that is shown, in pixels. */
  get shape() {
    return this.#shape;
  }

  /** @param {{height: number, width: number}} shape */
  #setShape(shape) {
    this.#shape = shape;
    this.viewer.style.setProperty("--ratio", String(shape.width / shape.height));
  }

  /** @param {View} view */
  setView(view) {
    this.panes.dataset.view = view;
    this.divider.tabIndex = view === "split" ? 0 : -1;
    this.post({ type: "shown", isInputShown: view !== "output" });
  }

  /** @param {boolean} isActual one picture pixel per CSS pixel, to be dragged about */
  setActualPixels(isActual) {
    if (isActual) this.magnifier.close();
    this.zoom.setAttribute("aria-pressed", String(isActual));
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
    this.post({ type: "draw", side, bitmap }, [bitmap]);
  }

  /** The output waits for a result: it is shown soft until then. @param {boolean} isWaiting */
  setWaiting(isWaiting) {
    this.panes.dataset.waiting = String(isWaiting);
  }

  clear() {
    this.post({ type: "clear" });
  }

  /** @param {number} split share of the input, in percent */
  #setSplit(split) {
    this.#split = clamp(split, 0, 100);
    const shown = Math.round(this.#split);
    this.panes.style.setProperty("--split", `${this.#split}%`);
    this.divider.setAttribute("aria-valuenow", String(shown));
    this.divider.setAttribute("aria-valuetext", `${shown} % before, ${100 - shown} % after`);
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
   * the divider itself. The magnifier takes pointers for itself.
   * @param {PointerEvent} event
   */
  #drag(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const frame = /** @type {HTMLElement | null} */ (target.closest(".frame"));
    if (!frame || event.button !== 0) return;
    const onDivider = this.divider.contains(target);
    const isActual = this.panes.dataset.zoom === "actual";
    const isSplit = this.panes.dataset.view === "split";
    if (onDivider || (isSplit && !isActual && !this.magnifier.isOpen)) {
      event.preventDefault();
      this.divider.focus({ preventScroll: true });
      const move = this.#splitDrag(frame);
      // A finger beside the divider may be about to scroll.
      if (onDivider || event.pointerType !== "touch") move(event);
      onDrag(frame, event, move);
    } else if (isActual) {
      event.preventDefault();
      onDrag(frame, event, this.#panDrag(frame, event));
    }
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
    const hiddenX = this.#shape.width - frame.clientWidth;
    const hiddenY = this.#shape.height - frame.clientHeight;
    return (event) => {
      const dx = hiddenX > 0 ? ((start.clientX - event.clientX) / hiddenX) * 100 : 0;
      const dy = hiddenY > 0 ? ((start.clientY - event.clientY) / hiddenY) * 100 : 0;
      this.#setPan(from.x + dx, from.y + dy);
    };
  }
}

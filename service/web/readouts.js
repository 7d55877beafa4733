/**
 * Figures into text, and into the elements that show them.
 */

/** @param {number} ms */
export function formatMs(ms) {
  if (!Number.isFinite(ms)) return "–";
  return ms < 9.95 ? ms.toFixed(1) : String(Math.round(ms));
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  return bytes < 1e6
    ? `${Math.max(1, Math.round(bytes / 1e3))} kB`
    : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {number} kbps */
export function formatRate(kbps) {
  return kbps < 1000 ? `${Math.round(kbps)} kbit/s` : `${(kbps / 1000).toFixed(1)} Mbit/s`;
}

/** @param {number} share 0 to 1 */
export function formatShare(share) {
  return `${Math.round(share * 100)} %`;
}

/** @param {{height: number, width: number}} size @param {number} bytes */
export function formatPicture({ height, width }, bytes) {
  return `${width} × ${height}, ${formatBytes(bytes)}`;
}

/** @param {string} device as the server names it */
export function formatDevice(device) {
  if (device === "cpu") return "CPU";
  if (device.startsWith("cuda")) return `GPU ${device}`;
  return device === "mps" ? "Apple GPU" : device;
}

/** @param {string} backend as the server names it */
export function formatBackend(backend) {
  return { openvino: "OpenVINO", torch: "PyTorch" }[backend] ?? backend;
}

/** Named figures, each in an element with `data-figure="name"`. */
export class Figures {
  /** @param {HTMLElement} root */
  constructor(root) {
    /** @type {Map<string, HTMLElement>} */
    this.elements = new Map();
    for (const element of root.querySelectorAll("[data-figure]")) {
      if (element instanceof HTMLElement) this.elements.set(element.dataset.figure ?? "", element);
    }
  }

  /** @param {Record<string, string>} figures */
  show(figures) {
    for (const [name, text] of Object.entries(figures)) {
      const element = this.elements.get(name);
      if (element && element.textContent !== text) element.textContent = text;
    }
  }
}

/** One bar in which each stage takes its share of the time, with a legend that has the figures. */
export class StageBar {
  /** @param {HTMLElement} root holds .bar and .legend, with one child of each per stage in the same order */
  constructor(root) {
    this.parts = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(".bar > *")]);
    this.figures = new Figures(root);
  }

  /** @param {Record<string, number> | null} times stage -> ms */
  show(times) {
    for (const part of this.parts) {
      const ms = times?.[part.dataset.stage ?? ""] ?? 0;
      part.style.flexGrow = String(Math.max(0, ms));
    }
    for (const name of this.figures.elements.keys()) {
      this.figures.show({ [name]: times ? formatMs(times[name] ?? 0) : "–" });
    }
  }
}

/** What pointers have in common. */

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/**
 * Call `move` for each movement until the pointer is let go, wherever it goes.
 * @param {HTMLElement} element
 * @param {PointerEvent} start
 * @param {(event: PointerEvent) => void} move
 */
export function onDrag(element, start, move) {
  element.setPointerCapture(start.pointerId);
  element.addEventListener("pointermove", move);
  const end = () => element.removeEventListener("pointermove", move);
  element.addEventListener("lostpointercapture", end, { once: true });
}

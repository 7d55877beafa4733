/**
 * The ways by which a file comes to the page: the file dialogue, a drop, a paste.
 */

import { byId } from "./elements.js";
import { carriesFiles, fileFrom } from "./picture.js";

/**
 * @param {(file: File | null) => void} onFile null where something else was dropped
 * @returns {{ask: () => void}} opens the file dialogue
 */
export function setUpIntake(onFile) {
  const input = /** @type {HTMLInputElement} */ (byId("file"));
  const veil = byId("drop");
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    input.value = ""; // the same file may be chosen again
    if (file) onFile(file);
  });
  window.addEventListener("paste", (event) => {
    const file = fileFrom(event.clipboardData);
    if (file) onFile(file);
  });
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    veil.hidden = !carriesFiles(event.dataTransfer);
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    veil.hidden = true;
    onFile(fileFrom(event.dataTransfer));
  });
  return { ask: () => input.click() };
}

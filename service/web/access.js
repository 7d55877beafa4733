/**
 * The API key of this tab, where the server wants one: asked for once, kept in sessionStorage, sent
 * in a header, never in an address.
 */

import { isSendable } from "./clearcall-client.js";

const STORED = "clearcall-key";
const LOCKED = "clearcall-locked";

/** @returns {string} the key, or "" */
export function storedKey() {
  return window.sessionStorage.getItem(STORED) ?? "";
}

/** @returns {Record<string, string>} what to send with a request */
export function keyHeaders() {
  const key = storedKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** A request was refused for want of a right key. @param {string} detail the server's words */
export function tellLocked(detail) {
  window.dispatchEvent(new CustomEvent(LOCKED, { detail }));
}

/**
 * @param {HTMLFormElement} form with an input, and an element .key-text for what to do
 * @param {{onLocked: () => void, onKey: () => void}} listener
 */
export function setUpKeyForm(form, { onLocked, onKey }) {
  const input = /** @type {HTMLInputElement} */ (form.querySelector("input"));
  const text = /** @type {HTMLElement} */ (form.querySelector(".key-text"));
  window.addEventListener(LOCKED, () => {
    const hadKey = storedKey() !== "";
    window.sessionStorage.removeItem(STORED);
    if (hadKey || form.hidden)
      text.textContent = hadKey
        ? "The key was not accepted. Enter another one."
        : "Whoever runs this server gives keys to those who may use it. It is kept until this tab is closed.";
    form.hidden = false;
    onLocked();
    input.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = input.value.trim();
    if (!key) return;
    if (!isSendable(key)) {
      text.textContent = "The key was not accepted. Enter another one.";
      return;
    }
    window.sessionStorage.setItem(STORED, key);
    input.value = "";
    document.getElementById("main")?.focus(); // its button must not vanish under the keyboard
    form.hidden = true;
    onKey();
  });
}

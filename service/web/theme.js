/**
 * The switch between the system's colours, light and dark; the choice is kept in this browser.
 * theme-first.js applies it before the page is drawn.
 */

const KEY = "clearcall-theme";

/** @param {HTMLElement} switches holds the three radio buttons */
export function setUpTheme(switches) {
  const root = document.documentElement;
  for (const input of switches.querySelectorAll("input")) {
    input.checked = input.value === (root.dataset.theme ?? "auto");
    input.addEventListener("change", () => choose(input.value));
  }
}

/** @param {string} theme */
function choose(theme) {
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  try {
    if (theme === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Storage is forbidden: the choice holds until the page is left.
  }
}

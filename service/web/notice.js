/**
 * Shows one problem at a time, with its ways out, and says short news to screen readers.
 */

/** @typedef {import("./problems.js").Problem} Problem */
/** @typedef {import("./problems.js").WayOut} WayOut */

/** @type {Record<WayOut, string>} */
const LABELS = {
  camera: "Try the camera again",
  file: "Open a file",
  reconnect: "Try now",
  reload: "Reload the page",
};

export class Notice {
  #countdownTimer = 0;
  #about = "";

  /**
   * @param {HTMLElement} root
   * @param {HTMLElement} status a polite live region
   * @param {Record<WayOut, () => void>} actions
   */
  constructor(root, status, actions) {
    this.root = root;
    this.status = status;
    this.actions = actions;
    this.alert = /** @type {HTMLElement} */ (root.querySelector("[role=alert]"));
    this.countdown = /** @type {HTMLElement} */ (root.querySelector(".countdown"));
    this.ways = /** @type {HTMLElement} */ (root.querySelector(".ways"));
  }

  /**
   * @param {Problem} problem
   * @param {object} [options]
   * @param {number} [options.retryAtMs] when the page tries again by itself, on the clock of performance.now()
   * @param {string} [options.about] what `hideIf` may later take it back for
   */
  show(problem, { retryAtMs, about = "" } = {}) {
    this.#about = about;
    window.clearInterval(this.#countdownTimer);
    this.root.hidden = false;
    const title = document.createElement("strong");
    title.textContent = problem.title;
    const text = document.createElement("p");
    text.textContent = problem.text;
    // The same words again would be read aloud again with every retry.
    if (this.alert.textContent !== problem.title + problem.text)
      this.alert.replaceChildren(title, text);
    this.#offer(problem.ways);
    this.countdown.textContent = "";
    if (retryAtMs !== undefined) this.#countDown(retryAtMs);
  }

  hide() {
    window.clearInterval(this.#countdownTimer);
    // A focused button must not vanish under the keyboard.
    if (this.root.contains(document.activeElement)) document.getElementById("main")?.focus();
    this.root.hidden = true;
    this.alert.replaceChildren();
  }

  /** @param {string} about */
  hideIf(about) {
    if (!this.root.hidden && this.#about === about) this.hide();
  }

  /** @param {string} news */
  say(news) {
    this.status.textContent = news;
  }

  /** @param {WayOut[]} ways */
  #offer(ways) {
    if (this.ways.dataset.ways === ways.join()) return; // keeps the focus where it is
    this.ways.dataset.ways = ways.join();
    this.ways.replaceChildren(
      ...ways.map((way) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "button";
        button.textContent = LABELS[way];
        button.addEventListener("click", () => this.actions[way]());
        return button;
      }),
    );
  }

  /** @param {number} retryAtMs */
  #countDown(retryAtMs) {
    const tick = () => {
      const seconds = Math.ceil((retryAtMs - performance.now()) / 1000);
      this.countdown.textContent = seconds > 0 ? `Trying again in ${seconds} s` : "Trying again…";
    };
    tick();
    this.#countdownTimer = window.setInterval(tick, 250);
  }
}

/**
 * The strength slider: the model's default until somebody moves it, then what was chosen; and what
 * the server confirmed. 0 is off, 1 as trained, 2 the strongest.
 */

/** Moving the slider makes many changes; the last one counts, after this pause. */
const PAUSE_MS = 120;

/** @param {number} strength */
function describe(strength) {
  if (strength === 0) return "off";
  if (strength === 1) return "as trained";
  return strength < 1 ? "weaker" : "stronger";
}

export class Strength {
  #usual = NaN;
  #value = 1; // not the slider's own, which is rounded to its steps
  #isChosen = false;
  #timer = 0;

  /**
   * @param {HTMLInputElement} slider
   * @param {HTMLElement} readout
   * @param {HTMLElement} reset a button that goes back to the model's default
   * @param {(strength: number) => boolean} onChange says whether a server is going to confirm it
   */
  constructor(slider, readout, reset, onChange) {
    this.slider = slider;
    this.readout = readout;
    this.onChange = onChange;
    slider.addEventListener("input", () => this.#choose(Number(slider.value)));
    reset.addEventListener("click", () => {
      if (!Number.isNaN(this.#usual)) this.#choose(this.#usual);
    });
  }

  get value() {
    return this.#value;
  }

  /** @param {number} usual the model's default */
  offer(usual) {
    this.#usual = usual;
    if (!this.#isChosen) this.#show(usual);
  }

  /** @param {number} applied what the server applies now */
  confirm(applied) {
    this.readout.dataset.applied = String(applied);
    this.readout.dataset.pending = "false";
  }

  /** @param {number} strength */
  #choose(strength) {
    this.#isChosen = true;
    this.#show(strength);
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      this.readout.dataset.pending = String(this.onChange(this.value));
    }, PAUSE_MS);
  }

  /** @param {number} strength */
  #show(strength) {
    this.#value = strength;
    this.slider.value = String(strength);
    const text = `${strength.toFixed(2)}, ${describe(strength)}`;
    this.readout.textContent = text;
    this.slider.setAttribute("aria-valuetext", text);
  }
}

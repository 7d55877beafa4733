/**
 * The strength slider: the model's best until somebody moves it, then what was chosen; and what the
 * server confirmed.
 */

/** Moving the slider makes many changes; the last one counts, after this pause. */
const PAUSE_MS = 120;

export class Strength {
  #best = NaN;
  #value = 0; // not the slider's own, which is rounded to its steps
  #isChosen = false;
  #timer = 0;

  /**
   * @param {HTMLInputElement} slider
   * @param {HTMLElement} readout
   * @param {HTMLElement} reset a button that goes back to the model's best
   * @param {(strength: number) => boolean} onChange says whether a server is going to confirm it
   */
  constructor(slider, readout, reset, onChange) {
    this.slider = slider;
    this.readout = readout;
    this.onChange = onChange;
    slider.addEventListener("input", () => this.#choose(Number(slider.value)));
    reset.addEventListener("click", () => {
      if (!Number.isNaN(this.#best)) this.#choose(this.#best);
    });
  }

  get value() {
    return this.#value;
  }

  /** @param {number} best what the model does best with */
  offer(best) {
    this.#best = best;
    if (!this.#isChosen) this.#show(best);
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
    this.readout.textContent = strength.toFixed(2);
  }
}

/**
 * One picture file: shown, sharpened by the server, shown beside itself, ready to be saved.
 */

import { decode, resultName } from "./picture.js";
import {
  ANSWER_BROKEN,
  FILE_UNREADABLE,
  UPLOAD_CUT_OFF,
  requestProblem,
  serverProblem,
} from "./problems.js";
import { AnswerBroken, RequestFailed, fetchModel, sharpen } from "./server.js";

/**
 * @typedef {object} StillResult
 * @property {string} url to save it from; holds until the next result
 * @property {string} name
 * @property {number} strength
 * @property {{height: number, width: number, bytes: number} | null} output null where it cannot be shown
 * @property {Record<string, number>} timesMs
 * @property {number} roundTripMs
 */

/**
 * @typedef {object} StillListener
 * @property {(name: string, input: {height: number, width: number, bytes: number} | null) => void} onOpened
 *   null where this browser cannot show the file
 * @property {() => void} onWaiting
 * @property {(result: StillResult) => void} onSharpened
 * @property {(problem: import("./problems.js").Problem, isServerGone: boolean) => void} onProblem
 */

export class Still {
  /** @type {File | null} */
  #file = null;
  #isShowable = false;
  #url = "";
  #work = new AbortController();

  /**
   * @param {import("./stage.js").Stage} stage
   * @param {StillListener} listener
   */
  constructor(stage, listener) {
    this.stage = stage;
    this.listener = listener;
  }

  get isOpen() {
    return this.#file !== null;
  }

  /** Whether the browser can show the file that is open. */
  get isShowable() {
    return this.#isShowable;
  }

  /**
   * @param {File} file
   * @param {number} strength
   */
  async open(file, strength) {
    this.close();
    const { signal } = this.#work;
    this.#file = file;
    const input = await decode(file);
    if (signal.aborted) {
      input?.bitmap.close();
      return;
    }
    this.#isShowable = input !== null;
    this.listener.onOpened(
      file.name,
      input && { height: input.height, width: input.width, bytes: file.size },
    );
    if (input) await this.#preview(input.bitmap);
    else this.stage.clear();
    if (signal.aborted) return;
    await this.sharpen(strength);
  }

  /**
   * Sharpen the open picture (anew); an answer that is still awaited is given up.
   * @param {number} strength
   */
  async sharpen(strength) {
    const file = this.#file;
    if (!file) return;
    this.#work.abort();
    this.#work = new AbortController();
    const { signal } = this.#work;
    this.stage.setWaiting(true);
    this.listener.onWaiting();
    // What the browser cannot show comes back in the input's format otherwise, and cannot be shown
    // either.
    const format = this.#isShowable ? undefined : "png";
    try {
      const answer = await sharpen(file, { strength, format, signal });
      const shown = await decode(answer.encoded);
      if (signal.aborted) shown?.bitmap.close();
      else this.#show(file, strength, answer, shown);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RequestFailed)) throw error;
      await this.#explain(error, file);
    }
  }

  close() {
    this.#work.abort();
    this.#work = new AbortController();
    this.#file = null;
    URL.revokeObjectURL(this.#url);
    this.#url = "";
  }

  /** Until there is a result, both sides show the input. @param {ImageBitmap} bitmap */
  async #preview(bitmap) {
    this.stage.draw("output", await createImageBitmap(bitmap));
    this.stage.draw("input", bitmap);
  }

  /**
   * @param {File} file
   * @param {number} strength
   * @param {import("./server.js").Sharpened} answer
   * @param {Awaited<ReturnType<typeof decode>>} shown
   */
  #show(file, strength, answer, shown) {
    this.stage.setWaiting(false);
    if (shown) this.stage.draw("output", shown.bitmap);
    URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(answer.encoded);
    this.listener.onSharpened({
      url: this.#url,
      name: resultName(file.name, answer.encoded.type),
      strength,
      output: shown && { height: shown.height, width: shown.width, bytes: answer.encoded.size },
      timesMs: answer.timesMs,
      roundTripMs: answer.roundTripMs,
    });
  }

  /** @param {RequestFailed} error @param {File} file */
  async #explain(error, file) {
    if (error.status !== 0) {
      this.listener.onProblem(requestProblem(error), false);
      return;
    }
    if (!(await isReadable(file))) {
      this.listener.onProblem(FILE_UNREADABLE, false);
      return;
    }
    // A server that refuses an upload half-way looks to the browser like one that is gone.
    const isThere = await fetchModel().then(
      () => true,
      () => false,
    );
    const isBroken = error instanceof AnswerBroken;
    const problem = isBroken ? ANSWER_BROKEN : UPLOAD_CUT_OFF;
    this.listener.onProblem(isThere ? problem : serverProblem(error), !isThere);
  }
}

/** Whether its bytes are still to be had. @param {File} file */
function isReadable(file) {
  const start = file.slice(0, 1).arrayBuffer();
  return start.then(
    () => true,
    () => false,
  );
}

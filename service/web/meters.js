/**
 * Frame rate, latency and stage times over the last seconds. Pure: time is passed in, nothing is
 * drawn.
 */

/** @typedef {import("./wire.js").StageTimes} StageTimes */

/**
 * The value that `share` of the values do not exceed (nearest rank).
 * @param {number[]} values
 * @param {number} share 0 to 1
 * @returns {number} NaN where there are no values
 */
export function percentile(values, share) {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/**
 * @typedef {object} Reading
 * @property {number} shownFps
 * @property {number} latencyMedianMs from capture to the result on the screen
 * @property {number} latencyP95Ms
 * @property {StageTimes} times medians
 * @property {number} dropped in this stream so far
 */

/** @typedef {{atMs: number, latencyMs: number, times: StageTimes}} Shown */

export class StreamMeters {
  /** @type {Shown[]} */
  #shown = [];
  #firstAtMs = NaN;
  #dropped = 0;

  /** @param {number} spanMs how far back a reading looks */
  constructor(spanMs = 4000) {
    this.spanMs = spanMs;
  }

  /**
   * Count one result that was just drawn.
   * @param {number} atMs
   * @param {{latencyMs: number, times: StageTimes, dropped: number}} frame
   */
  add(atMs, { latencyMs, times, dropped }) {
    if (Number.isNaN(this.#firstAtMs)) this.#firstAtMs = atMs;
    this.#dropped = dropped;
    this.#shown.push({ atMs, latencyMs, times });
    this.#forget(atMs);
  }

  /**
   * @param {number} nowMs
   * @returns {Reading | null} null where no frame was shown lately
   */
  read(nowMs) {
    this.#forget(nowMs);
    if (this.#shown.length < 2) return null;
    const latencies = this.#shown.map((frame) => frame.latencyMs);
    const stage = (/** @type {keyof StageTimes} */ name) =>
      percentile(
        this.#shown.map((frame) => frame.times[name]),
        0.5,
      );
    return {
      shownFps: this.#fps(nowMs),
      latencyMedianMs: percentile(latencies, 0.5),
      latencyP95Ms: percentile(latencies, 0.95),
      times: {
        queueMs: stage("queueMs"),
        decodeMs: stage("decodeMs"),
        inferenceMs: stage("inferenceMs"),
        encodeMs: stage("encodeMs"),
        totalMs: stage("totalMs"),
      },
      dropped: this.#dropped,
    };
  }

  /** Start anew, as after a pause or a change of size. */
  reset() {
    this.#shown = [];
    this.#firstAtMs = NaN;
  }

  /** @param {number} nowMs */
  #fps(nowMs) {
    const sinceFirstMs = nowMs - this.#firstAtMs;
    // In the first seconds the span is shorter, and the first frame only starts the clock.
    const young = sinceFirstMs < this.spanMs;
    const frames = this.#shown.length - (young ? 1 : 0);
    return (frames * 1000) / Math.max(1, Math.min(this.spanMs, sinceFirstMs));
  }

  /** @param {number} nowMs */
  #forget(nowMs) {
    const fresh = this.#shown.findIndex((frame) => frame.atMs > nowMs - this.spanMs);
    this.#shown = fresh === -1 ? [] : this.#shown.slice(fresh);
  }
}

/**
 * Frame rates, latency, bit rates and stage times over the last seconds. Pure: time is passed in,
 * nothing is drawn.
 */

/** @typedef {import("./wire.js").StageTimes} StageTimes */
/** @typedef {{student: number, scale: number}} Rung */

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
 * @property {number} inputFps frames that the source gave
 * @property {number} shownFps
 * @property {number} latencyMedianMs from capture to the result on the screen
 * @property {number} latencyP95Ms
 * @property {number[]} latestMs latencies since the last reading, oldest first
 * @property {StageTimes} times medians
 * @property {number} dropped by the server in this stream so far
 * @property {number} sentKbps
 * @property {number} receivedKbps
 * @property {Rung} rung of the last frame
 * @property {number} stillShare mean, 0 to 1
 */

/** @typedef {{atMs: number, latencyMs: number, times: StageTimes, bytes: number, stillShare: number}} Shown */
/** @typedef {{atMs: number, amount: number}} Counted */

export class StreamMeters {
  /** @type {Shown[]} */
  #shown = [];
  /** @type {Counted[]} */
  #input = [];
  /** @type {Counted[]} */
  #sent = [];
  #firstAtMs = NaN;
  #readAtMs = -Infinity;
  #dropped = 0;
  /** @type {Rung} */
  #rung = { student: 0, scale: 1 };

  /** @param {number} spanMs how far back a reading looks */
  constructor(spanMs = 4000) {
    this.spanMs = spanMs;
  }

  /** @param {number} atMs @param {number} frames that the source gave since the last time */
  countInput(atMs, frames) {
    this.#input.push({ atMs, amount: frames });
    this.#forget(atMs);
  }

  /** @param {number} atMs @param {number} bytes of one frame */
  countSent(atMs, bytes) {
    this.#sent.push({ atMs, amount: bytes });
  }

  /**
   * Count one result that was just drawn.
   * @param {number} atMs
   * @param {{latencyMs: number, times: StageTimes, dropped: number, bytes: number, rung: Rung,
   *   stillShare: number}} frame
   */
  add(atMs, { latencyMs, times, dropped, bytes, rung, stillShare }) {
    if (Number.isNaN(this.#firstAtMs)) this.#firstAtMs = atMs;
    this.#dropped = dropped;
    this.#rung = rung;
    this.#shown.push({ atMs, latencyMs, times, bytes, stillShare });
    this.#forget(atMs);
  }

  /**
   * @param {number} nowMs
   * @returns {Reading | null} null where no frame was shown lately
   */
  read(nowMs) {
    this.#forget(nowMs);
    if (this.#shown.length < 2) return null;
    const sinceMs = this.#readAtMs;
    this.#readAtMs = nowMs;
    const latencies = this.#shown.map((frame) => frame.latencyMs);
    const stage = (/** @type {keyof StageTimes} */ name) =>
      percentile(
        this.#shown.map((frame) => frame.times[name]),
        0.5,
      );
    return {
      inputFps: this.#perSecond(this.#input, nowMs),
      shownFps: this.#shownFps(nowMs),
      latencyMedianMs: percentile(latencies, 0.5),
      latencyP95Ms: percentile(latencies, 0.95),
      latestMs: this.#shown.filter(({ atMs }) => atMs > sinceMs).map((frame) => frame.latencyMs),
      times: {
        queueMs: stage("queueMs"),
        decodeMs: stage("decodeMs"),
        inferenceMs: stage("inferenceMs"),
        encodeMs: stage("encodeMs"),
        totalMs: stage("totalMs"),
      },
      dropped: this.#dropped,
      sentKbps: (this.#perSecond(this.#sent, nowMs) * 8) / 1000,
      receivedKbps: (this.#perSecond(this.#asBytes(), nowMs) * 8) / 1000,
      rung: this.#rung,
      stillShare: this.#shown.reduce((sum, frame) => sum + frame.stillShare, 0) / this.#shown.length,
    };
  }

  /** Start anew, as after a pause or a change of size. */
  reset() {
    this.#shown = [];
    this.#input = [];
    this.#sent = [];
    this.#firstAtMs = NaN;
  }

  #asBytes() {
    return this.#shown.map(({ atMs, bytes }) => ({ atMs, amount: bytes }));
  }

  /** @param {number} nowMs */
  #shownFps(nowMs) {
    return this.#perSecond(
      this.#shown.map(({ atMs }) => ({ atMs, amount: 1 })),
      nowMs,
    );
  }

  /** @param {Counted[]} counted @param {number} nowMs */
  #perSecond(counted, nowMs) {
    if (counted.length < 2) return 0;
    const total = counted.reduce((sum, { amount }) => sum + amount, 0);
    const sinceFirstMs = nowMs - counted[0].atMs;
    // While less than the span was seen, the first one only starts the clock.
    const isYoung = nowMs - this.#firstAtMs < this.spanMs;
    const amount = total - (isYoung ? counted[0].amount : 0);
    return (amount * 1000) / Math.max(1, isYoung ? sinceFirstMs : this.spanMs);
  }

  /** @param {number} nowMs */
  #forget(nowMs) {
    /** @template {{atMs: number}} T @param {T[]} entries @returns {T[]} */
    const fresh = (entries) => {
      const first = entries.findIndex(({ atMs }) => atMs > nowMs - this.spanMs);
      return first === -1 ? [] : entries.slice(first);
    };
    this.#shown = fresh(this.#shown);
    this.#input = fresh(this.#input);
    this.#sent = fresh(this.#sent);
  }
}

/**
 * The panel of measurements: figures, the line of latencies, and where the time goes.
 */

import { Figures, StageBar, formatMs, formatRate, formatShare } from "./readouts.js";
import { Spark } from "./spark.js";

/** @typedef {import("./meters.js").Reading} Reading */

const NOTHING = {
  fps: "–",
  inputFps: "–",
  latency: "–",
  p95: "–",
  dropped: "–",
  reasons: "",
  rung: "–",
  still: "–",
  sent: "–",
  received: "–",
  roundTrip: "–",
  total: "–",
};

export class Readings {
  /** @param {HTMLElement} panel */
  constructor(panel) {
    this.figures = new Figures(panel);
    this.stages = new StageBar(/** @type {HTMLElement} */ (panel.querySelector("#stages")));
    this.spark = new Spark(/** @type {any} */ (panel.querySelector("#spark")));
  }

  clear() {
    this.figures.show(NOTHING);
    this.stages.show(null);
    this.spark.clear();
  }

  /**
   * @param {Reading | null} reading null where no frame was shown lately
   * @param {{students: string[], isPaused: boolean}} stream
   */
  showLive(reading, { students, isPaused }) {
    if (!reading) {
      this.figures.show({ fps: isPaused ? "–" : "0", inputFps: "–", latency: "–", p95: "–" });
      this.stages.show(null);
      return;
    }
    this.figures.show({
      fps: reading.shownFps.toFixed(1),
      inputFps: reading.inputFps.toFixed(0),
      latency: formatMs(reading.latencyMedianMs),
      p95: formatMs(reading.latencyP95Ms),
      rung: describeRung(reading.rung, students),
      still: formatShare(reading.stillShare),
      sent: formatRate(reading.sentKbps),
      received: formatRate(reading.receivedKbps),
    });
    this.spark.add(reading.latestMs);
    const { queueMs, decodeMs, inferenceMs, encodeMs } = reading.times;
    this.#showStages(
      { queue: queueMs, decode: decodeMs, inference: inferenceMs, encode: encodeMs },
      reading.latencyMedianMs,
    );
  }

  /** @param {Record<string, number>} dropped frames without a result, by the server's reason */
  showDropped(dropped) {
    const reasons = Object.entries(dropped).filter(([, count]) => count > 0);
    const total = reasons.reduce((sum, [, count]) => sum + count, 0);
    this.figures.show({
      dropped: String(total),
      reasons: reasons.length ? `(${reasons.map(([why, count]) => `${count} ${why}`).join(", ")})` : "",
    });
  }

  /** @param {Record<string, number>} timesMs of one picture @param {number} roundTripMs */
  showStill(timesMs, roundTripMs) {
    const { total, queue, decode, inference, encode } = timesMs;
    this.figures.show({ roundTrip: formatMs(roundTripMs), total: formatMs(total ?? NaN) });
    this.#showStages({ queue, decode, inference, encode }, roundTripMs);
  }

  /** @param {Record<string, number>} times the server's stages @param {number} wholeMs */
  #showStages(times, wholeMs) {
    const known = Object.values(times).reduce((sum, ms) => sum + ms, 0);
    this.stages.show({ ...times, rest: Math.max(0, wholeMs - known) });
  }
}

/** @param {import("./meters.js").Rung} rung @param {string[]} students @returns {string} */
function describeRung({ student, scale }, students) {
  const name = students[student] ?? "–";
  return scale < 1 ? `${name}, ${formatShare(scale)} scale` : name;
}

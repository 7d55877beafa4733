/** A line of the last latencies, as an SVG path. The figures beside it say the same in words. */

const LENGTH = 90;

export class Spark {
  /** @type {number[]} */
  #values = [];

  /** @param {SVGSVGElement} svg with the paths .area and .line */
  constructor(svg) {
    this.area = /** @type {SVGPathElement} */ (svg.querySelector(".area"));
    this.line = /** @type {SVGPathElement} */ (svg.querySelector(".line"));
    this.box = svg.viewBox.baseVal;
  }

  clear() {
    this.#values = [];
    this.#draw();
  }

  /** @param {number[]} values oldest first */
  add(values) {
    this.#values = [...this.#values, ...values].slice(-LENGTH);
    this.#draw();
  }

  #draw() {
    const { width, height } = this.box;
    const values = this.#values;
    if (values.length < 2) {
      for (const path of [this.area, this.line]) path.setAttribute("d", "");
      return;
    }
    const highest = Math.max(...values) * 1.15;
    const step = width / (LENGTH - 1);
    const left = width - step * (values.length - 1);
    const points = values.map((value, index) => {
      const y = height - 2 - (value / highest) * (height - 4);
      return `${(left + index * step).toFixed(1)} ${y.toFixed(1)}`;
    });
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M${left.toFixed(1)} ${height}L${points.join("L")}L${width} ${height}Z`);
  }
}

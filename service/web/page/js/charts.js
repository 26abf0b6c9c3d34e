/** Line charts over epochs as SVG, with a cursor for mouse, finger or keys and a table of the numbers. */

import { el, scrolled, svg, table } from "./dom.js";

const HEIGHT = 220;
const EDGE = { left: 46, right: 12, top: 10, bottom: 26 };
const DASHES = ["", "7 4", "2 3", "10 3 2 3", "4 4", "12 4"];

/**
 * @typedef {Object} Line
 * @property {string} name
 * @property {number} colour 0 to 5; lines of the same colour differ by `isFaint`.
 * @property {boolean} [isFaint] thinner, dotted.
 * @property {[number, number][]} points epoch and value.
 */

/** Return about `wanted` ticks at round numbers within a range. */
export function ticks(least, most, wanted) {
  const rough = (most - least) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(least / step - 1e-9);
  const last = Math.floor(most / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) =>
    Number(((first + index) * step).toPrecision(12)),
  );
}

export class Chart {
  #lines = [];
  #at = null; // epoch under the cursor
  #width = 0;
  #svg = svg("svg", { "aria-hidden": "true" });
  #read = el("p", { class: "read" });
  #numbers = el("details", { on: { toggle: () => this.#drawTable() } }, el("summary", { text: "Numbers" }));

  /**
   * @param {string} title
   * @param {{format: function(number): string, tick?: function(number): string, note?: string, fromZero?: boolean, most?: number}} options
   *   `tick` is the format on the axis if it differs; `most` is the largest possible value.
   */
  constructor(title, options) {
    this.title = title;
    this.options = options;
    this.frame = el(
      "div",
      {
        class: "plot",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "chart",
        "aria-label": `${title} by epoch. Left and right arrow read the values.`,
        on: {
          pointermove: (event) => this.#pointAt(event),
          pointerdown: (event) => this.#pointAt(event),
          pointerleave: () => this.#go(null),
          blur: () => this.#go(null),
          keydown: (event) => this.#press(event),
        },
      },
      this.#svg,
    );
    this.element = el(
      "section",
      { class: "card chart", "aria-label": title },
      el(
        "div",
        { class: "layer-head" },
        el("h2", { text: title }),
        options.note ? el("span", { class: "hint", text: options.note }) : null,
      ),
      this.frame,
      this.#read,
      this.#numbers,
    );
    new ResizeObserver(() => {
      if (this.frame.clientWidth === this.#width) return;
      this.#width = this.frame.clientWidth;
      this.#draw();
    }).observe(this.frame);
  }

  /** @param {Line[]} lines */
  show(lines) {
    this.#lines = lines.filter((line) => line.points.length);
    this.#draw();
    this.#showValues();
    this.#drawTable();
  }

  get hasLines() {
    return this.#lines.length > 0;
  }

  #epochs() {
    return [...new Set(this.#lines.flatMap((line) => line.points.map(([epoch]) => epoch)))].sort((a, b) => a - b);
  }

  #scales() {
    const epochs = this.#epochs();
    const values = this.#lines.flatMap((line) => line.points.map(([, value]) => value));
    let [least, most] = [this.options.fromZero ? 0 : Math.min(...values), Math.max(...values)];
    const air = (most - least || Math.abs(most) || 1) * 0.06;
    if (!this.options.fromZero) least = Math.max(0, least - air);
    most = Math.min(this.options.most ?? Infinity, most + air);
    const [first, last] = [Math.min(1, epochs[0]), Math.max(epochs.at(-1), 2)];
    return {
      least,
      most,
      first,
      last,
      x: (epoch) => EDGE.left + ((epoch - first) / (last - first)) * (this.#width - EDGE.left - EDGE.right),
      y: (value) => HEIGHT - EDGE.bottom - ((value - least) / (most - least)) * (HEIGHT - EDGE.top - EDGE.bottom),
    };
  }

  #draw() {
    if (!this.#width) return;
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#svg.setAttribute("height", HEIGHT);
    if (!this.#lines.length) {
      this.#svg.replaceChildren(svg("text", { class: "none", x: this.#width / 2, y: HEIGHT / 2 }, "no epoch yet"));
      return;
    }
    const { least, most, first, last, x, y } = this.#scales();
    const across = ticks(least, most, 6).map((tick) =>
      svg(
        "g",
        {},
        svg("line", { class: "grid", x1: EDGE.left, x2: this.#width - EDGE.right, y1: y(tick), y2: y(tick) }),
        svg(
          "text",
          { class: "tick", x: EDGE.left - 8, y: y(tick) + 4, "text-anchor": "end" },
          (this.options.tick ?? this.options.format)(tick),
        ),
      ),
    );
    const below = ticks(first, last, Math.min(8, this.#width / 70))
      .filter(Number.isInteger)
      .map((tick) => svg("text", { class: "tick", x: x(tick), y: HEIGHT - 6, "text-anchor": "middle" }, String(tick)));
    const curves = this.#lines.map(({ colour, isFaint, points }) => {
      const end = points.at(-1);
      const path = points
        .map(([epoch, value], index) => `${index ? "L" : "M"}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`)
        .join("");
      return svg(
        "g",
        { class: `line line-${colour}${isFaint ? " is-faint" : ""}` },
        svg("path", { d: path, "stroke-dasharray": isFaint ? "1.5 4" : DASHES[colour] }),
        svg("circle", { cx: x(end[0]), cy: y(end[1]), r: isFaint ? 2 : 3.5 }),
      );
    });
    below.push(svg("text", { class: "tick", x: EDGE.left - 8, y: HEIGHT - 6, "text-anchor": "end" }, "epoch"));
    this.#svg.replaceChildren(...across, ...below, ...curves, ...this.#reading(x, y));
  }

  /** Return the cursor: a line at its epoch, with a dot on each curve. */
  #reading(x, y) {
    if (this.#at === null) return [];
    const dots = this.#lines.flatMap(({ colour, points }) =>
      points
        .filter(([epoch]) => epoch === this.#at)
        .map(([epoch, value]) => svg("circle", { class: `dot line-${colour}`, cx: x(epoch), cy: y(value), r: 4.5 })),
    );
    return [
      svg("line", { class: "reading", x1: x(this.#at), x2: x(this.#at), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      ...dots,
    ];
  }

  #pointAt(event) {
    if (!this.#lines.length) return;
    const { x } = this.#scales();
    const place = event.clientX - this.frame.getBoundingClientRect().left;
    this.#go(
      this.#epochs().reduce((best, epoch) => (Math.abs(x(epoch) - place) < Math.abs(x(best) - place) ? epoch : best)),
    );
  }

  #press(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const epochs = this.#epochs();
    if (event.key === "Escape") return this.#go(null);
    if (!step || !epochs.length) return;
    event.preventDefault();
    const place = this.#at === null ? epochs.length - 1 : epochs.indexOf(this.#at) + step;
    this.#go(epochs[Math.min(epochs.length - 1, Math.max(0, place))]);
  }

  #go(epoch) {
    if (epoch === this.#at) return;
    this.#at = epoch;
    this.#draw();
    this.#showValues();
  }

  /** Show the values under the cursor, or else the last ones, which screen readers do not announce. */
  #showValues() {
    this.#read.setAttribute("aria-live", this.#at === null ? "off" : "polite");
    const texts = ({ name, isFaint, points }) =>
      (this.#at === null && isFaint ? [] : points)
        .filter(([epoch], index) => (this.#at === null ? index === points.length - 1 : epoch === this.#at))
        .map(([, value]) => `${name} ${this.options.format(value)}`);
    const values = this.#lines.flatMap(texts);
    this.#read.textContent = values.length
      ? `${this.#at === null ? "Last" : `Epoch ${this.#at}`}: ${values.join(", ")}`
      : "";
  }

  #drawTable() {
    if (!this.#numbers.open) return;
    const columns = this.#lines.map((line) => new Map(line.points));
    const rows = this.#epochs().map((epoch) => [
      String(epoch),
      ...columns.map((column) => (column.has(epoch) ? this.options.format(column.get(epoch)) : "")),
    ]);
    const made = table(this.title, ["epoch", ...this.#lines.map((line) => line.name)], rows);
    this.#numbers.replaceChildren(this.#numbers.firstChild, scrolled(`${this.title}, numbers`, made));
  }
}

/** Return a short piece of a run's line, for legends. */
export function sample(colour) {
  return svg(
    "svg",
    { class: `sample line line-${colour}`, viewBox: "0 0 34 10", "aria-hidden": "true" },
    svg("path", { d: "M1 5H28", "stroke-dasharray": DASHES[colour] }),
    svg("circle", { cx: 30, cy: 5, r: 3.5 }),
  );
}

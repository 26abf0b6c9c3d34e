/** How an answer changes with shifts of the picture: a map of all shifts, and controls to choose one. */

import { el, percent, svg } from "./dom.js";

/** Describe a shift: "not moved", or "3 px right, 1 px up". */
export function wording(x, y) {
  const parts = [];
  if (x) parts.push(`${Math.abs(x)} px ${x > 0 ? "right" : "left"}`);
  if (y) parts.push(`${Math.abs(y)} px ${y > 0 ? "down" : "up"}`);
  return parts.join(", ") || "not moved";
}

const largest = (numbers) => numbers.reduce((best, number, index) => (number > numbers[best] ? index : best), 0);

/** One model's probabilities for all shifts of a picture. */
export class Shifted {
  #byPlace;

  /** @param {{max: number, labels: string[], shifts: {x: number, y: number, probabilities: number[]}[]}} response from /v1/shifts. */
  constructor(response) {
    this.max = response.max;
    this.labels = response.labels;
    this.#byPlace = new Map(response.shifts.map(({ x, y, probabilities }) => [`${x} ${y}`, probabilities]));
    this.first = largest(this.at(0, 0));
    this.kept = response.shifts.filter(({ probabilities }) => largest(probabilities) === this.first).length;
    this.count = response.shifts.length;
  }

  at(x, y) {
    return this.#byPlace.get(`${x} ${y}`);
  }

  best(x, y) {
    return largest(this.at(x, y));
  }

  /** Return the `count` most likely classes at a shift, and their probabilities without a shift. */
  top(x, y, count) {
    const [now, before] = [this.at(x, y), this.at(0, 0)];
    const order = [...now.keys()].sort((a, b) => now[b] - now[a]).slice(0, count);
    return {
      top: order.map((index) => ({ index, label: this.labels[index], probability: now[index] })),
      before: order.map((index) => before[index]),
    };
  }
}

/** Make a map of the shifts: the probability of the first answer at each, and where another wins. */
export function shiftMap(shifted, onChoose) {
  const { max, labels, first } = shifted;
  const side = 2 * max + 1;
  const cells = [];
  for (let y = -max; y <= max; y++) {
    for (let x = -max; x <= max; x++) {
      const other = shifted.best(x, y);
      const share = shifted.at(x, y)[first];
      const group = svg(
        "g",
        {
          class: other === first ? "same" : "other",
          transform: `translate(${x + max} ${y + max})`,
          on: { click: () => onChoose(x, y) },
        },
        svg("title", {}, `${wording(x, y)}: ${labels[other]} ${percent(shifted.at(x, y)[other])}`),
        svg("rect", { class: "ground", x: 0.06, y: 0.06, width: 0.88, height: 0.88, rx: 0.12 }),
        svg("rect", {
          class: "share",
          x: 0.06,
          y: 0.06,
          width: 0.88,
          height: 0.88,
          rx: 0.12,
          "fill-opacity": (other === first ? 0.1 + 0.9 * share : 0.25).toFixed(3),
        }),
      );
      if (other !== first) group.append(svg("path", { class: "sign", d: "M.32 .32 .68 .68M.68 .32 .32 .68" }));
      cells.push(group);
    }
  }
  const ring = svg("rect", { class: "ring", width: 1, height: 1, rx: 0.16 });
  const element = svg(
    "svg",
    {
      class: "shift-map",
      viewBox: `-0.1 -0.1 ${side + 0.2} ${side + 0.2}`,
      role: "img",
      "aria-label": `Keeps its answer ${labels[first]} at ${shifted.kept} of ${shifted.count} shifts`,
    },
    ...cells,
    ring,
  );
  const mark = (x, y) => {
    ring.setAttribute("x", x + max);
    ring.setAttribute("y", y + max);
  };
  mark(0, 0);
  return { element, mark };
}

/** Make sliders for both directions; `onMove(x, y)` is called on each change. */
export function shiftControls(max, onMove) {
  const now = { x: 0, y: 0 };
  const output = el("output", { for: "shift-x shift-y", text: wording(0, 0) });
  const slider = (axis, label) =>
    el("input", {
      type: "range",
      id: `shift-${axis}`,
      min: -max,
      max,
      step: 1,
      value: 0,
      "aria-label": label,
      on: { input: (event) => go({ ...now, [axis]: Number(event.target.value) }) },
    });
  const sliders = { x: slider("x", "Shift to the right"), y: slider("y", "Shift down") };

  function go(to) {
    Object.assign(now, to);
    for (const axis of ["x", "y"]) {
      sliders[axis].value = now[axis];
      sliders[axis].setAttribute("aria-valuetext", axis === "x" ? wording(now.x, 0) : wording(0, now.y));
    }
    output.textContent = wording(now.x, now.y);
    back.disabled = !now.x && !now.y;
    onMove(now.x, now.y);
  }

  const back = el("button", {
    class: "button is-plain",
    type: "button",
    title: "Back to the middle",
    text: "Reset",
    disabled: true,
    on: { click: () => go({ x: 0, y: 0 }) },
  });
  const element = el(
    "div",
    { class: "shift-controls", role: "group", "aria-label": "Shift" },
    el(
      "div",
      { class: "axis" },
      el("span", { "aria-hidden": "true", text: "←" }),
      sliders.x,
      el("span", { "aria-hidden": "true", text: "→" }),
    ),
    el(
      "div",
      { class: "axis" },
      el("span", { "aria-hidden": "true", text: "↑" }),
      sliders.y,
      el("span", { "aria-hidden": "true", text: "↓" }),
    ),
    el("div", { class: "foot-row" }, output, back),
  );
  return { element, go: (x, y) => go({ x, y }), now };
}

/** Draw a picture shifted by (x, y), the border filled by reflection, as the server does. */
export function drawMoved(context, pixels, x, y) {
  const { width, height, data } = pixels;
  const moved = context.createImageData(width, height);
  const mirror = (place, size) => (place < 0 ? -place : place >= size ? 2 * (size - 1) - place : place);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = 4 * (mirror(row - y, height) * width + mirror(column - x, width));
      moved.data.set(data.subarray(from, from + 4), 4 * (row * width + column));
    }
  }
  context.putImageData(moved, 0, 0);
}

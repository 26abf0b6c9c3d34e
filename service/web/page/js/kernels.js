/** The kernels of a layer: in colour for the layer that sees the picture, else of one channel at a time. */

import { ask, floats, own, Problem } from "./api.js";
import { range, scale } from "./colours.js";
import { choice, el, value } from "./dom.js";
import { legend, TileBoard } from "./tiles.js";

const WEIGHT = 10; // CSS pixels per weight

export class Kernels {
  #about;
  #weights = null;
  #place = el("div", { class: "stack" });
  #chosen = 0;

  constructor(about, viewer) {
    this.#about = about;
    this.viewer = viewer;
    const [outputs, inputs, height, width] = about.weights.shape;
    this.element = el(
      "details",
      { on: { toggle: () => this.element.open && this.#open() } },
      el("summary", { text: `Kernels: ${outputs} of ${inputs} × ${height} × ${width}` }),
      this.#place,
    );
  }

  choose(channel) {
    this.#chosen = channel;
    if (this.#weights) this.#draw();
  }

  async #open() {
    if (this.#weights) return;
    this.#place.replaceChildren(el("p", { class: "waiting is-busy", text: "loading" }));
    try {
      this.#weights = floats((await ask(own(this.#about.weights.url))).data);
      this.#draw();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#place.replaceChildren(
        el("p", { class: "trouble", text: `${error.message} Close and reopen this to try again.` }),
      );
    }
  }

  #draw() {
    const {
      name,
      weights: { shape: sizes },
    } = this.#about;
    if (sizes[1] === 3)
      return this.#place.replaceChildren(
        filters(this.#weights, sizes, `Filters of ${name}`, (words) => this.viewer.describe(words)),
      );
    const [outputs, inputs, rows, columns] = sizes;
    const size = rows * columns;
    const own = this.#weights.subarray(this.#chosen * inputs * size, (this.#chosen + 1) * inputs * size);
    const colours = scale(...range([...own, -1e-9]));
    const board = new TileBoard(`Kernels of ${name}, channel ${this.#chosen}`, (at) => {
      if (!at) return this.viewer.describe();
      this.viewer.describe(
        el("strong", { text: value(own[at.tile * size + at.row * columns + at.column]) }),
        ` ${name}, kernel ${this.#chosen}: input channel ${at.tile}, row ${at.row}, column ${at.column}`,
      );
    });
    const chooser = choice(
      "Channel",
      `kernels-${name}`,
      Array.from({ length: outputs }, (_, channel) => [channel, `channel ${channel}`]),
      (channel) => this.choose(Number(channel)),
    );
    chooser.querySelector("select").value = this.#chosen;
    const hadFocus = this.#place.contains(document.activeElement);
    this.#place.replaceChildren(el("div", { class: "toolbar" }, chooser, legend(colours)), board.element);
    if (hadFocus) chooser.querySelector("select").focus();
    board.draw(
      {
        count: inputs,
        rows,
        columns,
        colour: (tile, row, column) => colours.colour(own[tile * size + row * columns + column]),
      },
      WEIGHT,
    );
  }
}

/**
 * Draw the filters of the first layer in colour: grey is zero, full colour the largest weight.
 * @param {function(string)} onPoint called with the weights that are pointed at, or "".
 */
export function filters(weights, [outputs, , rows, columns], label, onPoint) {
  const size = rows * columns;
  const [least, most] = range(weights);
  const far = Math.max(-least, most) || 1;
  const at = (tile, channel, row, column) => weights[(tile * 3 + channel) * size + row * columns + column];
  const board = new TileBoard(label, (cell) => {
    onPoint(
      cell
        ? `filter ${cell.tile}, row ${cell.row}, column ${cell.column}: ${["red", "green", "blue"].map((name, channel) => `${name} ${value(at(cell.tile, channel, cell.row, cell.column))}`).join(", ")}`
        : "",
    );
  });
  board.draw(
    {
      count: outputs,
      rows,
      columns,
      colour: (tile, row, column) =>
        [0, 1, 2].map((channel) => Math.round(127.5 * (1 + at(tile, channel, row, column) / far))),
    },
    Math.max(1, Math.round(60 / Math.max(rows, columns))),
  );
  return board.element;
}

/** One layer of the network: its activations as tiles, and the kernels that made them. */

import { ask, floats, own, Problem } from "./api.js";
import { range, scale } from "./colours.js";
import { choice, el, rough, shape, table, value, whole } from "./dom.js";
import { legend, TileBoard } from "./tiles.js";
import { field, fieldWords } from "./viewer.js";

const TILE = 64; // CSS pixels of a tile
const CELL = 16; // of a layer without rows and columns, and of one with few outputs:
const LARGE_CELL = 56;
const MOST = 64; // tiles drawn at first
const KERNEL = 10; // CSS pixels of a weight

/** The table of all layers. */
export function layerTable(told) {
  const or = (number, words = "") => (Array.isArray(number) ? shape(number) : number === null || number === undefined ? words : whole(number));
  const rows = told.layers.map((layer) => [
    layer.name, layer.kind, shape(layer.output_shape), or(layer.kernel), or(layer.stride), or(layer.padding),
    layer.parameters ? whole(layer.parameters) : "", layer.multiply_adds ? whole(layer.multiply_adds) : "", or(layer.receptive_field, "all"),
  ]);
  const made = table("Layers", ["layer", "kind", "output", "kernel", "stride", "padding", "parameters", "multiply-adds", "receptive field"], rows);
  made.append(el("tfoot", {}, el("tr", {}, el("th", { scope: "row", text: "in all" }), ...["", "", "", "", ""].map((text) => el("td", { text })),
    el("td", { text: whole(told.totals.parameters) }), el("td", { text: whole(told.totals.multiply_adds) }), el("td"))));
  for (const row of made.rows) row.cells[1]?.classList.add("words");
  return made;
}

/** The block of a layer; `show` draws its activations for another picture. */
export class LayerBlock {
  #about;
  #numbers = null;
  #shape = []; // [channels, rows, columns], [steps, features] or [outputs]
  #sizes = [0, 0, 0]; // the same as tiles, rows and columns
  #all = false;
  #perTile = false;
  #key = el("span");
  #more = el("button", { class: "button is-plain", type: "button", hidden: true, on: { click: () => this.#showAll() } });
  #kernels;

  /**
   * @param {Object} about the layer, as /v1/models/NAME/layers tells.
   * @param {import("./viewer.js").Viewer} viewer where receptive fields are drawn, and values told.
   * @param {string[]} labels of the classes.
   */
  constructor(about, viewer, labels) {
    this.#about = about;
    this.viewer = viewer;
    this.labels = labels;
    this.board = new TileBoard(`Activations of ${about.name}`, (at) => this.#point(at), (tile) => this.#kernels?.choose(tile));
    this.#kernels = about.weights?.shape.length === 4 ? new Kernels(about, viewer) : null;
    const facts = [shape(about.output_shape), about.parameters ? `${rough(about.parameters)} parameters` : null, about.receptive_field ? `each sees ${about.receptive_field}×${about.receptive_field} pixels` : "each sees all"];
    this.element = el("section", { class: "layer", "aria-label": `Layer ${about.name}` },
      el("div", { class: "layer-head" }, el("h3", { text: about.name }), el("span", { class: "hint", text: facts.filter(Boolean).join(" · ") }), this.#key),
      this.board.element, this.#more, this.#kernels?.element ?? null);
  }

  /** @param {{shape: number[], data: string}} told of /v1/inside. @param {boolean} perTile whether each channel has a colour scale of its own. */
  show(told, perTile) {
    this.#numbers = floats(told.data);
    this.#shape = told.shape;
    this.#sizes = { 3: told.shape, 2: [1, ...told.shape] }[told.shape.length] ?? [this.#numbers.length, 1, 1];
    this.#perTile = perTile;
    this.#draw();
  }

  rescale(perTile) {
    this.#perTile = perTile;
    if (this.#numbers) this.#draw();
  }

  #draw() {
    const [channels, rows, columns] = this.#sizes;
    const size = rows * columns;
    const flat = size === 1;
    const count = this.#all || flat ? channels : Math.min(channels, MOST);
    const whole = scale(...range(this.#numbers));
    const scales = this.#perTile && !flat ? Array.from({ length: count }, (_, tile) => scale(...range(this.#numbers.subarray(tile * size, (tile + 1) * size)))) : null;
    const cell = flat ? (channels > 24 ? CELL : LARGE_CELL) : Math.max(this.#shape.length === 2 ? 5 : 1, Math.round(TILE / Math.max(rows, columns)));
    const names = channels === this.labels.length && flat ? this.labels : undefined;
    this.board.draw({ count, rows, columns, names, colour: (tile, row, column) => (scales?.[tile] ?? whole).colour(this.#numbers[tile * size + row * columns + column]) }, cell);
    this.#key.replaceChildren(scales ? el("span", { class: "hint", text: "each channel by itself" }) : legend(whole));
    this.#more.hidden = count === channels;
    this.#more.textContent = `Show all ${channels} channels`;
  }

  #showAll() {
    this.#all = true;
    this.#draw();
    this.board.element.focus();
  }

  #point(at) {
    const square = at && field(this.#shape.length === 3 ? this.#about : null, at.row, at.column);
    this.viewer.frame(square);
    if (!at) return this.viewer.tell();
    const [, rows, columns] = this.#sizes;
    const number = this.#numbers[at.tile * rows * columns + at.row * columns + at.column];
    const place = {
      1: this.#numbers.length === this.labels.length ? this.labels[at.tile] : `output ${at.tile}`,
      2: `step ${at.row}, feature ${at.column}`,
    }[this.#shape.length] ?? `channel ${at.tile}, row ${at.row}, column ${at.column}`;
    this.viewer.tell(el("strong", { text: value(number) }), ` ${this.#about.name}, ${place}: depends on ${fieldWords(square)}`);
  }
}

/** The weights of a layer: in colour where they look at the picture itself, else one channel's at a time. */
class Kernels {
  #about;
  #weights = null;
  #place = el("div", { class: "stack" });
  #chosen = 0;

  constructor(about, viewer) {
    this.#about = about;
    this.viewer = viewer;
    const [outputs, inputs, height, width] = about.weights.shape;
    this.element = el("details", { on: { toggle: () => this.element.open && this.#open() } },
      el("summary", { text: `Kernels: ${outputs} of ${inputs} × ${height} × ${width}` }), this.#place);
  }

  choose(channel) {
    this.#chosen = channel;
    if (this.#weights) this.#draw();
  }

  async #open() {
    if (this.#weights) return;
    this.#place.replaceChildren(el("p", { class: "waiting is-busy", text: "fetching" }));
    try {
      this.#weights = floats((await ask(own(this.#about.weights.url))).data);
      this.#draw();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#place.replaceChildren(el("p", { class: "trouble", text: `${error.message} Close this and open it again to try once more.` }));
    }
  }

  #draw() {
    const { name, weights: { shape: sizes } } = this.#about;
    if (sizes[1] === 3) return this.#place.replaceChildren(filters(this.#weights, sizes, `Filters of ${name}`, (words) => this.viewer.tell(words)));
    const [outputs, inputs, rows, columns] = sizes;
    const size = rows * columns;
    const own = this.#weights.subarray(this.#chosen * inputs * size, (this.#chosen + 1) * inputs * size);
    const colours = scale(...range([...own, -1e-9]));
    const board = new TileBoard(`Kernels of ${name}, channel ${this.#chosen}`, (at) => {
      if (!at) return this.viewer.tell();
      this.viewer.tell(el("strong", { text: value(own[at.tile * size + at.row * columns + at.column]) }), ` ${name}, kernel ${this.#chosen}: input channel ${at.tile}, row ${at.row}, column ${at.column}`);
    });
    const chooser = choice("Channel", `kernels-${name}`, Array.from({ length: outputs }, (_, channel) => [channel, `channel ${channel}`]), (channel) => this.choose(Number(channel)));
    chooser.querySelector("select").value = this.#chosen;
    const hadFocus = this.#place.contains(document.activeElement);
    this.#place.replaceChildren(el("div", { class: "toolbar" }, chooser, legend(colours)), board.element);
    if (hadFocus) chooser.querySelector("select").focus();
    board.draw({ count: inputs, rows, columns, colour: (tile, row, column) => colours.colour(own[tile * size + row * columns + column]) }, KERNEL);
  }
}

/**
 * Filters of the first layer in colour: grey is zero, full colour the largest weight.
 * @param {function(string)} tell hears what is pointed at, "" where nothing is.
 */
export function filters(weights, [outputs, , rows, columns], label, tell) {
  const size = rows * columns;
  const [least, most] = range(weights);
  const far = Math.max(-least, most) || 1;
  const at = (tile, channel, row, column) => weights[(tile * 3 + channel) * size + row * columns + column];
  const board = new TileBoard(label, (cell) => {
    tell(cell ? `filter ${cell.tile}, row ${cell.row}, column ${cell.column}: ${["red", "green", "blue"].map((name, channel) => `${name} ${value(at(cell.tile, channel, cell.row, cell.column))}`).join(", ")}` : "");
  });
  board.draw({ count: outputs, rows, columns, colour: (tile, row, column) => [0, 1, 2].map((channel) => Math.round(127.5 * (1 + at(tile, channel, row, column) / far))) }, Math.max(1, Math.round(60 / Math.max(rows, columns))));
  return board.element;
}

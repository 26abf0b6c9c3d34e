/** The table of all layers, and the block of one layer: its activations as tiles, and its kernels. */

import { floats } from "./api.js";
import { range, scale } from "./colours.js";
import { el, rough, shape, table, value, whole } from "./dom.js";
import { Kernels } from "./kernels.js";
import { legend, TileBoard } from "./tiles.js";
import { field, fieldWords } from "./viewer.js";

const TILE = 64; // CSS pixels per tile
const CELL = 16; // CSS pixels per output of a layer without rows and columns
const LARGE_CELL = 56; // the same, for at most 24 outputs
const MOST = 64; // tiles drawn at first

/** Make the table of all layers. */
export function layerTable(model) {
  const or = (number, words = "") =>
    Array.isArray(number) ? shape(number) : number === null || number === undefined ? words : whole(number);
  const rows = model.layers.map((layer) => [
    layer.name,
    layer.kind,
    shape(layer.output_shape),
    or(layer.kernel),
    or(layer.stride),
    or(layer.padding),
    layer.parameters ? whole(layer.parameters) : "",
    layer.multiply_adds ? whole(layer.multiply_adds) : "",
    or(layer.receptive_field, "all"),
  ]);
  const made = table(
    "Layers",
    ["layer", "kind", "output", "kernel", "stride", "padding", "parameters", "multiply-adds", "receptive field"],
    rows,
  );
  made.append(
    el(
      "tfoot",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "row", text: "total" }),
        ...["", "", "", "", ""].map((text) => el("td", { text })),
        el("td", { text: whole(model.totals.parameters) }),
        el("td", { text: whole(model.totals.multiply_adds) }),
        el("td"),
      ),
    ),
  );
  for (const row of made.rows) row.cells[1]?.classList.add("words");
  return made;
}

/** The block of a layer; `show` draws its activations for a picture. */
export class LayerBlock {
  #about;
  #numbers = null;
  #shape = []; // [channels, rows, columns], [steps, features] or [outputs]
  #sizes = [0, 0, 0]; // the same as tiles, rows and columns
  #all = false;
  #perTile = false;
  #key = el("span");
  #more = el("button", {
    class: "button is-plain",
    type: "button",
    hidden: true,
    on: { click: () => this.#showAll() },
  });
  #kernels;

  /**
   * @param {Object} about the layer, from /v1/models/NAME/layers.
   * @param {import("./viewer.js").Viewer} viewer shows receptive fields and values.
   * @param {string[]} labels class names.
   */
  constructor(about, viewer, labels) {
    this.#about = about;
    this.viewer = viewer;
    this.labels = labels;
    this.board = new TileBoard(
      `Activations of ${about.name}`,
      (at) => this.#point(at),
      (tile) => this.#kernels?.choose(tile),
    );
    this.#kernels = about.weights?.shape.length === 4 ? new Kernels(about, viewer) : null;
    const facts = [
      shape(about.output_shape),
      about.parameters ? `${rough(about.parameters)} parameters` : null,
      about.receptive_field ? `each sees ${about.receptive_field}×${about.receptive_field} pixels` : "each sees all",
    ];
    this.element = el(
      "section",
      { class: "layer", "aria-label": `Layer ${about.name}` },
      el(
        "div",
        { class: "layer-head" },
        el("h3", { text: about.name }),
        el("span", { class: "hint", text: facts.filter(Boolean).join(" · ") }),
        this.#key,
      ),
      this.board.element,
      this.#more,
      this.#kernels?.element ?? null,
    );
  }

  /** @param {{shape: number[], data: string}} values from /v1/inside. @param {boolean} perTile whether each channel has its own colour scale. */
  show(values, perTile) {
    this.#numbers = floats(values.data);
    this.#shape = values.shape;
    this.#sizes = { 3: values.shape, 2: [1, ...values.shape] }[values.shape.length] ?? [this.#numbers.length, 1, 1];
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
    const scales =
      this.#perTile && !flat
        ? Array.from({ length: count }, (_, tile) =>
            scale(...range(this.#numbers.subarray(tile * size, (tile + 1) * size))),
          )
        : null;
    const cell = flat
      ? channels > 24
        ? CELL
        : LARGE_CELL
      : Math.max(this.#shape.length === 2 ? 5 : 1, Math.round(TILE / Math.max(rows, columns)));
    const names = channels === this.labels.length && flat ? this.labels : undefined;
    this.board.draw(
      {
        count,
        rows,
        columns,
        names,
        colour: (tile, row, column) =>
          (scales?.[tile] ?? whole).colour(this.#numbers[tile * size + row * columns + column]),
      },
      cell,
    );
    this.#key.replaceChildren(scales ? el("span", { class: "hint", text: "one scale per channel" }) : legend(whole));
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
    if (!at) return this.viewer.describe();
    const [, rows, columns] = this.#sizes;
    const number = this.#numbers[at.tile * rows * columns + at.row * columns + at.column];
    const place =
      {
        1: this.#numbers.length === this.labels.length ? this.labels[at.tile] : `output ${at.tile}`,
        2: `step ${at.row}, feature ${at.column}`,
      }[this.#shape.length] ?? `channel ${at.tile}, row ${at.row}, column ${at.column}`;
    this.viewer.describe(
      el("strong", { text: value(number) }),
      ` ${this.#about.name}, ${place}: depends on ${fieldWords(square)}`,
    );
  }
}

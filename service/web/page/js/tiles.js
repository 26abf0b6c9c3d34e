/** Small images in rows on one canvas (activations, kernels, filters), with a cursor for mouse, finger or keys. */

import { el, value } from "./dom.js";

const GAP = 4;
const NAME = 18; // CSS pixels of the name below a tile

/**
 * @typedef {Object} Tiles
 * @property {number} count number of tiles.
 * @property {number} rows rows of cells per tile.
 * @property {number} columns columns of cells per tile.
 * @property {function(number, number, number): number[]} colour [r, g, b] of (tile, row, column).
 * @property {string[]} [names] shown below the tiles.
 */

/** A canvas of tiles; `draw` replaces them. */
export class TileBoard {
  #tiles = null;
  #cell = 1;
  #across = 1;
  #at = null;
  #canvas = el("canvas");
  #cursor = el("div", { class: "cursor", hidden: true });
  #names = el("div", { "aria-hidden": "true" });

  /**
   * @param {string} label description for screen readers.
   * @param {function({tile: number, row: number, column: number}|null)} onPoint called with the cell that is pointed at, or null.
   * @param {function(number)} [onChoose] called with the tile that was clicked, or chosen with Enter.
   */
  constructor(label, onPoint, onChoose = () => {}) {
    this.onPoint = onPoint;
    this.onChoose = onChoose;
    this.element = el(
      "div",
      {
        class: "tiles",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "tiles",
        "aria-label": `${label}. Arrow keys move over the cells, Page Up and Page Down over the tiles.`,
        on: {
          pointermove: (event) => this.#pointAt(event),
          pointerdown: (event) => this.#pointAt(event),
          pointerleave: (event) => event.pointerType === "mouse" && this.#go(null),
          click: () => this.#at && this.onChoose(this.#at.tile),
          keydown: (event) => this.#press(event),
          blur: () => this.#go(null),
        },
      },
      this.#canvas,
      this.#names,
      this.#cursor,
    );
    new ResizeObserver(() => this.#tiles && this.#across !== this.#fitting() && this.#paint()).observe(this.element);
  }

  /** @param {Tiles} tiles @param {number} cell CSS pixels per cell. */
  draw(tiles, cell) {
    this.#tiles = tiles;
    this.#cell = cell;
    this.#paint();
  }

  #fitting() {
    const width = this.#tiles.columns * this.#cell + GAP;
    const most = Math.max(1, Math.floor(((this.element.clientWidth || 600) + GAP) / width));
    return Math.ceil(this.#tiles.count / Math.ceil(this.#tiles.count / most)); // rows of the same length
  }

  #paint() {
    const { count, rows, columns, colour } = this.#tiles;
    const dense = Math.max(1, Math.round(devicePixelRatio));
    this.#across = this.#fitting();
    const down = Math.ceil(count / this.#across);
    const width = this.#across * (columns * this.#cell + GAP) - GAP;
    const height = down * this.#pitch()[1] - GAP;
    Object.assign(this.#canvas, { width: width * dense, height: height * dense });
    this.#canvas.style.width = `${width}px`;
    const context = this.#canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    const small = el("canvas", { width: columns, height: rows });
    const ink = small.getContext("2d");
    const image = ink.createImageData(columns, rows);
    for (let tile = 0; tile < count; tile++) {
      for (let row = 0, place = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++, place += 4) {
          const [red, green, blue] = colour(tile, row, column);
          image.data[place] = red;
          image.data[place + 1] = green;
          image.data[place + 2] = blue;
          image.data[place + 3] = 255;
        }
      }
      ink.putImageData(image, 0, 0);
      const [left, top] = this.#corner(tile);
      context.drawImage(small, left * dense, top * dense, columns * this.#cell * dense, rows * this.#cell * dense);
    }
    this.#names.replaceChildren(
      ...(this.#tiles.names ?? []).map((text, tile) => {
        const name = el("span", { class: "tile-name", text });
        const [left, top] = this.#corner(tile);
        Object.assign(name.style, {
          left: `${left}px`,
          top: `${top + rows * this.#cell}px`,
          width: `${columns * this.#cell}px`,
        });
        return name;
      }),
    );
    this.#go(null);
  }

  #corner(tile) {
    const [wide, high] = this.#pitch();
    return [(tile % this.#across) * wide, Math.floor(tile / this.#across) * high];
  }

  /** Return the distance from a tile to the next, across and down, in CSS pixels. */
  #pitch() {
    const { rows, columns, names } = this.#tiles;
    return [columns * this.#cell + GAP, rows * this.#cell + GAP + (names ? NAME : 0)];
  }

  #pointAt(event) {
    if (!this.#tiles) return;
    const box = this.#canvas.getBoundingClientRect();
    const grow = this.#canvas.clientWidth ? parseFloat(this.#canvas.style.width) / this.#canvas.clientWidth : 1;
    const [x, y] = [(event.clientX - box.left) * grow, (event.clientY - box.top) * grow];
    const { count, rows, columns } = this.#tiles;
    const [wide, high] = this.#pitch();
    const tile = Math.floor(y / high) * this.#across + Math.floor(x / wide);
    const [column, row] = [Math.floor((x % wide) / this.#cell), Math.floor((y % high) / this.#cell)];
    const isOn = x >= 0 && y >= 0 && x < this.#across * wide && tile < count && column < columns && row < rows;
    this.#go(isOn ? { tile, row, column } : null);
  }

  #press(event) {
    if (!this.#tiles) return;
    const { count, rows, columns } = this.#tiles;
    const at = this.#at ? { ...this.#at } : { tile: 0, row: rows >> 1, column: columns >> 1 };
    const single = rows * columns === 1; // then the tiles themselves are the cells
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const jump = { PageUp: -1, PageDown: 1 }[event.key];
    if (event.key === "Enter" && this.#at) return this.onChoose(this.#at.tile);
    if (event.key === "Escape") return this.#go(null);
    if (!step && !jump) return;
    event.preventDefault();
    if (this.#at && jump) at.tile = (at.tile + jump + count) % count;
    else if (this.#at && single) at.tile = Math.min(count - 1, Math.max(0, at.tile + step[1] + step[0] * this.#across));
    else if (this.#at)
      Object.assign(at, {
        row: Math.min(rows - 1, Math.max(0, at.row + step[0])),
        column: Math.min(columns - 1, Math.max(0, at.column + step[1])),
      });
    this.#go(at);
  }

  #go(at) {
    const moved = JSON.stringify(at) !== JSON.stringify(this.#at);
    this.#at = at;
    this.#cursor.hidden = !at;
    if (at) {
      const shrink = this.#canvas.clientWidth / parseFloat(this.#canvas.style.width) || 1;
      const [left, top] = this.#corner(at.tile);
      const size = `${this.#cell * shrink}px`;
      Object.assign(this.#cursor.style, {
        left: `${(left + at.column * this.#cell) * shrink}px`,
        top: `${(top + at.row * this.#cell) * shrink}px`,
        width: size,
        height: size,
      });
    }
    if (moved) this.onPoint(at);
  }
}

/** Make the legend of a colour scale: a strip with the values at its ends. */
export function legend({ colour, least, most }) {
  const canvas = el("canvas", { width: 64, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  for (let x = 0; x < 64; x++) {
    context.fillStyle = `rgb(${colour(least + ((most - least) * x) / 63).join(" ")})`;
    context.fillRect(x, 0, 1, 1);
  }
  return el("span", { class: "legend" }, el("span", { text: value(least) }), canvas, el("span", { text: value(most) }));
}

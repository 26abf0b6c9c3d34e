/** The picture as the network sees it, enlarged, with a frame around a receptive field. */

import { el } from "./dom.js";

const SIDE = 32;
const HOW = matchMedia("(hover: none)").matches
  ? "Touch a cell"
  : "Point at a cell, or move over the cells with the arrow keys,";
const HINT = `${HOW} to see its value and, on the picture, the pixels that it depends on.`;

export class Viewer {
  #frame = el("div", { class: "frame", hidden: true });
  #image = el("img", { class: "pixels", alt: "" });
  #read = el("p", { class: "read", "aria-live": "polite" });
  element = el("div", { class: "viewer" }, el("div", { class: "picture" }, this.#image, this.#frame), this.#read);

  constructor() {
    this.describe();
  }

  show(url, words) {
    this.#image.src = url;
    this.#image.alt = words;
  }

  /**
   * Describe what is pointed at, beside the picture.
   * @param {...(Node|string)} words without any, the hint is shown again.
   */
  describe(...words) {
    this.#read.replaceChildren(...(words.length ? words : [HINT]));
  }

  /**
   * Draw a frame around pixels; parts outside the picture are clipped.
   * @param {{left: number, top: number, size: number}|null} square in pixels; null removes the frame.
   */
  frame(square) {
    this.#frame.hidden = !square;
    if (!square) return;
    const cut = (from) => [Math.max(0, from), Math.min(SIDE, from + square.size)];
    const [[left, right], [top, bottom]] = [cut(square.left), cut(square.top)];
    const share = (pixels) => `${(100 * pixels) / SIDE}%`;
    Object.assign(this.#frame.style, {
      left: share(left),
      top: share(top),
      width: share(right - left),
      height: share(bottom - top),
    });
  }
}

/**
 * Return the receptive field of one output of a layer.
 * @param {Object} layer from /v1/models/NAME/layers.
 * @returns {{left: number, top: number, size: number}} the whole picture if the layer has no receptive field.
 */
export function field(layer, row, column) {
  const { receptive_field: size, receptive_stride: stride, receptive_start: start } = layer ?? {};
  if (!size || stride === null || start === null) return { left: 0, top: 0, size: SIDE };
  return { left: start + column * stride, top: start + row * stride, size };
}

/** Describe a receptive field: "pixels 3 to 8 across, 0 to 5 down". */
export function fieldWords({ left, top, size }) {
  if (size >= SIDE && left <= 0 && top <= 0) return "the whole picture";
  const cut = (from) => {
    const [first, last] = [Math.max(0, Math.round(from)), Math.min(SIDE - 1, Math.round(from + size) - 1)];
    return first < last ? `${first} to ${last}` : String(first);
  };
  return `pixels ${cut(left)} across, ${cut(top)} down`;
}

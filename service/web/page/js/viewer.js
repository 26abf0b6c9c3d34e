/** The picture as the network sees it, enlarged, with a frame on the pixels that something depends on. */

import { el } from "./dom.js";

const SIDE = 32;
const HOW = matchMedia("(hover: none)").matches
  ? "Touch a cell"
  : "Point at a cell, or go over the cells with the arrow keys";
const HINT = `${HOW}: here is its value, and on the picture what it depends on.`;

export class Viewer {
  #frame = el("div", { class: "frame", hidden: true });
  #image = el("img", { class: "pixels", alt: "" });
  #read = el("p", { class: "read", "aria-live": "polite" });
  element = el("div", { class: "viewer" }, el("div", { class: "picture" }, this.#image, this.#frame), this.#read);

  constructor() {
    this.tell();
  }

  show(url, words) {
    this.#image.src = url;
    this.#image.alt = words;
  }

  /**
   * Say what is pointed at, beside the picture.
   * @param {...(Node|string)} words none takes back what was said.
   */
  tell(...words) {
    this.#read.replaceChildren(...(words.length ? words : [HINT]));
  }

  /**
   * Frame pixels of the picture; what lies outside it is cut off.
   * @param {{left: number, top: number, size: number}|null} square in pixels; null takes the frame away.
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
 * The pixels that one output of a layer depends on.
 * @param {Object} layer of /v1/models/NAME/layers.
 * @returns {{left: number, top: number, size: number}} the whole picture where the layer has no field of its own.
 */
export function field(layer, row, column) {
  const { receptive_field: size, receptive_stride: stride, receptive_start: start } = layer ?? {};
  if (!size || stride === null || start === null) return { left: 0, top: 0, size: SIDE };
  return { left: start + column * stride, top: start + row * stride, size };
}

/** In words: "pixels 3 to 8 across, 0 to 5 down". */
export function fieldWords({ left, top, size }) {
  if (size >= SIDE && left <= 0 && top <= 0) return "the whole picture";
  const cut = (from) => {
    const [first, last] = [Math.max(0, Math.round(from)), Math.min(SIDE - 1, Math.round(from + size) - 1)];
    return first < last ? `${first} to ${last}` : String(first);
  };
  return `pixels ${cut(left)} across, ${cut(top)} down`;
}

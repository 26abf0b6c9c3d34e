/** Which pixels mattered: an occlusion map, the probability lost when a square of the picture is hidden. */

import { Problem } from "./api.js";
import { range, scale } from "./colours.js";
import { choice, el, percent } from "./dom.js";
import { askWithRetries } from "./server.js";
import { legend, TileBoard } from "./tiles.js";

const SIDE = 32;
const SIZES = [4, 8, 12, 16];

export class Occlusion {
  #size = 8;
  #response = null;
  #latest = null;
  #request = null;
  #words = el("p");
  #key = el("div");
  #board = new TileBoard("Heat map: probability lost when a square is hidden", (at) => this.#point(at));

  constructor(viewer) {
    this.viewer = viewer;
    const size = choice(
      "Hidden square",
      "occlusion-size",
      SIZES.map((side) => [side, `${side} × ${side} pixels`]),
      (side) => {
        this.#size = Number(side);
        if (this.#latest) this.show(...this.#latest);
      },
    );
    size.querySelector("select").value = this.#size;
    this.element = el(
      "div",
      { class: "card stack" },
      el("h2", { text: "Which pixels mattered" }),
      el(
        "div",
        { class: "mattered" },
        this.#board.element,
        el("div", { class: "stack" }, this.#words, this.#key, size),
      ),
    );
  }

  /** @param {Blob} picture @param {Object} query model and version. */
  async show(picture, query) {
    this.#latest = [picture, query];
    this.#request?.abort();
    this.#request = new AbortController();
    const { signal } = this.#request;
    const wait = (words) => this.#words.replaceChildren(el("span", { class: "waiting is-busy", text: words }));
    wait("hiding squares");
    try {
      this.#response = await askWithRetries("v1/occlusion", {
        query: { ...query, size: this.#size, stride: this.#size > 8 ? 4 : 2 },
        body: picture,
        signal,
        onWait: (problem) => wait(problem.message),
      });
      this.#draw();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      this.#words.replaceChildren(el("span", { class: "trouble", text: error.message }));
    }
  }

  #draw() {
    const { label, probability, rows, columns, probabilities } = this.#response;
    const [least, most] = range(probabilities.flat().map((left) => probability - left));
    const colours = scale(Math.min(least, -1e-9), most);
    const cell = 264 / Math.max(rows, columns);
    this.#words.replaceChildren(
      "The answer is ",
      el("strong", { text: `${percent(probability)} ${label}` }),
      ". A square is moved over the picture: orange where hiding it lowers this probability, blue where hiding it raises it.",
    );
    this.#key.replaceChildren(legend(colours));
    this.#board.draw(
      { count: 1, rows, columns, colour: (_, row, column) => colours.colour(probability - probabilities[row][column]) },
      Math.floor(cell),
    );
  }

  #point(at) {
    if (!at) {
      this.viewer.frame(null);
      return this.viewer.describe();
    }
    const { label, probability, size, stride, probabilities } = this.#response;
    this.viewer.frame({ left: Math.min(at.column * stride, SIDE), top: Math.min(at.row * stride, SIDE), size });
    this.viewer.describe(
      el("strong", { text: percent(probabilities[at.row][at.column]) }),
      ` ${label} with this square hidden, ${percent(probability)} without`,
    );
  }
}

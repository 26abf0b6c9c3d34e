/** Filters of the first layer as they form: those of each checkpoint that was seen, to go through by epoch. */

import { ask, floats, Problem } from "./api.js";
import { sample } from "./charts.js";
import { el } from "./dom.js";
import { filters } from "./layers.js";

const MOST = 200; // epochs kept of a run
const HINT = "Grey is no weight; a colour is what the filter looks for. Point at one for its weights.";

export class FilterFilm {
  element = el("div", { class: "films" });
  /** By run: its part of the page and its filters by epoch. */
  #runs = new Map();

  /** Fetch the filters of runs that have had an epoch since. @param {{name: string, line: number, epochs: number}[]} runs */
  async follow(runs, signal) {
    for (const [name, run] of this.#runs) {
      if (runs.some((each) => each.name === name)) continue;
      run.element.remove();
      this.#runs.delete(name);
    }
    for (const { name, line, epochs } of runs) {
      if (!this.#runs.has(name)) this.#runs.set(name, this.#begin(name, line));
      const run = this.#runs.get(name);
      if (epochs && run.looked !== epochs) await this.#fetch(name, run, epochs, signal);
    }
  }

  #begin(name, line) {
    const slider = el("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": `Epoch of the filters of ${name}` });
    const run = { slider, told: el("output"), place: el("div"), read: el("p", { class: "read", "aria-live": "polite", text: HINT }), epochs: new Map(), looked: 0, isHeld: false };
    slider.addEventListener("input", () => {
      run.isHeld = Number(slider.value) < Number(slider.max);
      this.#show(name, run);
    });
    run.row = el("div", { class: "axis", hidden: true }, slider, run.told);
    run.element = el("section", { class: "card stack", hidden: true, "aria-label": `Filters of ${name}` },
      el("h2", {}, sample(line), ` First filters of ${name}`), run.place, run.row, run.read);
    this.element.append(run.element);
    return run;
  }

  async #fetch(name, run, epochs, signal) {
    try {
      const path = `v1/runs/${encodeURIComponent(name)}/filters`;
      const newest = await ask(path, { signal });
      this.#keep(run, newest);
      const missing = (newest.epochs ?? []).filter((epoch) => !run.epochs.has(epoch)).slice(-MOST);
      for (const epoch of missing) this.#keep(run, await ask(path, { query: { epoch }, signal }));
      run.looked = epochs;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!error.isPassing) run.looked = epochs; // there are none: networks without filters, or before the first checkpoint
    }
    this.#show(name, run);
  }

  #keep(run, { epoch, shape, data }) {
    if (shape.length !== 4 || shape[1] !== 3) return;
    run.epochs.set(epoch, { shape, weights: floats(data) });
    run.epochs = new Map([...run.epochs].sort(([a], [b]) => a - b).slice(-MOST));
  }

  #show(name, run) {
    const epochs = [...run.epochs.keys()];
    run.element.hidden = !epochs.length;
    if (!epochs.length) return;
    run.slider.max = epochs.length - 1;
    if (!run.isHeld) run.slider.value = epochs.length - 1;
    run.row.hidden = epochs.length < 2;
    const epoch = epochs[Number(run.slider.value)];
    const { shape, weights } = run.epochs.get(epoch);
    run.told.textContent = `epoch ${epoch}`;
    run.slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    run.place.replaceChildren(filters(weights, shape, `First filters of ${name} after epoch ${epoch}`, (words) => { run.read.textContent = words || HINT; }));
  }
}

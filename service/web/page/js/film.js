/** Filters of the first layer as they form: those of the last epoch, and by a slider those of any before. */

import { ask, floats, Problem } from "./api.js";
import { sample } from "./charts.js";
import { el } from "./dom.js";
import { filters } from "./kernels.js";
import { patiently } from "./server.js";

const HINT = "Grey is no weight; a colour is what the filter looks for. Point at one for its weights.";

export class FilterFilm {
  element = el("div", { class: "films" });
  /** By run: its part of the page, and its filters by epoch as far as they were asked for. */
  #runs = new Map();

  /** Show the filters of runs, anew for those that have had an epoch since. @param {{name: string, line: number, epochs: number}[]} runs */
  async follow(runs, signal) {
    for (const [name, run] of this.#runs) {
      if (runs.some((each) => each.name === name)) continue;
      run.element.remove();
      this.#runs.delete(name);
    }
    for (const { name, line, epochs } of runs) {
      if (!this.#runs.has(name)) this.#runs.set(name, this.#begin(name, line));
      const run = this.#runs.get(name);
      if (epochs && run.looked !== epochs) await this.#look(run, epochs, signal);
    }
  }

  #begin(name, line) {
    const slider = el("input", {
      type: "range",
      min: 0,
      max: 0,
      step: 1,
      value: 0,
      "aria-label": `Epoch of the filters of ${name}`,
    });
    const run = {
      name,
      slider,
      told: el("output"),
      place: el("div"),
      read: el("p", { class: "read", "aria-live": "polite", text: HINT }),
      epochs: [],
      kept: new Map(),
      looked: 0,
      isHeld: false,
    };
    slider.addEventListener("input", () => {
      run.isHeld = Number(slider.value) < Number(slider.max);
      this.#show(run);
    });
    run.row = el("div", { class: "axis", hidden: true }, slider, run.told);
    run.element = el(
      "section",
      { class: "card stack", hidden: true, "aria-label": `Filters of ${name}` },
      el("h2", {}, sample(line), ` First filters of ${name}`),
      run.place,
      run.row,
      run.read,
    );
    this.element.append(run.element);
    return run;
  }

  /** Fetch the filters of the last epoch, and which others there are. */
  async #look(run, epochs, signal) {
    try {
      const newest = await ask(address(run), { signal });
      if (epochs < run.looked) run.kept.clear(); // begun anew under the same name
      run.kept.set(newest.epoch, newest);
      run.epochs = newest.epochs;
      run.looked = epochs;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!error.isPassing) run.looked = epochs; // there are none: a network without filters, or a run of before
    }
    run.element.hidden = !run.epochs.length;
    if (!run.epochs.length) return;
    run.slider.max = run.epochs.length - 1;
    if (!run.isHeld) run.slider.value = run.slider.max;
    run.row.hidden = run.epochs.length < 2;
    await this.#show(run);
  }

  /** Show the epoch that the slider is at, once it is here; if the slider has not gone on meanwhile. */
  async #show(run) {
    const epoch = run.epochs[Number(run.slider.value)];
    run.told.textContent = `epoch ${epoch}`;
    run.slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    try {
      if (!run.kept.has(epoch)) run.kept.set(epoch, await patiently(address(run), { query: { epoch } }));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      run.read.textContent = error.message;
      return;
    }
    if (run.epochs[Number(run.slider.value)] !== epoch) return;
    const { shape, data } = run.kept.get(epoch);
    run.place.replaceChildren(
      filters(floats(data), shape, `First filters of ${run.name} after epoch ${epoch}`, (words) => {
        run.read.textContent = words || HINT;
      }),
    );
  }
}

const address = ({ name }) => `v1/runs/${encodeURIComponent(name)}/filters`;

/** The filters of the first layer as they form: of the last epoch, or of any earlier one by a slider. */

import { ask, floats, Problem } from "./api.js";
import { sample } from "./charts.js";
import { el } from "./dom.js";
import { filters } from "./kernels.js";
import { askWithRetries } from "./server.js";

const HINT = "Grey is a weight of zero; colours are what the filter responds to. Point at a filter to read its weights.";

export class FilterFilm {
  element = el("div", { class: "films" });
  /** By run: its elements, and the filters of each epoch fetched so far. */
  #runs = new Map();

  /** Show the filters of runs; fetch those of runs with a new epoch. @param {{name: string, line: number, epochs: number}[]} runs */
  async follow(runs, signal) {
    for (const [name, run] of this.#runs) {
      if (runs.some((each) => each.name === name)) continue;
      run.element.remove();
      this.#runs.delete(name);
    }
    for (const { name, line, epochs } of runs) {
      if (!this.#runs.has(name)) this.#runs.set(name, this.#begin(name, line));
      const run = this.#runs.get(name);
      if (epochs && run.fetchedEpochs !== epochs) await this.#fetch(run, epochs, signal);
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
      output: el("output"),
      place: el("div"),
      read: el("p", { class: "read", "aria-live": "polite", text: HINT }),
      epochs: [],
      kept: new Map(),
      fetchedEpochs: 0,
      isHeld: false,
    };
    slider.addEventListener("input", () => {
      run.isHeld = Number(slider.value) < Number(slider.max);
      this.#show(run);
    });
    run.row = el("div", { class: "axis", hidden: true }, slider, run.output);
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

  /** Fetch the filters of the last epoch, and the list of epochs. */
  async #fetch(run, epochs, signal) {
    try {
      const newest = await ask(address(run), { signal });
      if (epochs < run.fetchedEpochs) run.kept.clear(); // restarted under the same name
      run.kept.set(newest.epoch, newest);
      run.epochs = newest.epochs;
      run.fetchedEpochs = epochs;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!error.isTransient) run.fetchedEpochs = epochs; // none: a network without filters, or a run of an older version
    }
    run.element.hidden = !run.epochs.length;
    if (!run.epochs.length) return;
    run.slider.max = run.epochs.length - 1;
    if (!run.isHeld) run.slider.value = run.slider.max;
    run.row.hidden = run.epochs.length < 2;
    await this.#show(run);
  }

  /** Fetch and show the slider's epoch, unless the slider has moved on meanwhile. */
  async #show(run) {
    const epoch = run.epochs[Number(run.slider.value)];
    run.output.textContent = `epoch ${epoch}`;
    run.slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    try {
      if (!run.kept.has(epoch)) run.kept.set(epoch, await askWithRetries(address(run), { query: { epoch } }));
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

/** The section Training: the curves of several runs together, and their filters as they form. */

import { Problem } from "./api.js";
import { Chart, sample } from "./charts.js";
import { byId, duration, el, percent, value, whole } from "./dom.js";
import { FilterFilm } from "./film.js";
import { askWithRetries, server } from "./server.js";

const MOST = 6; // runs at a time: as many lines as can be told apart
const FIRST = 3; // runs chosen at first, running ones before others
const IDLE_POLL_MS = 10_000;
const TRAINING_POLL_MS = 1_500;
const STATES = { running: "● running", finished: "✓ finished", stopped: "■ stopped" };

/** By name: the run's line, its epochs so far, and the last response. */
const chosen = new Map();
let known = [];
let polling = null;
let drawn = "";
let isFirst = true;

const list = el("ul", { class: "runs" });
const charts = {
  accuracy: new Chart("Validation accuracy", {
    format: (share) => percent(share),
    tick: (share) => `${Number((100 * share).toFixed(1))}%`,
    note: "top-1; top-3 dotted",
    most: 1,
  }),
  validation: new Chart("Validation loss", { format: value }),
  loss: new Chart("Training loss", { format: value }),
  rate: new Chart("Learning rate", { format: value, fromZero: true }),
  speed: new Chart("Images per second", { format: (number) => whole(Math.round(number)), fromZero: true }),
};
const film = new FilterFilm();

export const training = {
  show() {
    server.addEventListener("change", draw);
    drawn = "";
    draw();
  },
  hide() {
    server.removeEventListener("change", draw);
    polling?.abort();
  },
};

function draw() {
  const wanted = String(server.hasRuns);
  if (wanted === drawn || server.state === "starting") return;
  drawn = wanted;
  polling?.abort();
  if (!server.hasRuns) {
    byId("training-body").replaceChildren(
      empty(
        "No runs here",
        "Start the page with the folder of your runs to watch them:",
        "cifar10net web --runs runs",
      ),
    );
    return;
  }
  byId("training-body").replaceChildren(
    el(
      "div",
      { class: "stack" },
      list,
      el("div", { class: "charts" }, ...Object.values(charts).map((chart) => chart.element)),
      film.element,
    ),
  );
  follow();
}

const empty = (title, words, code) =>
  el("div", { class: "card empty" }, el("h2", { text: title }), el("p", { text: words }), el("code", { text: code }));

/** Poll the runs, more often while one of them is running. */
async function follow() {
  polling = new AbortController();
  const { signal } = polling;
  try {
    while (!signal.aborted) {
      await poll(signal).catch(showTrouble);
      const isBusy = known.some((run) => run.state === "running");
      await server.rest(isBusy && !document.hidden ? TRAINING_POLL_MS : IDLE_POLL_MS, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Show why the runs cannot be listed; polling continues. */
function showTrouble(error) {
  if (!(error instanceof Problem)) throw error;
  known = [];
  delete list.dataset.names;
  list.replaceChildren(el("li", { class: "trouble", text: error.message }));
}

async function poll(signal) {
  known = inOrder((await askWithRetries("v1/runs", { signal })).runs);
  if (isFirst && known.length) {
    isFirst = false;
    const order = [...known].sort((a, b) => (b.state === "running") - (a.state === "running"));
    order.slice(0, FIRST).forEach((run) => take(run.name));
  }
  for (const name of chosen.keys()) if (!known.some((run) => run.name === name)) chosen.delete(name);
  if (!known.length)
    list.replaceChildren(
      el(
        "li",
        {},
        empty("No run yet", "A run appears as soon as it starts:", "cifar10net-train fit --out runs/mine"),
      ),
    );
  await Promise.all([...chosen].map(([name, run]) => fetchRun(name, run, signal)));
  show();
  await film.follow(
    [...chosen].map(([name, { response, line }]) => ({
      name,
      line,
      epochs: response?.has_filters === false ? 0 : (response?.epochs_done ?? 0),
    })),
    signal,
  );
}

/** Keep the order of known runs, whichever was written last; new ones come first. */
function inOrder(runs) {
  const places = new Map(known.map(({ name }, place) => [name, place]));
  return runs.sort((a, b) => (places.get(a.name) ?? -1) - (places.get(b.name) ?? -1));
}

function take(name) {
  const used = new Set([...chosen.values()].map((run) => run.line));
  chosen.set(name, { line: [0, 1, 2, 3, 4, 5].find((line) => !used.has(line)), rows: [], response: null });
}

async function fetchRun(name, run, signal) {
  const after = run.rows.at(-1)?.epoch ?? 0;
  let response;
  try {
    response = await askWithRetries(`v1/runs/${encodeURIComponent(name)}`, { query: { after }, signal });
    run.trouble = "";
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    run.trouble = error.message; // of this run alone, such as one deleted meanwhile
    return;
  }
  if (response.epochs_done < after)
    run.rows = []; // restarted under the same name: fetched from the start next time
  else run.rows.push(...response.rows.filter(({ epoch }) => epoch > (run.rows.at(-1)?.epoch ?? 0)));
  run.response = response;
}

function show() {
  drawList();
  const lines = (key, suffix = "", isFaint = false) =>
    [...chosen].map(([name, { line, rows }]) => ({
      name: `${name}${suffix}`,
      colour: line,
      isFaint,
      points: rows.filter((row) => Number.isFinite(row[key])).map((row) => [row.epoch, row[key]]),
    }));
  charts.accuracy.show([...lines("validation_top1", " top-1"), ...lines("validation_top3", " top-3", true)]);
  charts.validation.show(lines("validation_loss"));
  charts.loss.show(lines("loss"));
  charts.rate.show(lines("learning_rate"));
  charts.rate.element.hidden = !charts.rate.hasLines; // runs of older versions do not have it
  charts.speed.show(lines("images_per_s"));
}

/** Show the runs; elements are kept while the names stay the same, and with them the keyboard's focus. */
function drawList() {
  const names = known.map((run) => run.name);
  if (JSON.stringify(names) !== list.dataset.names) {
    list.dataset.names = JSON.stringify(names);
    if (known.length) list.replaceChildren(...known.map(runCard));
  }
  known.forEach((run, index) => updateCard(list.children[index], run));
}

function runCard({ name }) {
  const box = el("input", { type: "checkbox", on: { change: () => toggle(name, box) } });
  return el(
    "li",
    { class: "card run" },
    el("label", { class: "run-name" }, box, el("span", { class: "line-sample" }), el("strong", { text: name })),
    el("progress", { "aria-label": `Epochs of ${name}` }),
    el("p", { class: "hint" }, el("span", { class: "run-state" }), el("span", { class: "facts" })),
  );
}

async function toggle(name, box) {
  if (!box.checked) chosen.delete(name);
  else if (chosen.size < MOST) take(name);
  polling?.abort();
  await follow();
}

function updateCard(card, run) {
  const { response, line, rows, trouble } = chosen.get(run.name) ?? {};
  const box = card.querySelector("input");
  box.checked = chosen.has(run.name);
  box.disabled = !box.checked && chosen.size >= MOST;
  card.querySelector(".line-sample").replaceChildren(...(line === undefined ? [] : [sample(line)]));
  const state = card.querySelector(".run-state");
  state.textContent = STATES[run.state] ?? run.state;
  state.dataset.state = run.state;
  const progress = card.querySelector("progress");
  progress.max = run.epochs || 1;
  progress.value = run.epochs_done;
  const best = rows?.length ? Math.max(...rows.map((row) => row.validation_top1 ?? 0)) : null;
  const speed = response?.images_per_s;
  card.querySelector(".facts").textContent = [
    "",
    run.network,
    `epoch ${run.epochs_done} of ${run.epochs}`,
    best === null ? null : `best ${percent(best)}`,
    speed ? `${whole(Math.round(speed))} images/s` : null,
    trouble || null,
    run.state === "running" && response?.seconds_left != null ? `${duration(response.seconds_left)} left` : null,
  ]
    .filter((fact) => fact !== null && fact !== false)
    .join(" · ");
}

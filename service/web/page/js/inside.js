/** The section Look inside: layers, activations, kernels, and which pixels mattered, for one picture and one model. */

import { Problem } from "./api.js";
import { bars, words } from "./bars.js";
import { byId, choice, el, scrolled, speak } from "./dom.js";
import { LayerBlock, layerTable } from "./layers.js";
import { modelChoice } from "./models.js";
import { Occlusion } from "./occlusion.js";
import { pictures } from "./pictures.js";
import { patiently, server } from "./server.js";
import { Viewer } from "./viewer.js";

const viewer = new Viewer();
const occlusion = new Occlusion(viewer);
const said = el("div", { class: "said" });
const model = modelChoice("inside-model", (each) => each.can_look_inside, draw);
const colours = choice(
  "Colours",
  "inside-colours",
  [
    ["layer", "same for a layer"],
    ["channel", "each channel by itself"],
  ],
  (key) => blocks.forEach((block) => block.rescale(key === "channel")),
);
const perChannel = () => colours.querySelector("select").value === "channel";

let isShown = false;
let asking = null;
let shown = ""; // the picture and the model whose answers are there
let drawnModel = ""; // the model whose layers are there
let blocks = new Map();

export const inside = {
  show() {
    isShown = true;
    byId("inside-tools").replaceChildren(model.element, colours);
    byId("inside-aside").replaceChildren(el("div", { class: "card looked-at" }, viewer.element, said));
    pictures.addEventListener("change", draw);
    server.addEventListener("change", draw);
    draw();
  },
  hide() {
    isShown = false;
    pictures.removeEventListener("change", draw);
    server.removeEventListener("change", draw);
  },
};

async function draw() {
  if (!isShown) return;
  const picture = pictures.chosen;
  const current = model.current();
  byId("inside-tools").hidden = byId("inside-aside").hidden = !current;
  if (!current) return sayWhatIsMissing();
  const wanted = JSON.stringify([picture?.id, current.name, current.version]);
  if (wanted === shown) return;
  shown = wanted;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    showAsOld(true);
    await drawLayers(current, signal);
    if (picture) await drawPicture(picture, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    said.replaceChildren(el("p", { class: "trouble", text: error.message }));
  }
}

function sayWhatIsMissing() {
  const words = server.models.length
    ? [
        "No model that is served can be looked into",
        "A model needs its twin with the layers' outputs beside it; export it anew to get one.",
      ]
    : ["No model yet", "The layers are shown once the model server answers."];
  byId("inside-layers").replaceChildren(
    el("div", { class: "card empty" }, el("h2", { text: words[0] }), el("p", { text: words[1] })),
  );
  shown = drawnModel = "";
}

const waiting = (place, text) => place.replaceChildren(el("p", { class: "waiting is-busy", text }));

async function drawLayers(current, signal) {
  const key = `${current.name} ${current.version}`;
  if (key === drawnModel) return;
  drawnModel = "";
  const place = byId("inside-layers");
  waiting(place, "fetching the layers");
  const told = await patiently(`v1/models/${encodeURIComponent(current.name)}/layers`, {
    query: { version: current.version },
    signal,
    onWait: (problem) => waiting(place, problem.message),
  });
  blocks = new Map(told.layers.map((layer) => [layer.name, new LayerBlock(layer, viewer, current.labels)]));
  place.replaceChildren(
    occlusion.element,
    el(
      "div",
      { class: "card stack" },
      el("h2", { text: `The layers of ${told.model}` }),
      scrolled("Layers", layerTable(told)),
    ),
    el(
      "div",
      { class: "card stack" },
      el("h2", { text: "Activations" }),
      el("p", { class: "hint", text: "A tile is a channel. Click one, and below are the kernels that made it." }),
      ...[...blocks.values()].map((block) => block.element),
    ),
  );
  drawnModel = key;
}

/** What was drawn for another picture or model is pale until there is something new, or stays so if there is nothing. */
function showAsOld(isOld) {
  byId("inside-layers").classList.toggle("is-old", isOld);
  viewer.element.classList.toggle("is-old", isOld);
}

async function drawPicture(picture, signal) {
  waiting(said, "looking inside");
  const told = await patiently("v1/inside", {
    query: model.query(),
    body: picture.blob,
    signal,
    onWait: (problem) => waiting(said, problem.message),
  });
  viewer.show(told.seen, `${picture.name} as the network sees it`);
  said.replaceChildren(bars(told.top));
  for (const layer of told.layers) blocks.get(layer.name)?.show(layer, perChannel());
  showAsOld(false);
  speak(`${picture.name}: ${words(told.top)}`);
  await occlusion.show(picture.blob, model.query());
}

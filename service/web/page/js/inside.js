/** The section Look inside: layers, activations, kernels and occlusion, for one picture and one model. */

import { Problem } from "./api.js";
import { bars, words } from "./bars.js";
import { byId, choice, el, scrolled, speak } from "./dom.js";
import { LayerBlock, layerTable } from "./layers.js";
import { modelChoice } from "./models.js";
import { Occlusion } from "./occlusion.js";
import { pictures } from "./pictures.js";
import { askWithRetries, server } from "./server.js";
import { Viewer } from "./viewer.js";

const viewer = new Viewer();
const occlusion = new Occlusion(viewer);
const said = el("div", { class: "said" });
const model = modelChoice("inside-model", (each) => each.can_look_inside, draw);
const colours = choice(
  "Colours",
  "inside-colours",
  [
    ["layer", "one scale per layer"],
    ["channel", "one scale per channel"],
  ],
  (key) => blocks.forEach((block) => block.rescale(key === "channel")),
);
const perChannel = () => colours.querySelector("select").value === "channel";

let isShown = false;
let request = null;
let shown = ""; // the picture and model on display
let drawnModel = ""; // the model whose layers are on display
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
  request?.abort();
  request = new AbortController();
  const { signal } = request;
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
        "No served model can be looked into",
        "A model needs an inside.onnx file with the outputs of its layers, which cifar10net-train inside writes.",
      ]
    : ["No model yet", "The layers appear once the model server answers."];
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
  waiting(place, "loading the layers");
  const response = await askWithRetries(`v1/models/${encodeURIComponent(current.name)}/layers`, {
    query: { version: current.version },
    signal,
    onWait: (problem) => waiting(place, problem.message),
  });
  blocks = new Map(response.layers.map((layer) => [layer.name, new LayerBlock(layer, viewer, current.labels)]));
  place.replaceChildren(
    occlusion.element,
    el(
      "div",
      { class: "card stack" },
      el("h2", { text: `The layers of ${response.model}` }),
      scrolled("Layers", layerTable(response)),
    ),
    el(
      "div",
      { class: "card stack" },
      el("h2", { text: "Activations" }),
      el("p", { class: "hint", text: "Each tile is a channel. Click one to choose its kernels below." }),
      ...[...blocks.values()].map((block) => block.element),
    ),
  );
  drawnModel = key;
}

/** Fade what was drawn for another picture or model, until it is replaced. */
function showAsOld(isOld) {
  byId("inside-layers").classList.toggle("is-old", isOld);
  viewer.element.classList.toggle("is-old", isOld);
}

async function drawPicture(picture, signal) {
  waiting(said, "looking inside");
  const response = await askWithRetries("v1/inside", {
    query: model.query(),
    body: picture.blob,
    signal,
    onWait: (problem) => waiting(said, problem.message),
  });
  viewer.show(response.seen, `${picture.name} as the network sees it`);
  said.replaceChildren(bars(response.top));
  for (const layer of response.layers) blocks.get(layer.name)?.show(layer, perChannel());
  showAsOld(false);
  speak(`${picture.name}: ${words(response.top)}`);
  await occlusion.show(picture.blob, model.query());
}

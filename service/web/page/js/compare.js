/** The section Compare: one picture through all models, and how each answer changes when the picture is shifted. */

import { Problem } from "./api.js";
import { bars, update } from "./bars.js";
import { byId, el, percent, speak } from "./dom.js";
import { pictures } from "./pictures.js";
import { askWithRetries, server } from "./server.js";
import { drawMoved, shiftControls, Shifted, shiftMap, wording } from "./shifts.js";

const MAX = 4;
const TOP = 3;

let request = null;
let shown = ""; // the picture and models on display
let pixels = null; // ImageData of the unshifted picture, as the network sees it
/** By model: its answers at all shifts, and the parts of its card that follow the sliders. */
const answers = new Map();

const canvas = el("canvas", { class: "pixels", width: 32, height: 32, role: "img" });
const context = canvas.getContext("2d", { willReadFrequently: true });
const controls = shiftControls(MAX, moved);
const verdict = el("p", { class: "verdict" });
const list = el("ul", { class: "cards narrow", "aria-label": "Answers by model" });

export const compare = {
  show() {
    byId("compare-aside").replaceChildren(
      el(
        "div",
        { class: "card stack" },
        canvas,
        controls.element,
        el("p", {
          class: "hint",
          text: "The border is filled with the picture's reflection. On the maps, a stronger blue means more confidence in the first answer, and ✕ marks shifts with another answer. A thin mark on a bar is the value before the shift.",
        }),
      ),
    );
    byId("compare-models").replaceChildren(verdict, list);
    pictures.addEventListener("change", draw);
    server.addEventListener("change", draw);
    draw();
  },
  hide() {
    pictures.removeEventListener("change", draw);
    server.removeEventListener("change", draw);
  },
};

const key = (model) => `${model.name} ${model.version}`;

async function draw() {
  const picture = pictures.chosen;
  const wanted = JSON.stringify([picture?.id, server.models.map(key)]);
  if (wanted === shown) return;
  shown = wanted;
  request?.abort();
  request = new AbortController();
  answers.clear();
  pixels = null;
  context.clearRect(0, 0, 32, 32);
  canvas.setAttribute("aria-label", picture ? `${picture.name} as the network sees it` : "No picture");
  verdict.textContent = picture ? "" : "Choose a picture above.";
  const { signal } = request;
  const cards = picture ? server.models.map((model) => ({ model, card: cardOf(model) })) : [];
  list.replaceChildren(...cards.map(({ card }) => card));
  try {
    for (const { model, card } of cards) await showModel(picture, model, card, signal); // one by one, so that the first answer comes sooner
    if (cards.length) speak(verdict.textContent);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function cardOf(model) {
  return el(
    "li",
    { class: "card" },
    el("h2", { text: model.name }),
    el("p", { class: "hint", text: [`version ${model.version}`, model.provider].filter(Boolean).join(" · ") }),
    el("div", { class: "said" }, el("p", { class: "waiting is-busy", text: "classifying" })),
  );
}

async function showModel(picture, model, card, signal) {
  const said = card.querySelector(".said");
  const onWait = (problem) =>
    said.replaceChildren(el("p", { class: "waiting is-busy", text: `${problem.message} Trying again` }));
  try {
    const response = await askWithRetries("v1/shifts", {
      query: { model: model.name, version: model.version, max: MAX },
      body: picture.blob,
      signal,
      onWait,
    });
    if (!pixels) await showPicture(response.seen, signal);
    const shifted = new Shifted(response);
    const map = shiftMap(shifted, controls.go);
    const { top, before } = shifted.top(controls.now.x, controls.now.y, TOP);
    const list = bars(top, before);
    answers.set(key(model), { shifted, map, list });
    said.replaceChildren(
      list,
      el(
        "div",
        { class: "kept" },
        map.element,
        el(
          "p",
          {},
          el("strong", { text: percent(shifted.kept / shifted.count, 0) }),
          ` of the ${shifted.count} shifts keep `,
          el("em", { text: shifted.labels[shifted.first] }),
        ),
      ),
    );
    moved(controls.now.x, controls.now.y);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    said.replaceChildren(el("p", { class: "trouble", text: error.message }));
  }
}

/** Draw the picture as the network sees it, and keep its pixels for shifting. */
async function showPicture(url, signal) {
  const image = new Image();
  image.src = url;
  await image.decode();
  signal.throwIfAborted();
  context.drawImage(image, 0, 0);
  pixels = context.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
}

function moved(x, y) {
  if (pixels) drawMoved(context, pixels, x, y);
  const votes = new Map();
  for (const { shifted, map, list } of answers.values()) {
    const { top, before } = shifted.top(x, y, TOP);
    update(list, top, x || y ? before : []);
    map.mark(x, y);
    votes.set(top[0].label, (votes.get(top[0].label) ?? 0) + 1);
  }
  if (!answers.size) return;
  const ranked = [...votes].sort((a, b) => b[1] - a[1]).map(([label, count]) => `${label} ${count}`);
  const agreed =
    votes.size === 1
      ? `All ${answers.size} models say ${[...votes.keys()][0]}`
      : `The ${answers.size} models disagree: ${ranked.join(", ")}`;
  verdict.textContent = `${agreed} (${wording(x, y)}).`;
}

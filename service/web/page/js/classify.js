/** The section Classify: a card per picture, with the network's view of it and the top three classes. */

import { Problem } from "./api.js";
import { bars, times, words } from "./bars.js";
import { byId, bytes, el, percent, speak } from "./dom.js";
import { modelChoice } from "./models.js";
import { pictures } from "./pictures.js";
import { askWithRetries, server } from "./server.js";

const TOP = 3;
const BATCH = 16; // pictures per request; fewer if the server's limit is lower

/** Cards by picture, and the pictures without an answer, in order. */
const cards = new Map();
const pending = new Set();
let running = null;

const model = modelChoice("classify-model", () => true, again);
const clear = el("button", {
  class: "button is-plain",
  type: "button",
  text: "Remove all",
  on: { click: () => pictures.clear() },
});

export const classify = {
  show() {
    byId("classify-tools").replaceChildren(model.element, el("span", { class: "grow" }), clear);
    pictures.addEventListener("change", draw);
    draw();
  },
  hide() {
    pictures.removeEventListener("change", draw);
  },
};

function draw() {
  byId("classify-tools").hidden = !pictures.all.length;
  for (const [picture, card] of cards) {
    if (pictures.all.includes(picture)) continue;
    card.remove();
    cards.delete(picture);
    pending.delete(picture);
  }
  for (const picture of [...pictures.all].reverse()) {
    if (cards.has(picture)) continue;
    cards.set(picture, cardOf(picture));
    byId("answers").prepend(cards.get(picture));
    pending.add(picture);
  }
  work();
}

/** Classify all pictures again, after the model has changed. */
function again() {
  running?.abort();
  running = null;
  pictures.all.filter((picture) => cards.has(picture)).forEach((picture) => pending.add(picture));
  work();
}

/** Classify pending pictures, one request after another. */
async function work() {
  if (running || !pending.size) return;
  running = new AbortController();
  const { signal } = running;
  try {
    while (pending.size) {
      const group = nextGroup();
      if (group.length) await classifyGroup(group, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    if (running?.signal === signal) running = null;
  }
}

/** Choose the pictures of the next request; those that are too large get an error instead. */
function nextGroup() {
  const { pictures: most = BATCH, upload_bytes: limit = Infinity } = server.limits;
  const group = [];
  let size = 0;
  for (const picture of pending) {
    if (picture.blob.size > limit) {
      pending.delete(picture);
      showTrouble(picture, `The file has ${bytes(picture.blob.size)}; this server accepts at most ${bytes(limit)}.`);
      continue;
    }
    size += picture.blob.size + 1000; // for the headers of the part
    if (group.length && (group.length === Math.min(most, BATCH) || size > limit)) break;
    group.push(picture);
  }
  return group;
}

async function classifyGroup(group, signal) {
  const body = new FormData();
  for (const picture of group) body.append("pictures", picture.blob, picture.name);
  group.forEach((picture) => showWaiting(picture, "classifying"));
  const onWait = (problem) => group.forEach((picture) => showWaiting(picture, `${problem.message} Trying again`));
  try {
    const { results } = await askWithRetries("v1/classify", { query: { ...model.query(), top: TOP }, body, signal, onWait });
    results.forEach((result, index) => showResult(group[index], result));
    speak(spoken(results));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    group.forEach((picture) => showTrouble(picture, error.message));
  }
  group.forEach((picture) => pending.delete(picture));
}

function spoken(results) {
  const wrong = results.filter((result) => result.error).length;
  const said = results
    .filter((result) => !result.error)
    .map((result) => `${result.name}: ${result.top[0].label} ${percent(result.top[0].probability, 0)}`);
  return [...said, ...(wrong ? [`${wrong} could not be classified`] : [])].join("; ");
}

function cardOf(picture) {
  const original = el("img", {
    class: "original",
    src: picture.url,
    alt: "",
    width: 40,
    height: 40,
    on: { error: () => original.remove() },
  });
  const remove = el("button", {
    class: "icon-button",
    type: "button",
    title: "Remove",
    "aria-label": `Remove ${picture.name}`,
    text: "✕",
    on: { click: () => removeCard(picture) },
  });
  return el(
    "li",
    { class: "card answer" },
    el("div", { class: "head" }, original, el("h2", { text: picture.name, title: picture.name }), remove),
    el("div", { class: "said" }, el("p", { class: "waiting", text: "waiting" })),
  );
}

/** Remove a picture, and move the keyboard's focus to the next one. */
function removeCard(picture) {
  const next = cards.get(picture).nextElementSibling ?? cards.get(picture).previousElementSibling;
  pictures.remove(picture);
  (next?.querySelector(".icon-button") ?? byId("title-classify")).focus();
}

const said = (picture) => cards.get(picture)?.querySelector(".said");

function showWaiting(picture, what) {
  const place = said(picture);
  if (!place) return;
  if (place.querySelector(".bars") && what === "classifying") place.classList.add("is-old");
  else place.replaceChildren(el("p", { class: "waiting is-busy", text: what }));
}

function showTrouble(picture, message) {
  said(picture)?.classList.remove("is-old");
  said(picture)?.replaceChildren(el("p", { class: "trouble", text: message }));
}

function showResult(picture, result) {
  const place = said(picture);
  if (!place) return;
  if (result.error) return showTrouble(picture, result.error.message);
  place.classList.remove("is-old");
  const seen = el(
    "figure",
    { class: "seen" },
    el("img", {
      class: "pixels",
      src: result.seen,
      alt: `${picture.name} as the network sees it: ${words(result.top)}`,
    }),
    el("figcaption", { text: "as the network sees it" }),
  );
  place.replaceChildren(
    seen,
    bars(result.top),
    el(
      "div",
      { class: "how-made" },
      times(result.times_ms ?? {}),
      el("p", {
        class: "hint",
        text: [`${result.model} version ${result.version}`, result.provider].filter(Boolean).join(" · "),
      }),
    ),
  );
}

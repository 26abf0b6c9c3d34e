/** Where pictures come in: dropped, pasted, chosen, photographed, or a sample. All sections share one tray. */

import { ask, fetched, own, Problem } from "./api.js";
import { hasCamera, photograph } from "./camera.js";
import { byId, el, speak, svg } from "./dom.js";
import { MOST, pictures } from "./pictures.js";

/** Name of the sample that a picture came from, so that none is added twice. */
const fromSamples = new WeakMap();
let samples = [];

const files = el("input", { type: "file", id: "files", multiple: true, accept: "image/*", hidden: true });
const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
const sampleStrip = el("div", { class: "strip", role: "group", "aria-label": "Samples" });
const chosenStrip = el("fieldset", { class: "strip" }, el("legend", { class: "unseen", text: "Which picture" }));
const chosenRow = el("div", { class: "row", hidden: true }, el("span", { class: "hint", text: "Yours" }), chosenStrip);

const choose = el("button", {
  class: "button is-main",
  type: "button",
  text: "Choose pictures",
  on: { click: () => files.click() },
});
const camera = el("button", {
  class: "button",
  type: "button",
  text: "Use the camera",
  hidden: !hasCamera(),
  on: { click: async () => take(await photograph()) },
});

export const tray = el(
  "div",
  { class: "tray card" },
  el(
    "div",
    { class: "give" },
    svg(
      "svg",
      { viewBox: "0 0 24 24", "aria-hidden": "true" },
      svg("path", { d: "M12 15V4m0 0L7.5 8.5M12 4l4.5 4.5" }),
      svg("path", { d: "M4 15v3.5A1.5 1.5 0 0 0 5.5 20h13a1.5 1.5 0 0 0 1.5-1.5V15" }),
    ),
    el("p", { class: "how" }, el("strong", { text: "Drop or paste pictures" }), " anywhere on this page"),
    el("p", { class: "how-by-hand" }, el("strong", { text: "Show it a picture" })),
    el("div", { class: "buttons" }, choose, camera),
    files,
  ),
  trouble,
  el("div", { class: "row" }, el("span", { class: "hint", text: "Samples" }), sampleStrip),
  chosenRow,
);

/** Listen for pictures, and fetch the list of samples. */
export function open() {
  files.addEventListener("change", () => {
    take(...files.files);
    files.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => receive(event.clipboardData, event));
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("is-dropping");
  });
  document.addEventListener(
    "dragleave",
    (event) => event.relatedTarget ?? document.body.classList.remove("is-dropping"),
  );
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("is-dropping");
    receive(event.dataTransfer, event);
  });
  pictures.addEventListener("change", drawChosen);
  return fetchSamples();
}

/** Move the tray into the section on display; `choosing` shows the user's pictures to choose from. */
export function moveTo(place, choosing) {
  place.append(tray);
  tray.classList.toggle("is-choosing", choosing);
  drawChosen();
  if (choosing) takeFirstSample();
}

/** Show something to begin with, unless the user has given a picture. */
function takeFirstSample() {
  if (!pictures.chosen && samples.length) takeSample(samples[0], { isWanted: () => !pictures.chosen });
}

/** Fetch the samples, unless they are there already. */
export async function fetchSamples() {
  if (samples.length) return;
  try {
    ({ samples } = await ask("v1/samples"));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return; // the banner shows that the server is away; fetched when it is back
  }
  sampleStrip.replaceChildren(
    ...samples.map((sample) =>
      el(
        "button",
        {
          class: "thumb",
          type: "button",
          title: sample.title,
          "aria-label": `Sample: ${sample.title}`,
          on: { click: () => takeSample(sample) },
        },
        el("img", { src: own(sample.url), alt: "", loading: "lazy", width: 56, height: 56 }),
      ),
    ),
  );
  byId("credits").hidden = !samples.length;
  byId("credit-list").replaceChildren(...samples.map(({ name, credit }) => el("li", { text: `${name}: ${credit}` })));
  if (tray.classList.contains("is-choosing")) takeFirstSample();
}

function receive(data, event) {
  const given = [...(data?.files ?? [])];
  if (!given.length) return;
  event.preventDefault();
  take(...given);
}

function take(...given) {
  if (!given[0]) return; // no photograph was taken, or no file chosen
  trouble.hidden = pictures.all.length + given.length <= MOST;
  trouble.textContent = `The page keeps ${MOST} pictures; older ones were removed.`;
  pictures.add(given);
  if (!tray.isConnected || tray.closest("[hidden]")) location.hash = "#classify";
  speak(given.length === 1 ? `${given[0].name} was added` : `${given.length} pictures were added`);
}

/** Add a sample; `isWanted` is called once it has arrived, so that a picture given meanwhile stays chosen. */
async function takeSample(sample, { isWanted = () => true } = {}) {
  const known = pictures.all.find((picture) => fromSamples.get(picture) === sample.name);
  if (known) return pictures.choose(known);
  trouble.hidden = true;
  try {
    const file = new File([await fetched(own(sample.url))], sample.name);
    if (!isWanted()) return;
    pictures.add([file]);
    fromSamples.set(pictures.all[0], sample.name);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    trouble.hidden = false;
    trouble.textContent = `${sample.title}: ${error.message}`;
  }
}

function drawChosen() {
  const isChoosing = tray.classList.contains("is-choosing");
  chosenRow.hidden = !isChoosing || pictures.all.length < 2;
  if (!isChoosing) return;
  const focused = chosenStrip.contains(document.activeElement);
  chosenStrip.replaceChildren(
    chosenStrip.firstChild,
    ...pictures.all.map((picture) =>
      el(
        "label",
        { class: "thumb", title: picture.name },
        el("input", {
          type: "radio",
          name: "chosen",
          class: "unseen",
          checked: picture === pictures.chosen,
          on: { change: () => pictures.choose(picture) },
        }),
        el("img", { src: picture.url, alt: picture.name, width: 56, height: 56 }),
      ),
    ),
  );
  if (focused) chosenStrip.querySelector("input:checked")?.focus();
}

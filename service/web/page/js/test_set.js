/** The section Test set: random test images with their answers, and the accuracy on all of them. */

import { own, Problem } from "./api.js";
import { bars } from "./bars.js";
import { byId, choice, el, percent, scrolled, speak, whole } from "./dom.js";
import { confusionMatrix } from "./matrix.js";
import { modelChoice } from "./models.js";
import { askWithRetries, server } from "./server.js";

const COUNT = 24;
const PAUSE_MS = 1_000;

let isShown = false;
let request = null; // request for images
let counting = null; // requests for the summary
let seed = newSeed();
let drawn = "";
let labels = [];

const model = modelChoice("test-model", () => true, all);
const kind = choice("Class", "test-class", [["", "all classes"]], page);
const mistakes = el("input", { type: "checkbox", id: "test-mistakes", on: { change: page } });
const others = el("button", {
  class: "button is-main",
  type: "button",
  text: "Other images",
  on: {
    click: () => {
      seed = newSeed();
      page();
    },
  },
});
const found = el("p", { class: "hint", "aria-live": "polite" });
const grid = el("ul", { class: "test-images", "aria-label": "Test images" });
const score = el("div", { class: "card stack score" });
const confusion = el("div", { class: "card stack" });

export const testSet = {
  show() {
    isShown = true;
    server.addEventListener("change", draw);
    drawn = "";
    draw();
  },
  hide() {
    isShown = false;
    server.removeEventListener("change", draw);
    counting?.abort();
  },
};

function newSeed() {
  return Math.floor(Math.random() * 1e6);
}

function draw() {
  const wanted = String(server.hasTestSet);
  if (wanted === drawn || server.state === "starting") return;
  drawn = wanted;
  if (!server.hasTestSet) {
    byId("test-body").replaceChildren(
      el(
        "div",
        { class: "card empty" },
        el("h2", { text: "No test set here" }),
        el("p", { text: "Start the page with CIFAR-10 to see its test images:" }),
        el("code", { text: "cifar10net web --data cifar-10-python.tar.gz" }),
      ),
    );
    return;
  }
  byId("test-body").replaceChildren(
    el(
      "div",
      { class: "toolbar" },
      model.element,
      kind,
      el("label", { class: "check", for: "test-mistakes" }, mistakes, "mistakes only"),
      el("span", { class: "grow" }),
      others,
    ),
    el(
      "div",
      { class: "beside" },
      el("div", { class: "aside" }, score),
      el("div", { class: "stack" }, found, grid, confusion),
    ),
  );
  all();
}

function all() {
  if (!isShown || !server.hasTestSet || !model.current()) return;
  labels = model.current().labels;
  const select = kind.querySelector("select");
  const before = select.value;
  select.replaceChildren(
    el("option", { value: "", text: "all classes" }),
    ...labels.map((label) => el("option", { value: label, text: label })),
  );
  select.value = labels.includes(before) ? before : "";
  page();
  count();
}

/** Show random images. */
async function page() {
  request?.abort();
  request = new AbortController();
  const { signal } = request;
  const query = {
    ...model.query(),
    count: COUNT,
    seed,
    class: kind.querySelector("select").value,
    mistakes: mistakes.checked,
  };
  grid.setAttribute("aria-busy", "true");
  try {
    const response = await askWithRetries("v1/test", {
      query,
      signal,
      onWait: (problem) => {
        found.textContent = problem.message;
      },
    });
    grid.replaceChildren(...response.images.map(imageCard));
    found.textContent = response.images.length
      ? `${response.images.length} of ${whole(response.of)} images, at random`
      : "No image matches, or none has been classified yet.";
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    grid.replaceChildren(el("li", { class: "trouble", text: error.message }));
  }
  grid.removeAttribute("aria-busy");
}

function imageCard({ index, url, label, top, is_right: isRight }) {
  const list = bars(top);
  top.forEach((each, place) => list.children[place].classList.toggle("is-truth", each.label === label));
  return el(
    "li",
    { class: `test-image ${isRight ? "is-right" : "is-wrong"}` },
    el("img", {
      class: "pixels",
      src: own(url),
      alt: `Test image ${index}, ${label}`,
      width: 96,
      height: 96,
      loading: "lazy",
    }),
    el(
      "div",
      {},
      el(
        "p",
        { class: "truth" },
        el("span", {
          class: "mark",
          role: "img",
          "aria-label": isRight ? "right:" : "wrong:",
          text: isRight ? "✓" : "✕",
        }),
        el("strong", { text: label }),
      ),
      list,
    ),
  );
}

/** Poll the summary until all images are counted. */
async function count() {
  counting?.abort();
  counting = new AbortController();
  const { signal } = counting;
  score.replaceChildren(el("p", { class: "waiting is-busy", text: "counting" }));
  try {
    for (;;) {
      const response = await askWithRetries("v1/test/summary", {
        query: model.query(),
        signal,
        onWait: (problem) => score.replaceChildren(el("p", { class: "waiting is-busy", text: problem.message })),
      });
      showSummary(response);
      if (response.done >= response.of) return speak(`${percent(response.accuracy)} of ${whole(response.of)} test images are classified correctly`);
      await server.rest(PAUSE_MS, signal);
      signal.throwIfAborted();
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    score.replaceChildren(el("p", { class: "trouble", text: error.message }));
  }
}

function showSummary({ done, of, right, accuracy, standard_error: error, confusion: counts, labels: names }) {
  const progress = el("progress", { max: of, value: done, "aria-label": "Images counted" });
  score.classList.toggle("is-whole", done >= of);
  score.replaceChildren(
    el("h2", { text: "How often it is right" }),
    el(
      "p",
      { class: "figure" },
      done ? percent(accuracy) : "…",
      el("small", { text: done ? ` ± ${(100 * error).toFixed(2)} points` : "" }),
    ),
    progress,
    el("p", {
      class: "hint",
      text: `${whole(right)} right of ${whole(done)} images${done < of ? ` so far, of ${whole(of)}` : ""}. ± is one standard error.`,
    }),
  );
  confusion.replaceChildren(
    el("h2", { text: "What is mistaken for what" }),
    scrolled("Confusion matrix", confusionMatrix(names, counts)),
    el("p", {
      class: "hint",
      text: "Right answers are on the diagonal. Other cells are coloured four times as strongly, to make mistakes visible.",
    }),
  );
}

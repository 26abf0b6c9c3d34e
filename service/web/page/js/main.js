/** The page: the section on display, the colour scheme, and the state of the server. */

import { classify } from "./classify.js";
import { compare } from "./compare.js";
import { byId, el } from "./dom.js";
import { inside } from "./inside.js";
import { server } from "./server.js";
import { testSet } from "./test_set.js";
import { training } from "./training.js";
import * as tray from "./tray.js";

/** By name in the URL; each has show() and hide(), and works only while it is shown. */
const SECTIONS = { classify, compare, inside, test: testSet, training };
const STATES = {
  starting: "connecting",
  serving: "serving",
  unavailable: "model server offline",
  gone: "page server offline",
};
let current = null;

function route() {
  const name = location.hash.slice(1) || "classify";
  if (!(name in SECTIONS) || name === current) return;
  const isFirst = current === null;
  if (!isFirst) SECTIONS[current].hide();
  current = name;
  for (const section of document.querySelectorAll("[data-section]")) section.hidden = section.dataset.section !== name;
  for (const link of document.querySelectorAll(".sections a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = byId(`title-${name}`);
  document.title = `${title.textContent} · cifar10net`;
  if (!isFirst) {
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
  }
  const place = document.querySelector(`[data-section="${name}"] [data-tray]`);
  if (place) tray.moveTo(place, name !== "classify");
  SECTIONS[name].show();
}

function showState() {
  const { state, kind, address, detail, models } = server;
  const labels = (models.find((model) => model.is_default) ?? models[0])?.labels ?? [];
  if (labels.length > 1) byId("known").textContent = `. It knows ${labels.length} classes: ${labels.slice(0, -1).join(", ")} and ${labels.at(-1)}`;
  byId("state").dataset.state = state;
  byId("state-text").textContent =
    state === "serving" ? (kind === "local" ? "model in this process" : address) : STATES[state];
  byId("state").title =
    state === "serving"
      ? `serving: ${kind === "local" ? "the model runs in the server of this page" : address}`
      : detail;
  const isAway = state === "unavailable" || state === "gone";
  const banner = byId("banner");
  if (banner.classList.contains("is-shown") === isAway && banner.dataset.state === state) return;
  banner.classList.toggle("is-shown", isAway);
  banner.dataset.state = state;
  banner.replaceChildren();
  if (isAway) {
    const who =
      state === "gone"
        ? "The server of this page does not answer."
        : `The model server${address ? ` at ${address}` : ""} does not answer.`;
    banner.append(
      el("strong", { text: who }),
      " The page continues by itself when it is back, and keeps your pictures.",
    );
  }
}

function setUpTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const scheme = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const showOther = () => {
    const other = scheme() === "dark" ? "light" : "dark";
    byId("theme-text").textContent = `Use the ${other} colours`;
    byId("theme").title = `Use the ${other} colours`;
  };
  byId("theme").addEventListener("click", () => {
    const chosen = scheme() === "dark" ? "light" : "dark";
    root.dataset.theme = chosen;
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      // Storage may be disabled: the choice lasts until the page is closed.
    }
    showOther();
  });
  dark.addEventListener("change", showOther);
  showOther();
}

setUpTheme();
server.addEventListener("change", showState);
server.addEventListener("back", tray.fetchSamples);
addEventListener("hashchange", route);
route();
tray.open();
server.start();

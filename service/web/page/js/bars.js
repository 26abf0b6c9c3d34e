/** The most likely classes as labelled bars, and the time of each phase of an answer. */

import { el, milliseconds, percent } from "./dom.js";

/**
 * Draw the top classes.
 * @param {{label: string, probability: number}[]} top
 * @param {number[]} [before] probabilities to mark on the bars, such as those of the unshifted picture.
 */
export function bars(top, before = []) {
  const list = el("ol", { class: "bars" });
  update(list, top, before);
  return list;
}

/** Show other classes in a list made by `bars`, so that the bars move. */
export function update(list, top, before = []) {
  while (list.children.length > top.length) list.lastChild.remove();
  while (list.children.length < top.length) {
    list.append(
      el(
        "li",
        {},
        el("span", { class: "label" }),
        el("span", { class: "share" }),
        el("span", { class: "bar", "aria-hidden": "true" }, el("i")),
      ),
    );
  }
  top.forEach(({ label, probability }, index) => {
    const [name, share, bar] = list.children[index].children;
    name.textContent = label;
    share.textContent = percent(probability);
    bar.firstChild.style.width = percent(probability);
    bar.querySelector("b")?.remove();
    if (before[index] === undefined) return;
    const mark = el("b");
    mark.style.left = percent(Math.min(0.995, Math.max(0.005, before[index])));
    bar.append(mark);
  });
}

/** In words: "dog 66.0%, horse 26.1%". */
export const words = (top) => top.map(({ label, probability }) => `${label} ${percent(probability)}`).join(", ");

/** @param {Object<string, number>} phases milliseconds by phase; `total` is the whole. */
export function times({ total, ...phases }) {
  const parts = Object.entries(phases).filter(([, ms]) => typeof ms === "number");
  const colour = (index) => `line-${Math.min(index, 5)}`;
  const strip = el(
    "div",
    { class: "parts", "aria-hidden": "true" },
    ...parts.map(([, ms], index) => {
      const part = el("i", { class: colour(index) });
      part.style.flexGrow = Math.max(ms, 0.001);
      return part;
    }),
  );
  const rows = parts.map(([phase, ms], index) =>
    el(
      "div",
      {},
      el("dt", { class: colour(index) }, el("span", { text: phase.replaceAll("_", " ") })),
      el("dd", { text: milliseconds(ms) }),
    ),
  );
  if (total !== undefined)
    rows.unshift(
      el(
        "div",
        { class: "whole" },
        el("dt", {}, el("span", { text: "total" })),
        el("dd", { text: milliseconds(total) }),
      ),
    );
  return el("div", { class: "times" }, strip, el("dl", { "aria-label": "Time by phase" }, ...rows));
}

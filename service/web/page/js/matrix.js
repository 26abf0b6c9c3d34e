/** A confusion matrix: a table whose cells are darker the more images they count. */

import { el, percent, whole } from "./dom.js";

/**
 * Draw a confusion matrix.
 * @param {string[]} labels
 * @param {number[][]} counts by true class, then by predicted class.
 */
export function confusionMatrix(labels, counts) {
  const head = el(
    "tr",
    {},
    el("th", { scope: "col", text: "true ↓ answered →" }),
    ...labels.map((label) => el("th", { scope: "col", class: "upright" }, el("span", { text: label }))),
  );
  const rows = labels.map((label, truth) => {
    const all = counts[truth].reduce((a, b) => a + b, 0);
    return el(
      "tr",
      {},
      el("th", { scope: "row", text: label }),
      ...counts[truth].map((count, answered) => {
        const share = all ? count / all : 0;
        const cell = el("td", {
          class: answered === truth ? "hit" : "miss",
          text: count ? whole(count) : "·",
          title: `${label}, answered ${labels[answered]}: ${whole(count)} of ${whole(all)} (${percent(share)})`,
        });
        cell.style.setProperty("--share", `${Math.round(100 * Math.min(1, answered === truth ? share : 4 * share))}%`);
        return cell;
      }),
    );
  });
  return el(
    "table",
    { class: "matrix" },
    el("caption", { class: "unseen", text: "Images by true class and answered class" }),
    el("thead", {}, head),
    el("tbody", {}, ...rows),
  );
}

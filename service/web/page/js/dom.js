/**
 * Makes elements and formats numbers.
 *
 * Everything from outside (names, labels, messages) is inserted as text; nothing in the page parses markup.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} tag
 * @param {Object} properties `class`, `text`, `on` (handlers by event), `data` (dataset); others are attributes, which true sets and false omits.
 * @param {...(Node|string|null)} children strings become text nodes; null is skipped.
 * @returns {HTMLElement}
 */
export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** Make an SVG element. @returns {SVGElement} */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = value;
    else if (name === "on")
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Announce something to screen readers. */
export function speak(words) {
  byId("spoken").textContent = words;
}

const count = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** 1234567 → "1,234,567". */
export const whole = (number) => count.format(number);
/** 1234567 → "1.23M". */
export const rough = (number) => compact.format(number);
/** Three significant digits. */
export const value = (number) =>
  number === 0 ? "0" : Math.abs(number) < 1e-3 ? number.toExponential(1) : short.format(number);
/** 0.9771 → "97.7%". */
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
/** 1.234 → "1.23 ms". */
export const milliseconds = (ms) =>
  ms >= 1000 ? `${short.format(ms / 1000)} s` : `${ms < 0.1 ? ms.toFixed(2) : short.format(ms)} ms`;
/** 4000000 → "4 MB". */
export const bytes = (size) => (size >= 1e6 ? `${short.format(size / 1e6)} MB` : `${short.format(size / 1e3)} kB`);

/** 3725 → "1 h 2 min". */
export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** [16, 32, 32] → "16 × 32 × 32". */
export const shape = (sizes) => sizes.join(" × ");

/** Make a table of texts; the first cell of each row is its heading. */
export function table(caption, titles, rows) {
  const cells = (row) => row.map((text, index) => (index ? el("td", { text }) : el("th", { scope: "row", text })));
  return el(
    "table",
    {},
    el("caption", { class: "unseen", text: caption }),
    el("thead", {}, el("tr", {}, ...titles.map((text) => el("th", { scope: "col", text })))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells(row)))),
  );
}

/** Wrap content that may be wider than the window; it scrolls by itself, also by keyboard. */
export function scrolled(label, ...children) {
  return el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": label }, ...children);
}

/** Make a `select` with a visible label. */
export function choice(label, id, options, onChange) {
  const select = el(
    "select",
    { id, on: { change: () => onChange(select.value) } },
    ...options.map(([key, text]) => el("option", { value: key, text })),
  );
  return el("div", { class: "field" }, el("label", { for: id, text: label }), select);
}

/** Debounce: call `work` after `pauseMs` without another call. */
export function later(work, pauseMs) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(work, pauseMs, ...given);
  };
}

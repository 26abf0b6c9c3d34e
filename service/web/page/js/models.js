/** A choice of the served models, which follows the server. */

import { choice, el } from "./dom.js";
import { server } from "./server.js";

/**
 * Make a choice of models and versions.
 * @param {string} id of the `select`.
 * @param {function(Object): boolean} suits whether a model is offered.
 * @param {function()} onChange called when the choice changes, also because the model is gone or has a new version.
 * @returns {{element: HTMLElement, query: function(): {model?: string, version?: string}, current: function(): Object|null}}
 */
export function modelChoice(id, suits, onChange) {
  const element = choice("Model", id, [], onChange);
  const select = element.querySelector("select");
  let drawn = "";

  const offered = () => server.models.filter(suits);
  const key = (model) => `${model.name}/${model.version}`;
  const current = () => offered().find((model) => key(model) === select.value) ?? null;

  function draw() {
    const models = offered();
    const signature = models.map(key).join("\n");
    if (signature === drawn) return;
    const name = select.value.split("/")[0];
    const before = select.value;
    drawn = signature;
    element.hidden = !models.length;
    const severalOf = (model) => models.filter((other) => other.name === model.name).length > 1;
    select.replaceChildren(
      ...models.map((model) =>
        el("option", {
          value: key(model),
          text: severalOf(model) ? `${model.name} (version ${model.version})` : model.name,
        }),
      ),
    );
    const wanted =
      models.find((model) => key(model) === before) ??
      models.find((model) => model.name === name) ??
      models.find((model) => model.is_default) ??
      models[0];
    if (wanted) select.value = key(wanted);
    if (select.value !== before) onChange();
  }

  element.hidden = true; // until there are models
  server.addEventListener("change", draw);
  draw();
  return {
    element,
    current,
    query: () => (current() ? { model: current().name, version: current().version } : {}),
  };
}

// The colour scheme that was chosen here before, set before anything is drawn. A classic script, so that it runs first.

"use strict";

{
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // Storage may be forbidden; the system's scheme is right then.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}

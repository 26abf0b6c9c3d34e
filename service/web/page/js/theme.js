// Applies the colour scheme chosen earlier, before anything is drawn: a classic script runs before modules.

"use strict";

{
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // Storage may be disabled; the system's scheme applies then.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}

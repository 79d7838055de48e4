"use strict";
// Light or dark as the system has it, or the reader's choice, which the browser keeps where it may.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = "auto";
  try { chosen = localStorage.getItem("gbw-theme") || "auto"; } catch { /* kept nowhere, then */ }
  const paint = () => document.documentElement.classList.toggle("dark", chosen === "dark" || (chosen === "auto" && system.matches));
  const set = (name) => {
    chosen = name;
    try { localStorage.setItem("gbw-theme", name); } catch { /* kept nowhere, then */ }
    paint();
  };
  system.addEventListener("change", paint);
  paint();
  window.gbwTheme = { system, theme: { get: () => chosen, set } };
})();

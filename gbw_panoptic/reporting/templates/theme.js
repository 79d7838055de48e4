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
  /** Has a button go round the three, and say which one is on. */
  const attach = (button) => {
    const label = () => {
      button.textContent = chosen[0].toUpperCase() + chosen.slice(1);
      button.setAttribute("aria-label", chosen === "auto" ? "Colours: as the system has them" : `Colours: ${chosen}`);
    };
    button.addEventListener("click", () => {
      const order = system.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
      set(order[(order.indexOf(chosen) + 1) % order.length]);
      label();
    });
    label();
  };
  window.gbwTheme = { attach };
})();

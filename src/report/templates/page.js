"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  // The theme: what the reader chose here, else what the system says. A store may be forbidden to a file.
  const theme = $("theme");
  const store = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("shakedown-theme") || "";
      localStorage.setItem("shakedown-theme", value);
    } catch { /* then it lasts as long as the page */ }
    return value || "";
  };
  const paint = (value) => {
    if (value) root.dataset.theme = value;
    else delete root.dataset.theme;
  };
  theme.value = store();
  paint(theme.value);
  theme.addEventListener("change", () => { paint(theme.value); store(theme.value); });
  theme.parentElement.hidden = false;

  // On paper nothing can be unfolded. Tables of events would be most of it, and stay as they are.
  const opened = [];
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:is(.case, .happened, .more):not([open], [hidden])")) {
      details.open = true;
      opened.push(details);
    }
  });
  addEventListener("afterprint", () => { for (const details of opened.splice(0)) details.open = false; });

  const filters = $("filters");
  if (!filters) return;
  filters.hidden = false;
  const cases = [...document.querySelectorAll("details.case")];
  const suites = [...document.querySelectorAll("section.suite")];
  const words = new Map();
  const textOf = (details) => {
    if (!words.has(details)) words.set(details, details.textContent.toLowerCase());
    return words.get(details);
  };
  const boxes = (name) => [...filters.querySelectorAll(`input[name="${name}"]`)];
  const chosen = (name) => boxes(name).filter((box) => box.checked).map((box) => box.value);

  const apply = () => {
    const [verdicts, levels] = [new Set(chosen("verdict")), new Set(chosen("level"))];
    const wanted = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const details of cases) {
      const fits = verdicts.has(details.dataset.verdict) && levels.has(details.dataset.level)
        && wanted.every((word) => textOf(details).includes(word));
      details.hidden = !fits;
      shown += fits;
    }
    for (const suite of suites) suite.hidden = !suite.querySelector("details.case:not([hidden])");
    $("shown").textContent = `${shown} of ${cases.length} cases shown`;
  };

  // The address keeps what is chosen, so that it can be passed on: #text=…&verdict=fail,warn
  const remember = () => {
    const state = [];
    for (const name of ["verdict", "level"]) {
      if (boxes(name).some((box) => !box.checked)) state.push(`${name}=${chosen(name).join(",")}`);
    }
    if ($("text").value) state.push(`text=${encodeURIComponent($("text").value)}`);
    try {
      history.replaceState(null, "", `#${state.join("&")}`);
    } catch { /* then the address stays as it is */ }
  };
  const decoded = (text) => {
    try { return decodeURIComponent(text); } catch { return text; }
  };
  const recall = () => {
    const hash = location.hash.slice(1);
    if (hash.includes("=")) {
      const state = new Map(hash.split("&").map((part) => {
        const place = part.indexOf("=");
        return [part.slice(0, place), decoded(part.slice(place + 1))];
      }));
      for (const name of ["verdict", "level"]) {
        const kept = state.has(name) ? state.get(name).split(",") : null;
        for (const box of boxes(name)) box.checked = !kept || kept.includes(box.value);
      }
      $("text").value = state.get("text") || "";
      apply();
      return;
    }
    const target = hash && $(decoded(hash));
    if (target && target.matches("details")) {
      if (target.hidden) {
        filters.reset();
        apply();
      }
      target.open = true;
      target.scrollIntoView();
    }
  };

  filters.addEventListener("input", () => { apply(); remember(); });
  filters.addEventListener("submit", (event) => event.preventDefault());
  // The form has its old values until this event is over.
  filters.addEventListener("reset", () => setTimeout(() => { apply(); if (location.hash.includes("=")) remember(); }));
  $("open").addEventListener("click", () => { for (const details of cases) if (!details.hidden) details.open = true; });
  $("close").addEventListener("click", () => { for (const details of cases) details.open = false; });
  addEventListener("hashchange", recall);
  apply();
  recall();
})();

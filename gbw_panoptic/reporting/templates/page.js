"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const dataOf = (element) => JSON.parse(element.querySelector(":scope > .data").textContent);

  // Colours: theme.js has chosen them before the page was drawn.
  window.gbwTheme.attach(document.getElementById("theme"));

  // Tables: a click on a heading sorts, numbers from the largest down at first; what has no value stays last.
  const valueOf = (cell) => {
    const order = cell.dataset.order;
    if (order === undefined) return null;
    const number = Number(order);
    return order !== "" && Number.isFinite(number) ? number : order;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const direction = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      const body = table.tBodies[0];
      const rows = Array.from(body.rows, (row) => ({ row, value: valueOf(row.cells[column]) }));
      rows.sort((a, b) => {
        if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
        return (direction === "ascending" ? 1 : -1) * compare(a.value, b.value);
      });
      body.append(...rows.map(({ row }) => row));
    }));
  }

  // Tabs.
  let tabsets = 0;
  for (const set of all(".tabs")) {
    const panels = all(":scope > .panel", set);
    if (panels.length < 2) continue;
    const id = `tabs${tabsets++}`;
    const list = document.createElement("div");
    list.className = "tablist";
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", set.dataset.label);
    const tabs = panels.map((panel, number) => {
      const tab = document.createElement("button");
      Object.assign(tab, { type: "button", textContent: panel.dataset.name, id: `${id}-${number}` });
      panel.id = `${id}-panel-${number}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      return tab;
    });
    const choose = (chosen, focus) => tabs.forEach((tab, number) => {
      tab.setAttribute("aria-selected", String(number === chosen));
      tab.tabIndex = number === chosen ? 0 : -1;
      panels[number].hidden = number !== chosen;
      if (focus && number === chosen) tab.focus();
    });
    tabs.forEach((tab, number) => {
      tab.addEventListener("click", () => choose(number, false));
      tab.addEventListener("keydown", (event) => {
        const steps = { ArrowRight: number + 1, ArrowLeft: number - 1 + tabs.length, Home: 0, End: tabs.length - 1 };
        if (!(event.key in steps)) return;
        event.preventDefault();
        choose(steps[event.key] % tabs.length, true);
      });
    });
    list.append(...tabs);
    set.prepend(list);
    choose(0, false);
  }

  // Values under the pointer, or under the cursor of the keyboard.
  const tip = document.getElementById("tip");
  const say = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 6))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - box.height - 6))}px`;
  };
  const hush = () => { tip.hidden = true; };
  addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });
  const short = (value) => String(Number(value.toPrecision(4)));

  for (const figure of all(".chart")) {
    const lines = dataOf(figure);
    const svg = figure.querySelector("svg");
    const cursor = svg.querySelector(".cursor");
    const stops = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
    let stop = -1;
    const show = (number, atX, atY) => {
      if (!stops.length) return;
      stop = Math.max(0, Math.min(number, stops.length - 1));
      const x = stops[stop];
      const hidden = new Set(all(".series[hidden]", svg).map((group) => Number(group.dataset.line)));
      const found = lines.filter((line) => !hidden.has(line.number)).flatMap((line) => {
        const point = line.points.find((candidate) => candidate[0] === x);
        return point ? [{ name: line.name, iteration: point[2], value: point[3] }] : [];
      });
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
      if (!found.length) return hush();
      const box = svg.getBoundingClientRect();
      const text = [`iteration ${found[0].iteration}`, ...found.map(({ name, value }) => `${name}: ${short(value)}`)];
      say(text.join("\n"), atX ?? box.left + (x / 360) * box.width, atY ?? box.top + 20);
    };
    const leave = () => { cursor.setAttribute("visibility", "hidden"); hush(); };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * 360;
      const nearest = stops.reduce((best, at, number) => (Math.abs(at - x) < Math.abs(stops[best] - x) ? number : best), 0);
      show(nearest, event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", leave);
    figure.addEventListener("blur", leave);
    figure.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: stop + 1, ArrowLeft: stop - 1, Home: 0, End: stops.length - 1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      show(steps[event.key]);
    });
  }

  for (const legend of all(".legend")) {
    for (const entry of all("button", legend)) {
      entry.addEventListener("click", () => {
        const on = entry.getAttribute("aria-pressed") !== "true";
        entry.setAttribute("aria-pressed", String(on));
        for (const group of all(`.series[data-line="${entry.dataset.line}"]`, legend.nextElementSibling)) group.toggleAttribute("hidden", !on);
      });
    }
  }

  for (const figure of all(".heat")) {
    const { names: classes, iterations, values } = dataOf(figure);
    const map = figure.querySelector(".map");
    const cursor = map.querySelector(".cursor");
    let row = 0;
    let column = -1;
    const show = (toRow, toColumn, atX, atY) => {
      row = Math.max(0, Math.min(toRow, classes.length - 1));
      column = Math.max(0, Math.min(toColumn, iterations.length - 1));
      const width = 100 / iterations.length;
      const height = 100 / classes.length;
      Object.assign(cursor.style, { left: `${column * width}%`, top: `${row * height}%`, width: `${width}%`, height: `${height}%` });
      cursor.hidden = false;
      const value = values[row][column];
      const box = cursor.getBoundingClientRect();
      say(`${classes[row]}, iteration ${iterations[column]}\n${value === null ? "no pixel" : `weight ${short(value)}`}`, atX ?? box.right, atY ?? box.bottom);
    };
    const leave = () => { cursor.hidden = true; hush(); };
    map.addEventListener("pointermove", (event) => {
      const box = map.getBoundingClientRect();
      show(Math.floor(((event.clientY - box.top) / box.height) * classes.length), Math.floor(((event.clientX - box.left) / box.width) * iterations.length), event.clientX, event.clientY);
    });
    map.addEventListener("pointerleave", leave);
    map.addEventListener("blur", leave);
    map.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
      if (!(event.key in steps)) return;
      event.preventDefault();
      show(row + steps[event.key][0], column + steps[event.key][1]);
    });
  }

  // Pictures.
  for (const viewer of all(".viewer")) {
    const { scenes, choices: pairs, left, right } = dataOf(viewer);
    const choices = Object.fromEntries(pairs);
    const keys = pairs.map(([key]) => key);
    const shown = { left, right };
    const stage = viewer.querySelector(".stage");
    const split = viewer.querySelector(".split");
    const opacity = viewer.querySelector(".opacity input");
    const views = viewer.querySelector(".views");
    let number = 0;
    const fill = (side, key) => {
      const scene = scenes[number];
      const [photo, layer] = side.children;
      photo.src = scene.image;
      if (scene.layers[key]) layer.src = scene.layers[key];
      else layer.removeAttribute("src");
      const errors = key.startsWith("errors");
      side.classList.toggle("grey", errors);
      layer.style.opacity = errors ? 0.9 : opacity.value / 100;
    };
    const draw = () => {
      for (const place of ["left", "right"]) {
        fill(stage.querySelector(`.side.${place}`), shown[place]);
        stage.querySelector(`.tag.${place}`).textContent = choices[shown[place]];
        viewer.querySelector(`select.${place}`).value = shown[place];
      }
      viewer.querySelector(".which").textContent = `${number + 1} of ${scenes.length}: ${scenes[number].name}`;
      views.childNodes.forEach((view, place) => {
        fill(view.firstChild, keys[place]);
        view.setAttribute("aria-pressed", String(keys[place] === shown.right));
      });
      move();
    };
    const move = () => {
      stage.style.setProperty("--split", `${split.value}%`);
      split.setAttribute("aria-valuetext", `${Math.round(split.value)} % ${choices[shown.left]}, the rest ${choices[shown.right]}`);
    };
    for (const place of ["left", "right"]) {
      const select = viewer.querySelector(`select.${place}`);
      select.append(...keys.map((key) => new Option(choices[key], key)));
      select.addEventListener("change", () => { shown[place] = select.value; draw(); });
    }
    for (const key of keys) {
      const view = document.createElement("button");
      view.type = "button";
      const side = document.createElement("span");
      side.className = "side";
      for (const name of ["photo", "layer"]) side.append(Object.assign(document.createElement("img"), { className: name, alt: "" }));
      view.append(side, Object.assign(document.createElement("small"), { textContent: choices[key] }));
      view.addEventListener("click", () => { shown.right = key; draw(); });
      views.append(view);
    }
    const step = (by) => { number = (number + by + scenes.length) % scenes.length; draw(); };
    viewer.querySelector(".previous").addEventListener("click", () => step(-1));
    viewer.querySelector(".next").addEventListener("click", () => step(1));
    split.addEventListener("input", move);
    opacity.addEventListener("input", draw);
    draw();
  }
})();

"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const about = JSON.parse(get("about").textContent);
  const { classes, colors } = about;
  const VOID = classes.length - 1, NOTHING = -1, things = new Set(about.things);
  const store = `gbw-labels-${about.digest}`;
  window.gbwTheme.attach(get("theme"));

  // Maps come as runs, row after row, and go back so.
  const unrolled = (runs, size, Kind) => {
    const values = new Kind(size);
    for (let i = 0, place = 0; i < runs.length; place += runs[i + 1], i += 2) values.fill(runs[i], place, place + runs[i + 1]);
    return values;
  };
  const rolled = (values) => {
    const runs = [];
    for (let i = 0, start = 0; i < values.length; i++) {
      if (i + 1 === values.length || values[i + 1] !== values[i]) { runs.push(values[i], i + 1 - start); start = i + 1; }
    }
    return runs;
  };
  const keyed = (centers) => new Map(centers.map(([c, n, y, x]) => [`${c},${n}`, [y, x]]));
  const images = JSON.parse(get("images").textContent).map((image) => {
    const size = image.height * image.width;
    return {
      ...image, picture: Object.assign(new Image(), { src: image.source }), parts: unrolled(image.parts, size, Int32Array),
      labels: new Int16Array(size).fill(NOTHING), numbers: new Uint16Array(size), centers: new Map(),
      hints: { labels: unrolled(image.labels, size, Int16Array), numbers: unrolled(image.numbers, size, Uint16Array), centers: keyed(image.centers) },
    };
  });
  const questions = [];
  for (const image of images) {
    const counts = [];
    for (const part of image.parts) counts[part] = (counts[part] || 0) + 1;
    const pixels = counts.map((count) => new Int32Array(count));
    const places = counts.map(() => 0);
    image.parts.forEach((part, i) => { pixels[part][places[part]++] = i; });
    pixels.forEach((of, part) => { if (part) questions.push({ image, pixels: of, open: of.length }); });
  }

  // What is asked now, what of it is chosen, and what was changed.
  let current = 0, selection = null, last = null, tool = "select", chosen = null, typed = "", timer = 0, coloured = true;
  const undone = [], spent = { clicks: 0, seconds: 0, since: Date.now() };
  const question = () => questions[current];
  const target = () => {
    const { pixels, open, image } = question();
    return selection || (open && open < pixels.length ? pixels.filter((i) => image.labels[i] === NOTHING) : pixels);
  };
  const object = () => selection || last || target();  // what N, M and C are about
  const say = (text, wrong = false) => { get("status").textContent = text; get("status").classList.toggle("wrong", wrong); };
  const seen = (image, i) => image.labels[i] === NOTHING ? image.hints : image;
  const count = (q) => { q.open = q.pixels.reduce((open, i) => open + (q.image.labels[i] === NOTHING), 0); };

  const change = (pixels, label, number, { joined = false } = {}) => {
    const { image } = question();
    const before = { at: current, image, pixels, labels: Int32Array.from(pixels, (i) => image.labels[i]),
      numbers: Int32Array.from(pixels, (i) => image.numbers[i]), centers: new Map(image.centers), joined };
    pixels.forEach((i, k) => {
      image.labels[i] = typeof label === "number" ? label : label(i, k);
      image.numbers[i] = typeof number === "number" ? number : number(i, k);
    });
    undone.push(before);
    if (undone.length > 500) undone.shift();
    count(question());
    changed(image);
    keep();
  };
  const undo = () => {
    const step = undone.pop();
    if (!step) return say("There is nothing to undo.");
    step.pixels.forEach((i, k) => { step.image.labels[i] = step.labels[k]; step.image.numbers[i] = step.numbers[k]; });
    step.image.centers = step.centers;
    changed(step.image);
    current = step.at;
    count(question());
    if (step.joined) return undo();
    go(current);
    say("Undone.");
    keep();
  };

  // Classes and objects.
  const common = (pixels, of) => {
    const votes = new Map();
    for (const i of pixels) { const value = of(i); votes.set(value, (votes.get(value) || 0) + 1); }
    return [...votes].sort((a, b) => b[1] - a[1])[0][0];
  };
  const free = (image) => {
    let most = 0;
    for (const values of [image.numbers, image.hints.numbers]) for (const n of values) if (n > most) most = n;
    for (const key of [...image.centers.keys(), ...image.hints.centers.keys()]) most = Math.max(most, +key.split(",")[1]);
    return most + 1;
  };
  const known = (image) => {
    const keys = new Set([...image.centers.keys(), ...image.hints.centers.keys()]);
    for (let i = 0; i < image.labels.length; i++) {
      const { labels, numbers } = seen(image, i);
      if (numbers[i] > 0) keys.add(`${labels[i]},${numbers[i]}`);
    }
    return [...keys].map((key) => key.split(",").map(Number)).sort((a, b) => a[1] - b[1]);
  };
  const numberFor = (label) => {
    const { image } = question();
    if (!things.has(label)) return 0;
    const own = common(target(), (i) => seen(image, i).labels[i] === label ? seen(image, i).numbers[i] : 0);
    return own || free(image);
  };
  const answer = (label) => {
    chosen = label;
    spent.clicks++;
    if (about.unit === "image" && !selection && [0, question().pixels.length].includes(question().open)) {
      show();
      return say(`${classes[label]}: now paint (P), or click a segment and press the digit again.`);
    }
    const { image } = question();
    const number = numberFor(label), fresh = things.has(label) && !known(image).some(([c, n]) => c === label && n === number);
    const others = things.has(label) && known(image).some(([c, n]) => c === label && n !== number);
    last = target();
    change(last, label, number);
    selection = null;
    const name = things.has(label) ? `${classes[label]} ${number}` : classes[label];
    if (question().open) { show(); return say(`${name}. The rest of this part is open: space takes it as suggested.`); }
    if (others) { show(); return say(`${name}${fresh ? ", a new object" : ""}. N or M takes another one, Enter goes on.`); }
    say(`Answered: ${name}.`);
    advance();
  };
  const accept = () => {
    const { image, pixels, open } = question(), { hints } = image;
    const wanted = pixels.filter((i) => hints.labels[i] !== NOTHING && (!open || image.labels[i] === NOTHING));
    if (!wanted.length) return say("Nothing is suggested here: name it with a digit.", true);
    spent.clicks++;
    change(wanted, (i) => hints.labels[i], (i) => hints.numbers[i]);
    if (question().open) { show(); return say("Some pixels have no suggestion: click them, and name them with a digit."); }
    say("As suggested.");
    advance();
  };
  const rename = (number) => {
    const { image } = question();
    const label = common(object(), (i) => seen(image, i).labels[i]);
    if (!things.has(label)) return say("Only objects that are counted have numbers.", true);
    spent.clicks++;
    change(object(), label, number);
    say(`${classes[label]} ${number}.`);
    show();
  };
  const another = () => {
    const { image } = question();
    const label = common(object(), (i) => seen(image, i).labels[i]), own = common(object(), (i) => seen(image, i).numbers[i]);
    const numbers = known(image).filter(([c]) => c === label).map(([, n]) => n);
    if (numbers.length) rename(numbers[(numbers.indexOf(own) + 1) % numbers.length]); else rename(free(image));
  };
  const digit = (key) => {
    clearTimeout(timer);
    typed += key;
    const name = () => {
      const number = +typed;
      typed = "";
      if (number > VOID) return say(`There is no class ${number}.`, true);
      answer(number ? number - 1 : VOID);
    };
    const more = +typed > 0 && +typed * 10 <= VOID;
    if (more) { say(`Class ${typed} …`); timer = setTimeout(name, 650); } else name();
    named = name;
  };
  let named = null;

  // Moving on.
  const go = (index) => {
    current = Math.max(0, Math.min(questions.length - 1, index));
    selection = last = null;
    const now = Date.now();
    spent.seconds += Math.min(60, (now - spent.since) / 1000);
    spent.since = now;
    fit();
    show();
  };
  const advance = () => {
    const order = questions.map((_, i) => (current + 1 + i) % questions.length);
    const open = order.find((i) => questions[i].open);
    if (open === undefined) { show(); return say("All parts are answered. Save the answers, and hand the file back."); }
    go(open);
  };

  // Kept in the browser, saved as a file, read again.
  const answers = () => ({
    format: about.format, version: 1, round: about.round, batch: about.digest, annotator: get("name").value.trim(), classes,
    clicks: spent.clicks, seconds: Math.round(spent.seconds),
    images: images.map(kept),
  });
  const kept = (image) => image.saved ||= {
    file: image.file, height: image.height, width: image.width, labels: rolled(image.labels), numbers: rolled(image.numbers),
    centers: told(image),
  };
  const changed = (image) => { image.painted = false; image.saved = null; };
  const told = (image) => {
    const used = new Set();
    image.labels.forEach((label, i) => { if (image.numbers[i] > 0) used.add(`${label},${image.numbers[i]}`); });
    return [...used].map((key) => [key, image.centers.get(key) || image.hints.centers.get(key)]).filter(([, center]) => center)
      .map(([key, [y, x]]) => [...key.split(",").map(Number), y, x]);
  };
  let waiting = 0, warned = false, changedHere = false;
  const write = () => {
    clearTimeout(waiting);
    waiting = 0;
    try { localStorage.setItem(store, JSON.stringify(answers())); } catch {
      if (!warned) say("This browser cannot keep the answers: save them often.", true);
      warned = true;
    }
  };
  const keep = () => { changedHere = true; if (!waiting) waiting = setTimeout(write, 250); };
  const leave = () => { if (changedHere) write(); };  // a page that was only looked at keeps what another has written
  const take = (value) => {
    if (value.format !== about.format || value.batch !== about.digest) throw new Error("answers to other questions");
    for (const saved of value.images) {
      const image = images.find((one) => one.file === saved.file);
      image.labels = unrolled(saved.labels, image.labels.length, Int16Array);
      image.numbers = unrolled(saved.numbers, image.labels.length, Uint16Array);
      image.centers = keyed(saved.centers);
      changed(image);
    }
    get("name").value = value.annotator;
    [spent.clicks, spent.seconds] = [value.clicks, value.seconds];
    undone.length = 0;
    questions.forEach(count);
  };
  const save = () => {
    const name = get("name").value.trim().replace(/[^\p{L}\p{N}_-]+/gu, "_");
    const url = URL.createObjectURL(new Blob([JSON.stringify(answers())], { type: "application/json" }));
    Object.assign(document.createElement("a"), { href: url, download: `answers-${about.round}${name && `-${name}`}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
    const open = questions.filter((q) => q.open).length;
    say(open ? `Saved; ${open} parts are open.` : "Saved. Hand the file back.");
  };

  // The picture: the image, colours over it, the rest dimmed, the part outlined.
  const canvas = get("view"), context = canvas.getContext("2d");
  const view = { scale: 1, x: 0, y: 0 };
  const shade = (label, number) => {
    const mix = number > 1 ? (number * 0.618) % 1 * 0.55 : 0;
    return colors[label].map((value) => Math.round(value + (255 - value) * mix));
  };
  const paint = (image) => {
    if (image.painted) return image.layer;
    image.layer ||= Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    const on = image.layer.getContext("2d"), data = on.createImageData(image.width, image.height);
    for (let i = 0; i < image.parts.length; i++) {
      const { labels, numbers } = seen(image, i), label = labels[i];
      if (!image.parts[i] || label === NOTHING) continue;
      const [r, g, b] = shade(label, numbers[i]);
      const faint = image.labels[i] === NOTHING && (i + Math.floor(i / image.width)) % 2;  // a suggestion is a chequered colour
      data.data.set([r, g, b, faint ? 90 : 255], 4 * i);
    }
    on.putImageData(data, 0, 0);
    image.painted = true;
    return image.layer;
  };
  const rest = (image) => {
    if (image.rest) return image.rest;
    image.rest = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    const on = image.rest.getContext("2d"), data = on.createImageData(image.width, image.height);
    image.parts.forEach((part, i) => { if (!part) data.data[4 * i + 3] = 80; });
    on.putImageData(data, 0, 0);
    return image.rest;
  };
  const outline = (image, pixels) => {
    const inside = new Set(pixels), { width, height } = image, path = new Path2D();
    for (const i of pixels) {
      const x = i % width, y = (i - x) / width;
      if (y === 0 || !inside.has(i - width)) { path.moveTo(x, y); path.lineTo(x + 1, y); }
      if (y === height - 1 || !inside.has(i + width)) { path.moveTo(x, y + 1); path.lineTo(x + 1, y + 1); }
      if (x === 0 || !inside.has(i - 1)) { path.moveTo(x, y); path.lineTo(x, y + 1); }
      if (x === width - 1 || !inside.has(i + 1)) { path.moveTo(x + 1, y); path.lineTo(x + 1, y + 1); }
    }
    return path;
  };
  const stroke = (path, color, width) => {
    context.lineWidth = width / view.scale;
    context.strokeStyle = color;
    context.stroke(path);
  };
  let frame = 0;
  const draw = () => { frame ||= requestAnimationFrame(() => { frame = 0; render(); }); };
  const render = () => {
    const ratio = devicePixelRatio || 1, { clientWidth: w, clientHeight: h } = canvas, { image, pixels } = question();
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) [canvas.width, canvas.height] = [w, h].map((n) => Math.round(n * ratio));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    context.imageSmoothingEnabled = view.scale < 2;
    context.drawImage(image.picture, 0, 0);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = coloured ? get("opacity").value / 100 : 0;
    context.drawImage(paint(image), 0, 0);
    context.globalAlpha = 1;
    context.drawImage(rest(image), 0, 0);
    question().path ||= outline(image, pixels);
    stroke(question().path, "#000", 4);
    stroke(question().path, "#fff", 2);
    if (selection) stroke(selection.path ||= outline(image, selection), "#ff2bd6", 3);
    for (const [c, n, y, x] of kept(image).centers) cross(c, n, y, x);
  };
  const cross = (label, number, y, x) => {
    const size = 7 / view.scale, path = new Path2D();
    path.moveTo(x + 0.5 - size, y + 0.5); path.lineTo(x + 0.5 + size, y + 0.5);
    path.moveTo(x + 0.5, y + 0.5 - size); path.lineTo(x + 0.5, y + 0.5 + size);
    stroke(path, "#000", 4);
    stroke(path, `rgb(${shade(label, number)})`, 2);
  };
  const zoom = (factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) => {
    const scale = Math.max(0.1, Math.min(80, view.scale * factor)), by = scale / view.scale;
    [view.x, view.y, view.scale] = [x - (x - view.x) * by, y - (y - view.y) * by, scale];
    draw();
  };
  const frameBox = (left, top, width, height) => {
    const { clientWidth: w, clientHeight: h } = canvas;
    const free = h - 52;  // the buttons lie below
    view.scale = Math.min(w / width, free / height, 60);
    [view.x, view.y] = [w / 2 - (left + width / 2) * view.scale, free / 2 - (top + height / 2) * view.scale];
    draw();
  };
  const fit = () => {
    const { image, pixels } = question();
    let [x0, y0, x1, y1] = [Infinity, Infinity, 0, 0];
    for (const i of pixels) {
      const x = i % image.width, y = (i - x) / image.width;
      [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
    }
    const margin = Math.max(32, (x1 - x0) / 2, (y1 - y0) / 2);  // surroundings tell what a small part is
    const [left, top] = [Math.max(0, x0 - margin), Math.max(0, y0 - margin)];
    frameBox(left, top, Math.min(image.width, x1 + 1 + margin) - left, Math.min(image.height, y1 + 1 + margin) - top);
  };
  const whole = () => frameBox(0, 0, question().image.width, question().image.height);

  // The panel beside it.
  const chip = (color) => Object.assign(document.createElement("span"), { className: "chip", style: `background: rgb(${color})` });
  const show = () => {
    const { image, pixels, open } = question(), done = questions.filter((q) => !q.open).length;
    get("done").max = questions.length;
    get("done").value = done;
    get("count").textContent = `${done} of ${questions.length}`;
    get("which").textContent = `Part ${current + 1} of ${questions.length} · ${image.file}`;
    const wanted = open ? pixels.filter((i) => image.labels[i] === NOTHING) : pixels;
    const labels = [...new Set(wanted.map((i) => image.hints.labels[i]))].filter((label) => label !== NOTHING);
    get("suggested").replaceChildren(...labels.slice(0, 4).flatMap((label) => [chip(colors[label]), `${classes[label]} `]), labels.length > 4 ? "…" : labels.length ? "" : "No suggestion");
    get("accept").disabled = !labels.length;
    const now = open === pixels.length ? chosen : common(pixels, (i) => image.labels[i]);
    [...get("classes").children].forEach((item) => item.firstChild.setAttribute("aria-pressed", String(+item.dataset.label === now)));
    const own = common(object(), (i) => seen(image, i).numbers[i] > 0 ? `${seen(image, i).labels[i]},${seen(image, i).numbers[i]}` : "");
    get("instances").replaceChildren(...known(image).map(([c, n]) => {
      const item = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button" });
      button.append(chip(shade(c, n)), `${classes[c]} ${n}`);
      button.setAttribute("aria-pressed", String(own === `${c},${n}`));
      button.addEventListener("click", () => { spent.clicks++; change(object(), c, n); say(`${classes[c]} ${n}.`); show(); });
      item.append(button);
      return item;
    }));
    get("objects").hidden = !things.size || !get("instances").children.length;
    get("save").classList.toggle("ready", done === questions.length);
    document.querySelectorAll("[data-tool]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.tool === tool)));
    draw();
  };
  classes.forEach((name, label) => {
    const item = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button" });
    const key = Object.assign(document.createElement("kbd"), { textContent: label === VOID ? 0 : label + 1 });
    item.dataset.label = label;
    button.append(key, chip(colors[label]), name);
    button.addEventListener("click", () => answer(label));
    item.append(button);
    if (label === VOID) get("classes").append(item); else get("classes").insertBefore(item, null);
  });
  document.querySelector("[data-tool=center]").hidden = !things.size;

  // Pointers: a click chooses, paints or sets a centre; drags move or paint; two fingers zoom.
  const pointers = new Map();
  let moved = false, stroked = false;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.x, event.clientY - box.y];
  };
  const pixelAt = ([x, y]) => [Math.floor((x - view.x) / view.scale), Math.floor((y - view.y) / view.scale)];
  const inPart = (image, i) => image.parts[i] === image.parts[question().pixels[0]];
  const brush = (from, to) => {
    const { image } = question(), radius = +get("brush").value / 2, touched = new Set();
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(1, radius)));
    for (let s = 0; s <= steps; s++) {
      const [cx, cy] = [0, 1].map((k) => from[k] + (to[k] - from[k]) * s / steps);
      for (let y = Math.max(0, Math.floor(cy - radius)); y <= Math.min(image.height - 1, cy + radius); y++) {
        for (let x = Math.max(0, Math.floor(cx - radius)); x <= Math.min(image.width - 1, cx + radius); x++) {
          const i = y * image.width + x;
          if (Math.hypot(x - cx, y - cy) <= radius + 0.3 && inPart(image, i)) touched.add(i);
        }
      }
    }
    if (!touched.size) return;
    const number = things.has(chosen) ? painting : 0;
    change(Int32Array.from(touched), chosen, number, { joined: stroked });
    stroked = true;
    draw();
  };
  let painting = 0, lastPixel = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    moved = stroked = false;
    if (pointers.size === 1 && tool === "paint") {
      if (chosen === null) return say("Choose a class first, with its digit.", true);
      selection = null;
      painting = numberFor(chosen);
      lastPixel = pixelAt(place(event));
      brush(lastPixel, lastPixel);
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId), now = place(event);
    if (!before) return;
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const distance = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
      zoom(distance(now) / distance(before), other[0], other[1]);
      moved = true;
    } else if (tool === "paint" && chosen !== null && lastPixel) {
      const to = pixelAt(now);
      brush(lastPixel, to);
      lastPixel = to;
    } else if (moved || Math.hypot(now[0] - before[0], now[1] - before[1]) > 4) {
      view.x += now[0] - before[0];
      view.y += now[1] - before[1];
      moved = true;
      draw();
    } else return;
    pointers.set(event.pointerId, now);
  });
  const end = (event) => {
    const known = pointers.delete(event.pointerId);
    lastPixel = null;
    if (stroked) { stroked = false; spent.clicks++; show(); if (!question().open) say(`${classes[chosen]} painted. Enter goes on.`); else say("Painted. Space takes the rest as suggested."); return; }
    if (!known || moved || event.type === "pointercancel" || pointers.size) return;
    click(pixelAt(place(event)));
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  const click = ([x, y]) => {
    const { image } = question(), i = y * image.width + x;
    if (x < 0 || y < 0 || x >= image.width || y >= image.height) return;
    spent.clicks++;
    if (tool === "center") {
      const label = common(object(), (k) => seen(image, k).labels[k]), number = common(object(), (k) => seen(image, k).numbers[k]);
      if (!number) return say("Name the object first; then click its centre.", true);
      change([], 0, 0);
      image.centers.set(`${label},${number}`, [y, x]);
      changed(image);
      say(`The centre of ${classes[label]} ${number} is set.`);
      return show();
    }
    if (!inPart(image, i)) {
      const other = questions.findIndex((q) => q.image === image && image.parts[i] && image.parts[q.pixels[0]] === image.parts[i]);
      return other < 0 ? say("This is not asked.") : go(other);
    }
    const at = (k) => `${seen(image, k).labels[k]},${seen(image, k).numbers[k]},${image.labels[k] === NOTHING}`, same = at(i);
    last = null;
    selection = question().pixels.filter((k) => at(k) === same);
    const label = seen(image, i).labels[i];
    say(`Chosen: ${label === NOTHING ? "without a suggestion" : classes[label]}, ${selection.length} pixels. A digit names them.`);
    show();
  };
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 300), ...place(event)); }, { passive: false });

  // Keys and buttons.
  const use = (name) => { tool = name; show(); say({ select: "A click chooses a segment.", paint: "Drags paint with the last class.", center: "A click sets the object's centre." }[name]); };
  const size = (by) => { get("brush").value = +get("brush").value + by; say(`Brush: ${get("brush").value} pixels.`); };
  const keys = {
    " ": accept, z: undo, Backspace: undo, ArrowRight: () => go(current + 1), ArrowLeft: () => go(current - 1),
    Enter: () => { if (typed) { clearTimeout(timer); named(); } else advance(); },
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), f: fit, g: whole, s: () => use("select"), p: () => use("paint"),
    c: () => { if (things.size) use("center"); }, n: () => rename(free(question().image)), m: another, o: () => { coloured = !coloured; draw(); },
    "[": () => size(-1), "]": () => size(1), Escape: () => { selection = null; typed = ""; clearTimeout(timer); show(); },
  };
  document.addEventListener("keydown", (event) => {
    const { target: on } = event, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (on.matches("input:not([type=range]), select, textarea") || event.altKey || event.metaKey && key !== "z") return;
    if (event.ctrlKey && key !== "z") return;
    if ((key === "Enter" || key === " ") && on.matches("button, summary, a")) return;
    if (on.matches("input[type=range]") && key.startsWith("Arrow")) return;
    const does = /^\d$/.test(key) ? () => digit(key) : keys[key];
    if (!does) return;
    event.preventDefault();
    does();
  });
  const bind = (id, does) => get(id).addEventListener("click", (event) => { does(); if (event.detail) event.target.closest("button").blur(); });
  for (const [id, does] of Object.entries({ accept, undo, save, fit, whole, in: () => zoom(1.5), out: () => zoom(1 / 1.5), previous: () => go(current - 1), next: () => go(current + 1) })) bind(id, does);
  document.querySelectorAll("[data-tool]").forEach((button) => button.addEventListener("click", () => use(button.dataset.tool)));
  get("opacity").addEventListener("input", draw);
  get("name").addEventListener("input", keep);
  get("load").addEventListener("change", async ({ target: { files: [file] } }) => {
    if (!file) return;
    try { take(JSON.parse(await file.text())); go(0); say(`Read ${file.name}.`); keep(); } catch (error) { say(`${file.name} cannot be read: ${error.message}.`, true); }
  });
  addEventListener("resize", draw);
  get("name").addEventListener("input", keep);
  addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => { if (document.hidden) leave(); });
  window.gbwLabels = { answers, view, questions };

  try { const before = localStorage.getItem(store); if (before) take(JSON.parse(before)); } catch { /* begun anew */ }
  Promise.all(images.map((image) => image.picture.decode().catch(() => {}))).then(() => {
    const open = questions.findIndex((q) => q.open);
    if (!questions.length) return say("Nothing is asked.");
    go(Math.max(0, open));
    say(open < 0 ? "All parts are answered. Save the answers, and hand the file back." : "Name the part by its digit or button; space takes what is suggested.");
    document.documentElement.dataset.ready = "yes";
  });
})();

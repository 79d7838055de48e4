"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const about = JSON.parse(get("about").textContent);
  const { label_divisor: divisor, classes, colors } = about;
  const [photo, overlay, marked] = ["photo", "overlay", "marked"].map(get);
  const [stage, tip, list, status] = ["stage", "tip", "segments", "status"].map(get);

  window.gbwTheme.attach(get("theme"));

  const say = (text, wrong = false) => {
    status.textContent = text;
    status.classList.toggle("wrong", wrong);
  };

  // The model, in a worker.
  const unpacked = (id) => {
    const bytes = Uint8Array.from(atob(get(id).textContent.trim()), (c) => c.charCodeAt(0));
    get(id).remove();
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };

  const waiting = new Map();
  let worker, asked = 0;
  const ask = (action, data, transfer = []) => new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ ...data, action, number: asked }, transfer);
  });
  const load = async () => {
    worker = new Worker(URL.createObjectURL(new Blob([get("worker").textContent], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => {
      const { resolve, reject } = waiting.get(data.number);
      waiting.delete(data.number);
      if (data.error) reject(new Error(data.error)); else resolve(data.result);
    };
    const [runtime, wasm, model] = await Promise.all(["runtime", "wasm", "model"].map(unpacked));
    await ask("load", { runtime, wasm, model }, [wasm, model]);
  };

  // An image, and the size at which the network sees it.
  let ids, sure, width, height, segments = [], chosen = null, current = 0;
  const seenSize = (w, h) => {
    const scale = Math.min((about.short_edge || Math.min(w, h)) / Math.min(w, h), (about.max_size || Math.max(w, h)) / Math.max(w, h));
    return [w, h].map((edge) => Math.max(64, Math.round(edge * scale)));
  };
  const pixelsOf = (image, w, h) => {
    const context = new OffscreenCanvas(w, h).getContext("2d", { alpha: false, willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, w, h);
    return context.getImageData(0, 0, w, h).data;
  };
  const show = async (source, name) => {
    const number = ++current;
    let image;
    try {
      image = await createImageBitmap(source, { colorSpaceConversion: "none" });
    } catch {
      return say(`${name} is no image that this browser can read.`, true);
    }
    await ready;
    if (number !== current) return;
    const shrink = Math.min(1, 2048 / Math.max(image.width, image.height));
    [photo.width, photo.height] = [image.width, image.height].map((edge) => Math.max(1, Math.round(edge * shrink)));
    photo.getContext("2d").drawImage(image, 0, 0, photo.width, photo.height);
    photo.setAttribute("aria-label", `${name}, being computed`);
    [overlay, marked].forEach((canvas) => { canvas.width = canvas.width; });
    [ids, segments] = [null, []];
    list.replaceChildren();
    get("save").hidden = get("heading").hidden = true;
    stage.classList.remove("empty");
    stage.classList.add("busy");
    [width, height] = seenSize(image.width, image.height);
    say(`Computing ${name} at ${width} × ${height} pixels.`);
    try {
      const rgba = pixelsOf(image, width, height);
      const { maps, seconds } = await ask("run", { rgba, width, height }, [rgba.buffer]);
      if (number !== current) return;
      ids = maps.panoptic || maps.semantic.map((c) => c * divisor);
      sure = maps.confidence;
      draw(name);
      say(`${name}: ${segments.length} segments at ${width} × ${height} pixels, in ${seconds.toFixed(1)} seconds.`);
    } catch (error) {
      say(`${name} could not be computed: ${error.message}. A smaller image needs less memory.`, true);
    }
    if (number === current) stage.classList.remove("busy");
  };

  // Segments: [{id, name, color, area, score}], the largest first; objects of one class have shades of its colour.
  const shade = (id) => {
    const number = id % divisor;
    const turn = number ? ((number * 0.618) % 1) * 0.5 - 0.2 : 0;
    return colors[Math.floor(id / divisor)].map((c) => Math.round(turn > 0 ? c + (255 - c) * turn : c * (1 + turn)));
  };
  const collected = () => {
    const found = new Map();
    ids.forEach((id, i) => {
      if (id < 0) return;
      if (!found.has(id)) found.set(id, { id, area: 0, sum: 0 });
      const one = found.get(id);
      one.area += 1;
      one.sum += sure[i];
    });
    return [...found.values()].sort((a, b) => b.area - a.area).map(({ id, area, sum }) => {
      const number = id % divisor;
      return { id, area, name: classes[Math.floor(id / divisor)] + (number ? ` ${number}` : ""), color: shade(id), score: sum / area / 100 };
    });
  };
  const isBorder = (i) => {
    const id = ids[i];
    return ((i + 1) % width && ids[i + 1] !== id) || (i + width < ids.length && ids[i + width] !== id);
  };
  const paint = (canvas, colorOf) => {
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let i = 0; i < ids.length; i += 1) {
      const color = colorOf(i);
      if (color) pixels.data.set(color, 4 * i);
    }
    context.putImageData(pixels, 0, 0);
  };
  const draw = (name) => {
    segments = collected();
    const colorOf = new Map(segments.map(({ id, color }) => [id, [...color, 255]]));
    paint(overlay, (i) => (isBorder(i) ? [255, 255, 255, 255] : colorOf.get(ids[i])));
    list.replaceChildren(...segments.map(entry));
    get("heading").hidden = false;
    photo.setAttribute("aria-label", `${name}: ${segments.map((one) => one.name).join(", ")}`);
    save();
  };
  const entry = ({ id, name, color, score, area }) => {
    const item = document.createElement("li");
    const control = document.createElement("button");
    const part = (kind, text) => {
      const span = document.createElement("span");
      span.className = kind;
      span.textContent = text;
      return span;
    };
    const chip = part("chip", "");
    chip.style.background = `rgb(${color})`;
    control.type = "button";
    control.dataset.id = id;
    control.append(chip, part("what", name), part("score", `${score.toFixed(2)} · ${(100 * area / ids.length).toFixed(1)} %`));
    control.setAttribute("aria-label", `${name}, score ${score.toFixed(2)}, ${(100 * area / ids.length).toFixed(1)} per cent of the image`);
    for (const kind of ["focus", "pointerenter", "click"]) control.addEventListener(kind, () => mark(id));
    for (const kind of ["blur", "pointerleave"]) control.addEventListener(kind, () => mark(null));
    item.append(control);
    return item;
  };
  const mark = (id) => {
    if (id === chosen) return;
    chosen = id;
    for (const control of list.querySelectorAll("button")) control.classList.toggle("on", Number(control.dataset.id) === id);
    if (ids && id !== null) paint(marked, (i) => (ids[i] === id ? [255, 255, 255, 70] : [0, 0, 0, 130]));
    else marked.width = marked.width;
  };

  // By pointer: what lies under it.
  const under = (event) => {
    const box = photo.getBoundingClientRect();
    const scale = Math.min(box.width / photo.width, box.height / photo.height);
    const [w, h] = [photo.width * scale, photo.height * scale];
    const x = Math.floor((event.clientX - box.left - (box.width - w) / 2) / w * width);
    const y = Math.floor((event.clientY - box.top - (box.height - h) / 2) / h * height);
    const inside = ids && x >= 0 && y >= 0 && x < width && y < height;
    return inside ? segments.find(({ id }) => id === ids[y * width + x]) : undefined;
  };
  const point = (event) => {
    const segment = under(event);
    mark(segment ? segment.id : null);
    tip.hidden = !segment;
    if (!segment) return;
    tip.textContent = `${segment.name}\nscore ${segment.score.toFixed(2)}\n${segment.area} pixels`;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 4))}px`;
    tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
  };
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point);
  stage.addEventListener("pointerleave", () => { tip.hidden = true; mark(null); });

  // What is saved is what is seen.
  const save = () => {
    const canvas = new OffscreenCanvas(photo.width, photo.height);
    const context = canvas.getContext("2d");
    context.drawImage(photo, 0, 0);
    context.globalAlpha = get("opacity").value / 100;
    context.drawImage(overlay, 0, 0, photo.width, photo.height);
    canvas.convertToBlob().then((blob) => {
      URL.revokeObjectURL(get("save").href);
      get("save").href = URL.createObjectURL(blob);
      get("save").hidden = false;
    });
  };
  const fade = () => { overlay.style.opacity = get("opacity").value / 100; };
  get("opacity").addEventListener("input", fade);
  get("opacity").addEventListener("change", () => ids && save());
  fade();

  // Images: chosen, or dropped anywhere.
  get("file").addEventListener("change", ({ target }) => {
    if (target.files.length) show(target.files[0], target.files[0].name);
    target.value = "";
  });
  addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
  addEventListener("dragleave", () => stage.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) show(file, file.name);
  });

  const ready = load();
  ready.then(() => {
    if (!current) say("The model is ready.");
  }, (error) => say(`This browser cannot run the model: ${error.message}.`, true));
  const example = get("example");
  if (example) example.decode().then(() => show(example, "The example"));
})();

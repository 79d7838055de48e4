"use strict";
// Runs the model beside the page, which stays usable meanwhile.
let ort, session;
const answers = {
  async load({ runtime, wasm, model }) {
    ort = await import(URL.createObjectURL(new Blob([runtime], { type: "text/javascript" }))); // a URL of the page is none of here
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1; // more need memory that is shared, which a page from a file may not have
    ort.env.logLevel = "error";
    session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
    return {};
  },
  async run({ rgba, width, height }) {
    const rgb = new Uint8Array(width * height * 3);
    for (let i = 0, j = 0; j < rgb.length; i += 4) {
      rgb[j++] = rgba[i];
      rgb[j++] = rgba[i + 1];
      rgb[j++] = rgba[i + 2];
    }
    const start = performance.now();
    const maps = await session.run({ image: new ort.Tensor("uint8", rgb, [height, width, 3]) });
    const seconds = (performance.now() - start) / 1000;
    return { seconds, maps: Object.fromEntries(Object.entries(maps).map(([name, map]) => [name, map.data])) };
  },
};
onmessage = async ({ data }) => {
  try {
    postMessage({ number: data.number, result: await answers[data.action](data) });
  } catch (error) {
    postMessage({ number: data.number, error: String(error && error.message || error) });
  }
};

// BlazeFace on LiteRT.js: finds the faces of a picture here in the browser.

import { loadAndCompile, Tensor } from "@litertjs/core";
import { decode, search, SIDE } from "./blazeface.js";
import { fetchChecked, loadRuntime } from "./head.js";

const FILE = "detector/blazeface_short_range.tflite";
const SHA256 = "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633";
const BYTES = 229032;

/** The face detector, open in LiteRT.js. */
export class Detector {
  constructor(model) {
    this.model = model;
    this.canvas = new OffscreenCanvas(SIDE, SIDE);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context.imageSmoothingQuality = "high";
  }

  /** Fetches and opens it; `folder` is that of the heads. */
  static async open(folder) {
    const file = await fetchChecked(new URL(FILE, folder), { file: FILE, bytes: BYTES, sha256: SHA256 });
    await loadRuntime();
    return new Detector(await loadAndCompile(file, { accelerator: "wasm" }));
  }

  /**
   * Finds the faces of a picture.
   *
   * @param {ImageBitmap} picture not to be closed meanwhile.
   * @returns {Promise<object[]>} boxes of the chips, the largest first.
   */
  find(picture) {
    return search(picture.width, picture.height, (view, mirrored) => this.#look(picture, view, mirrored));
  }

  async #look(picture, { x, y, side, angle }, mirrored) {
    const { context } = this;
    const scale = SIDE / side;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "black"; // beyond the picture's border
    context.fillRect(0, 0, SIDE, SIDE);
    if (mirrored) context.setTransform(-1, 0, 0, 1, SIDE, 0);
    context.translate(SIDE / 2, SIDE / 2);
    context.rotate((-angle * Math.PI) / 180);
    context.scale(scale, scale);
    context.drawImage(picture, -x, -y);
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    const values = new Float32Array(SIDE * SIDE * 3);
    for (let i = 0; i < SIDE * SIDE; i++) {
      for (let channel = 0; channel < 3; channel++) values[3 * i + channel] = data[4 * i + channel] / 127.5 - 1;
    }
    const input = new Tensor(values, [1, SIDE, SIDE, 3]);
    try {
      const outputs = await this.model.run([input]);
      const arrays = await Promise.all(outputs.map((output) => output.data()));
      const [scores, numbers] = arrays.map((array) => Float32Array.from(array)).sort((a, b) => a.length - b.length);
      outputs.forEach((output) => output.delete());
      return decode(scores, numbers);
    } finally {
      input.delete();
    }
  }
}

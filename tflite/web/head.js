// The released heads: their list, their files, and LiteRT.js to run them.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

const FORMAT = 1;
const WASM = new URL("node_modules/@litertjs/core/wasm/", import.meta.url);

async function get(url, what) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`${what} could not be fetched; check that the server is still running.`);
  }
  if (!response.ok) throw new Error(`${what} is not on this server (${response.status}).`);
  return response;
}

/** The list of released heads, checked as far as this page relies on it. */
export async function readList(url) {
  const what = "The list of heads";
  const list = await (await get(url, what)).json().catch(() => null);
  if (list?.format !== FORMAT || !Array.isArray(list.heads)) {
    throw new Error(`${what} has format ${list?.format}, but this page reads format ${FORMAT}; update the page.`);
  }
  if (!list.heads.length) throw new Error(`${what} is empty; write heads with tools/export.py --released.`);
  return list;
}

async function sha256(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bytes of a file, if they are those that were released: `file` names it in sentences. */
export async function fetchChecked(url, { file, bytes, sha256: expected }) {
  const found = new Uint8Array(await (await get(url, file)).arrayBuffer());
  // Pages without a secure context have no crypto.subtle; there the length has to do.
  const right = found.length === bytes && (!crypto.subtle || (await sha256(found)) === expected);
  if (!right) throw new Error(`${file} is damaged or truncated; reload the page.`);
  return found;
}

let runtime;

/** LiteRT.js itself, loaded once. */
export function loadRuntime() {
  return (runtime ??= loadLiteRt(WASM.href));
}

/** A head, open in LiteRT.js. */
export class Head {
  constructor(entry, model) {
    this.entry = entry;
    this.manifest = entry.manifest;
    this.model = model;
  }

  /**
   * Fetches and opens a head.
   *
   * @param {object} entry of the list.
   * @param {string | URL} folder in which the heads lie.
   */
  static async open(entry, folder) {
    const bytes = await fetchChecked(new URL(entry.file, folder), entry);
    await loadRuntime();
    // Without the manifest behind the flatbuffer.
    const flatbuffer = bytes.slice(0, entry.manifest.head.bytes);
    let model;
    try {
      model = await loadAndCompile(flatbuffer, { accelerator: "wasm" });
    } catch (error) {
      throw new Error(`LiteRT.js rejects ${entry.file} (${error.message}); use a newer browser.`);
    }
    return new Head(entry, model);
  }

  /** The head's output for a chip (Uint8Array, RGB), before any rounding or noise. */
  async run(chip) {
    const { size } = this.manifest.input;
    if (chip.length !== size * size * 3) {
      throw new Error(`The chip has ${chip.length} values; this head takes ${size} x ${size} x 3.`);
    }
    const input = new Tensor(Float32Array.from(chip), [1, size, size, 3]);
    try {
      const [output] = await this.model.run([input]);
      const values = Float32Array.from(await output.data());
      output.delete();
      return values;
    } finally {
      input.delete();
    }
  }

  /** Frees the head's memory. */
  close() {
    this.model.delete();
  }
}

/** Largest difference from the golden output, as a share of the tolerance: at most 1 if this browser is right. */
export function goldenShare(output, golden) {
  const differences = golden.features.map((value, i) => Math.abs(value - output[i]));
  return Math.max(...differences) / golden.tolerance;
}

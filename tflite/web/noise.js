// What protects a feature before it leaves the device, from the browser's cryptographic random source: normal noise here,
// codes in codes.js.

import * as codes from "./codes.js";

/** A number above 0 and at most 1, of 53 random bits. */
export function uniform() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return ((high >>> 5) * 67108864 + (low >>> 6) + 0.5) / 9007199254740992;
}

/** A draw of the standard normal distribution (Box and Muller). */
export function gaussian() {
  return Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Step of which everything sent is a multiple, as `privzoo.mechanisms.gaussian` says: sums of floats are not real sums. */
export function grid(sigma) {
  return 2 ** (Math.floor(Math.log2(sigma)) - 20);
}

/** Shrinks a feature that is longer than the radius to it. */
export function clip(feature, radius) {
  const largest = feature.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest === 0) return Float64Array.from(feature);
  // By way of the largest value: the squares of large values would overflow.
  const squares = feature.reduce((sum, value) => sum + (value / largest) ** 2, 0);
  const factor = radius / Math.max(largest * Math.sqrt(squares), radius);
  return Float64Array.from(feature, (value) => value * factor);
}

/** The nearest whole number, halves to the even one, as the head's manifest means by `rounded`. */
export function round(value) {
  const low = Math.floor(value);
  if (value - low === 0.5) return low % 2 === 0 ? low : low + 1;
  return Math.round(value);
}

/**
 * What may leave the device of a head's output.
 *
 * @param {Float32Array} output of the head.
 * @param {object} manifest of the head: `feature.rounded` and `noise`.
 * @param {object} options for a coded head; see `answer` in codes.js.
 * @returns {Promise<Float32Array>} of the same length, with fresh noise where the manifest asks for some; of a coded head
 *   a symbol and its epsilon.
 */
export async function protect(output, manifest, options = {}) {
  if (!output.every(Number.isFinite)) {
    throw new Error("The head's output is not finite, which no noise can hide; nothing was sent.");
  }
  const feature = manifest.feature.rounded ? output.map(round) : output;
  const { noise } = manifest;
  if (noise?.kind === codes.KIND) return codes.answer(feature, manifest, options);
  if (options.epsilon !== undefined || options.permanent !== undefined) {
    throw new Error("This head has no code, so it takes no epsilon and no slot; nothing was sent.");
  }
  if (noise === null) return feature;
  const usable = noise.kind === "gaussian" && noise.sigma > 0 && noise.clip > 0;
  if (!usable || !Number.isFinite(noise.sigma) || !Number.isFinite(noise.clip)) {
    throw new Error("This head needs a kind of noise that the page cannot draw; nothing was sent.");
  }
  const step = grid(noise.sigma);
  const sum = (value) => value + noise.sigma * gaussian();
  return Float32Array.from(clip(feature, noise.clip), (value) => round(sum(value) / step) * step);
}

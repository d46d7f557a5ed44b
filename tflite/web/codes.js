// Codes: the symbol of a feature, and the one that may leave the device. docs/codes.md says all of it byte by byte, and
// privzoo/mechanisms has the guarantee with its proof. All that decides about a draw is whole numbers.

export const KIND = "randomized_response";
export const LEAST_EPSILON = 2 ** -16;
export const MOST_EPSILON = 20;
export const UNIT = 2 ** 32; // the probability of a lie is a multiple of 1 / UNIT
const MOST_SYMBOLS = 256; // one byte on the wire
const PURPOSE = "privzoo permanent 1";

/** Bytes of the browser's cryptographic random source. */
export function systemSource(count) {
  return crypto.getRandomValues(new Uint8Array(count));
}

/** A budget, if a code can keep it. */
export function checkBudget(epsilon) {
  if (!(typeof epsilon === "number" && epsilon >= LEAST_EPSILON && epsilon <= MOST_EPSILON)) {
    throw new Error(`Epsilon ${epsilon} is not a budget for a code; give a number from 0.0001 to ${MOST_EPSILON}.`);
  }
  return epsilon;
}

/** Lies among `UNIT` draws: the largest probability of the truth, rounded down, whose budget is kept. */
export function lies(k, epsilon) {
  // The budget as a fraction, exactly: doubling a float loses nothing.
  let [whole, shift] = [checkBudget(epsilon), 0n];
  for (; !Number.isInteger(whole); shift++) whole *= 2;
  const x = BigInt(whole); // epsilon = x / 2^shift
  // Partial sum of e^epsilon, from below: sum / divisor; the next term is power / next.
  let [terms, sum, divisor, power, next] = [0n, 0n, 1n, 1n, 1n];
  while (terms << shift < 2n * x + (2n << shift) || power << 65n > next) {
    sum = sum * (next / divisor) + power;
    divisor = next;
    terms += 1n;
    power *= x;
    next = (next << shift) * terms;
  }
  const others = BigInt(k - 1);
  const [dividend, by] = [others * BigInt(UNIT) * divisor, sum + others * divisor];
  return Number((dividend + by - 1n) / by);
}

/** A number from 0 to bound - 1 (2^32 at most), exactly uniform. */
async function uniform(bound, source) {
  let size = 1;
  while (256 ** size < bound) size++;
  const limit = Math.floor(256 ** size / bound) * bound;
  for (;;) {
    const drawn = (await source(size)).reduce((value, byte) => 256 * value + byte, 0);
    if (drawn < limit) return drawn % bound;
  }
}

/**
 * One symbol for a true one, by randomized response.
 *
 * @param {number} symbol the true one, 0 to k - 1.
 * @param {number} k symbols of the code.
 * @param {number} lie of `lies`.
 * @param {(count: number) => Uint8Array | Promise<Uint8Array>} source of random bytes; another than `systemSource` is
 *   for permanent answers and for tests.
 */
export async function draw(symbol, k, lie, source = systemSource) {
  // Always two draws, so that neither the bytes taken nor the time show whether the truth was sent.
  const lied = (await uniform(UNIT, source)) < lie;
  const step = 1 + (await uniform(k - 1, source));
  return (symbol + Number(lied) * step) % k;
}

/**
 * The bytes from which a symbol's permanent answer is drawn, the same at each call (HMAC-SHA256 in counter mode).
 *
 * @param {CryptoKey} key HMAC key of the device's secret; see secret.js.
 * @param {{slot: string, book: string, k: number, epsilon: number, symbol: number}} question
 */
export function permanentSource(key, { slot, book, k, epsilon, symbol }) {
  const texts = [slot, book].map((text) => {
    // A lone surrogate has no UTF-8: it would be written as another text's.
    if (typeof text !== "string" || !text || /\p{Surrogate}/u.test(text)) {
      throw new Error("A slot cannot be empty; give the person or the day that the repeated answers are about.");
    }
    return new TextEncoder().encode(text);
  });
  const purpose = new TextEncoder().encode(PURPOSE);
  const block = new Uint8Array(purpose.length + texts.reduce((sum, text) => sum + 4 + text.length, 0) + 16);
  const view = new DataView(block.buffer);
  block.set(purpose);
  let at = purpose.length;
  for (const text of texts) {
    view.setUint32(at, text.length);
    block.set(text, at + 4);
    at += 4 + text.length;
  }
  view.setUint16(at, k);
  view.setFloat64(at + 2, epsilon);
  view.setUint16(at + 10, symbol);
  let [kept, counter] = [[], 0];
  return async (count) => {
    while (kept.length < count) {
      view.setUint32(at + 12, counter++);
      kept.push(...new Uint8Array(await crypto.subtle.sign("HMAC", key, block)));
    }
    return Uint8Array.from(kept.splice(0, count));
  };
}

/** The codebook of a head's manifest, if it is one of its feature. */
export function bookOf({ feature, noise }) {
  const { k, kernel, bias, symbols, name } = noise.codebook ?? {};
  const numbers = (row) => Array.isArray(row) && row.length === symbols.length && row.every(Number.isFinite);
  const usable =
    Number.isInteger(k) && k >= 2 && k <= MOST_SYMBOLS && k === noise.k &&
    typeof name === "string" && Array.isArray(symbols) && Array.isArray(kernel) &&
    kernel.length === feature.shape[0] && feature.shape.length === 1 && [bias, ...kernel].every(numbers) &&
    Math.max(...symbols) === k - 1 && Array.from({ length: k }, (_, i) => i).every((i) => symbols.includes(i));
  if (!usable) throw new Error("This head's code is unreadable, or belongs to another head; nothing was sent.");
  return noise.codebook;
}

/** The true symbol of a feature (Float32Array): that of the region with the largest sum, the first if tied. */
export function symbolOf(feature, { kernel, bias, symbols }) {
  const scores = Float64Array.from(bias);
  feature.forEach((value, i) => kernel[i].forEach((weight, region) => (scores[region] += value * weight)));
  let best = 0;
  scores.forEach((score, region) => score > scores[best] && (best = region));
  return symbols[best];
}

/**
 * What may leave the device of a coded head's feature.
 *
 * @param {Float32Array} feature the head's output.
 * @param {object} manifest of the head.
 * @param {{epsilon?: number, permanent?: {key: CryptoKey, slot: string}}} options the budget, where it is not the
 *   manifest's; and whose answers are repeated instead of freshly drawn.
 * @returns {Promise<Float32Array>} the symbol that may be sent, and the budget that it was drawn under.
 */
export async function answer(feature, manifest, { epsilon = manifest.noise.epsilon, permanent } = {}) {
  const book = bookOf(manifest);
  const lie = lies(book.k, epsilon);
  const symbol = symbolOf(feature, book);
  const source = permanent
    ? permanentSource(permanent.key, { slot: permanent.slot, book: book.name, k: book.k, epsilon, symbol })
    : systemSource;
  return Float32Array.of(await draw(symbol, book.k, lie, source), epsilon);
}

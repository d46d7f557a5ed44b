// Runs the page's modules under node, on cases from standard input, and prints what they gave as JSON.

import { createHash, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { boxOfLandmarks, decode, search } from "../../tflite/web/blazeface.js";
import { boxOfEyes, cutChip } from "../../tflite/web/chip.js";
import * as codes from "../../tflite/web/codes.js";
import { clip, gaussian, protect, round } from "../../tflite/web/noise.js";
import { encode, predict, shortest } from "../../tflite/web/wire.js";
import { attackText, noiseText, promiseText, repeatText, sentText } from "../../tflite/web/words.js";

globalThis.crypto ??= webcrypto;

const given = JSON.parse(readFileSync(0, "utf8"));
const found = {};

/** Results, or the sentences of their errors, one after the other. */
async function inTurn(cases, work) {
  const results = [];
  for (const one of cases) results.push(await work(one).catch((error) => error.message));
  return results;
}

/** The bytes of SHA-256(text | c) for c = 0, 1, ..., as docs/codes.md has them for the golden draws. */
function hashed(text) {
  let [kept, counter] = [Buffer.alloc(0), 0];
  return (count) => {
    while (kept.length < count) {
      const number = Buffer.alloc(4);
      number.writeUInt32BE(counter++);
      kept = Buffer.concat([kept, createHash("sha256").update(text).update(number).digest()]);
    }
    const taken = kept.subarray(0, count);
    kept = kept.subarray(count);
    return taken;
  };
}

/** The key of a secret (hex), as secret.js would keep it. */
function keyOf(secret) {
  return crypto.subtle.importKey("raw", Buffer.from(secret, "hex"), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}


if (given.chips) {
  const { width, height, rgba, cases } = given.chips;
  const photograph = { data: new Uint8ClampedArray(Buffer.from(rgba, "base64")), width, height };
  found.chips = cases.map(({ box, size }) =>
    createHash("sha256").update(cutChip(photograph, box, size)).digest("hex"),
  );
}
if (given.eyes) found.eyes = boxOfEyes(...given.eyes);
if (given.decode) {
  found.decode = given.decode.map(({ scores, numbers }) => decode(Float32Array.from(scores), Float32Array.from(numbers)));
}
if (given.landmarks) found.landmarks = given.landmarks.map((points) => boxOfLandmarks(points));
if (given.search) {
  const { width, height, looks } = given.search; // looks: the rows that each of them gives
  const asked = [];
  const boxes = await search(width, height, async (view) => {
    asked.push([view.x, view.y, view.side, view.angle]);
    return looks[asked.length - 1].map(([score, x, y, right, below, ...rest]) => {
      const points = [0, 1, 2, 3, 4, 5].map((k) => rest.slice(2 * k, 2 * k + 2));
      return { score, low: [x, y], high: [right, below], points };
    });
  });
  found.search = { asked, boxes };
}
if (given.clip) found.clip = given.clip.map(([feature, radius]) => [...clip(Float32Array.from(feature), radius)]);
if (given.round) found.round = given.round.map(round);
if (given.draws) found.draws = Array.from({ length: given.draws }, gaussian);
if (given.protect) {
  found.protect = await inTurn(given.protect, async ({ output, manifest, options }) => {
    return [...(await protect(Float32Array.from(output, Number), manifest, options))];
  });
}
if (given.golden) {
  found.golden = await inTurn(given.golden, async ({ k, epsilon, symbols }) => {
    const [lie, source] = [codes.lies(k, epsilon), hashed("privzoo golden")];
    const sent = [];
    for (const symbol of symbols) sent.push(await codes.draw(symbol, k, lie, source));
    return { lie, sent };
  });
}
if (given.lies) found.lies = await inTurn(given.lies, async ([k, epsilon]) => codes.lies(k, epsilon));
if (given.permanent) {
  found.permanent = await inTurn(given.permanent, async ({ k, epsilon, secret, slot, book }) => {
    const key = await keyOf(secret);
    const lie = codes.lies(k, epsilon);
    const answer = (symbol) => {
      return codes.draw(symbol, k, lie, codes.permanentSource(key, { slot, book, k, epsilon, symbol }));
    };
    return Promise.all(Array.from({ length: k }, (_, symbol) => answer(symbol)));
  });
}
if (given.symbols) {
  found.symbols = given.symbols.map(({ features, codebook }) => {
    return features.map((feature) => codes.symbolOf(Float32Array.from(feature), codebook));
  });
}
if (given.repeated) {
  const { output, manifest, secret, slot, times } = given.repeated;
  const permanent = { key: await keyOf(secret), slot };
  found.repeated = await inTurn(Array(times).fill(output), async (one) => {
    return [...(await protect(Float32Array.from(one), manifest, { permanent }))];
  });
}
if (given.sent) {
  const { output, manifest, epsilon, times } = given.sent;
  found.sent = await inTurn(Array(times).fill(output), async (one) => {
    return [...(await protect(Float32Array.from(one), manifest, { epsilon }))];
  });
}
if (given.words) {
  const { manifest, feature, k, epsilon } = given.words;
  const entry = { manifest, measurements: [] };
  found.words = [promiseText(k, epsilon), repeatText(k, epsilon), noiseText(feature, manifest)];
  found.words.push(sentText(feature, manifest, 87), attackText(feature, entry));
}
if (given.shortest) found.shortest = given.shortest.map((bits) => {
  return shortest(new Float32Array(new Uint32Array([bits]).buffer)[0]);
});
if (given.encode) found.encode = encode(Float32Array.from(given.encode.feature), given.encode.manifest);
if (given.replies) {
  found.replies = [];
  for (const { status, body, output } of given.replies) {
    const manifest = { classes: ["male", "female"], tail: { signature: "tail_0123456789ab" }, output };
    globalThis.fetch = async () => {
      if (status === 0) throw new TypeError("fetch failed");
      return new Response(body, { status });
    };
    try {
      const { label, probabilities } = await predict("{}", manifest, "gender");
      found.replies.push({ label, probabilities });
    } catch (error) {
      found.replies.push(error.message);
    }
  }
}
console.log(JSON.stringify(found));

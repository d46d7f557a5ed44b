// Runs the page's modules under node, on cases from standard input, and prints what they gave as JSON.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { boxOfLandmarks, decode, search } from "../../tflite/web/blazeface.js";
import { boxOfEyes, cutChip } from "../../tflite/web/chip.js";
import { clip, gaussian, protect, round } from "../../tflite/web/noise.js";
import { encode, predict, shortest } from "../../tflite/web/wire.js";

const given = JSON.parse(readFileSync(0, "utf8"));
const found = {};

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
  const { width, height, views } = given.search;
  const asked = [];
  await search(width, height, async (view) => {
    asked.push([view.x, view.y, view.side, view.angle]);
    return views[asked.length - 1] ?? [];
  });
  found.search = asked;
}
if (given.clip) found.clip = given.clip.map(([feature, radius]) => [...clip(Float32Array.from(feature), radius)]);
if (given.round) found.round = given.round.map(round);
if (given.draws) found.draws = Array.from({ length: given.draws }, gaussian);
if (given.protect) {
  found.protect = given.protect.map(({ output, manifest }) => {
    try {
      return [...protect(Float32Array.from(output, Number), manifest)];
    } catch (error) {
      return error.message;
    }
  });
}
if (given.shortest) found.shortest = given.shortest.map((bits) => {
  return shortest(new Float32Array(new Uint32Array([bits]).buffer)[0]);
});
if (given.encode) found.encode = encode(Float32Array.from(given.encode.feature), given.encode.manifest);
if (given.replies) {
  found.replies = [];
  const manifest = { classes: ["male", "female"], tail: { signature: "tail_0123456789ab" } };
  for (const { status, body } of given.replies) {
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

// The page's sentences about numbers and budgets.

import { KIND, lies, UNIT } from "./codes.js";

const PEOPLE = 100; // among whom an attacker identifies the person; as in privzoo/mechanisms/bounds.py

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
export const bytes = (count) => `${count.toLocaleString("en")} ${count === 1 ? "byte" : "bytes"}`;
const isCode = ({ noise }) => noise?.kind === KIND;

/** Share of the draws that send the true symbol. */
const truth = (k, epsilon) => 1 - lies(k, epsilon) / UNIT;

/** Rounds up to three digits. */
function roundedUp(value) {
  const unit = 10 ** (Math.floor(Math.log10(value)) - 2);
  return Number((Math.ceil(value / unit) * unit).toPrecision(3));
}

/** Highest share of 100 equally likely people that any attacker can identify from one answer. */
function highestTop1(k, epsilon) {
  // Rounded up, as bounds are.
  return percent(Math.min(1, Math.ceil(1e4 * ((k * truth(k, epsilon)) / PEOPLE)) / 1e4), 2);
}

/** What the budget of one answer guarantees. */
export function promiseText(k, epsilon) {
  const times = roundedUp(Math.exp(epsilon)).toLocaleString("en", { maximumFractionDigits: 6 });
  return (
    `Epsilon ${epsilon} guarantees: whichever face is in front of the camera, no answer is more than ${times} times as ` +
    `likely as for any other face. From one answer, nobody can identify more than ${highestTop1(k, epsilon)} of ` +
    `${PEOPLE} equally likely people, whatever else they know; chance is ${percent(1 / PEOPLE, 2)}. The true one of ` +
    `the ${k} symbols is sent in ${percent(truth(k, epsilon), 2)} of the draws.`
  );
}

/** What repeating an answer guarantees, and what it costs. */
export function repeatText(k, epsilon) {
  return (
    `Repeating an answer costs nothing more; all questions about this name together cost at most epsilon ` +
    `${+(k * epsilon).toPrecision(6)}. The price: anyone who gets the answers can see that they come from one device, ` +
    `and where the symbols differed.`
  );
}

/** What was spent since the page was opened. */
export function spentText(total) {
  return `Spent since this page was opened, if it was all about one person: epsilon ${+total.toPrecision(6)}.`;
}

/** How much was sent. */
export function sentText(feature, manifest, sent) {
  if (isCode(manifest)) {
    return `One of ${manifest.noise.k} symbols, 1 byte, and its epsilon; ${bytes(sent)} as JSON`;
  }
  const numbers = `${feature.length.toLocaleString("en")} numbers`;
  return `${numbers}, ${bytes(sent)} as JSON (${bytes(manifest.feature.bytes)} as float32)`;
}

/** What protects the numbers that were sent. */
export function noiseText(feature, { noise }) {
  if (noise === null) return "This model adds no noise.";
  if (isCode({ noise })) return promiseText(noise.k, +feature[1].toPrecision(6));
  const epsilon = roundedUp(noise.epsilon);
  return (
    `With fresh noise of standard deviation ${noise.sigma.toPrecision(3)} on each, drawn here (epsilon ${epsilon}, ` +
    `delta ${noise.delta}); every request spends that again.`
  );
}

/** The strongest identity attack on the feature in the card's measurements, as in Card.identity_attack. */
export function attackText(feature, { manifest, measurements }) {
  const attacks = measurements.filter((m) => m.metric === "identity attack, top-1" && m.variant.includes(", feature"));
  const worst = attacks.reduce((one, other) => (!one || other.value > one.value ? other : one), null);
  const tried = worst
    ? `${percent(worst.value)} for the strongest attack measured (${percent(worst.low)} to ` +
      `${percent(worst.high)}; ${worst.metric}, ${worst.variant}, ${worst.data}, ` +
      `${worst.count.toLocaleString("en")} faces).`
    : "not measured yet.";
  if (!isCode(manifest)) return tried;
  const most = highestTop1(manifest.noise.k, +feature[1].toPrecision(6));
  return (
    `at most ${most} of ${PEOPLE} people, for any attacker, from this answer alone; ` +
    (worst ? tried : "no attack was measured yet.")
  );
}

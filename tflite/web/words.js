// What the page says in words of numbers and budgets.

import { KIND, lies, UNIT } from "./codes.js";

const PEOPLE = 100; // among whom an attacker has to find the one; the bound of privzoo/mechanisms/bounds.py

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
export const bytes = (count) => `${count.toLocaleString("en")} ${count === 1 ? "byte" : "bytes"}`;
const isCode = ({ noise }) => noise?.kind === KIND;

/** Share of the draws that send the true symbol. */
const truth = (k, epsilon) => 1 - lies(k, epsilon) / UNIT;

/** Three digits, never below the number. */
function roundedUp(value) {
  const unit = 10 ** (Math.floor(Math.log10(value)) - 2);
  return Number((Math.ceil(value / unit) * unit).toPrecision(3));
}

/** Highest share of faces of 100 equally likely people that any attacker can name from one answer. */
function highestTop1(k, epsilon) {
  // Rounded up, as bounds are.
  return percent(Math.min(1, Math.ceil(1e4 * ((k * truth(k, epsilon)) / PEOPLE)) / 1e4), 2);
}

/** What a budget of one answer promises. */
export function promiseText(k, epsilon) {
  const times = roundedUp(Math.exp(epsilon)).toLocaleString("en", { maximumFractionDigits: 6 });
  return (
    `Epsilon ${epsilon} promises: whichever face is before the camera, no answer is more than ${times} times as likely ` +
    `as for any other face. From one answer, nobody can name more than ${highestTop1(k, epsilon)} of ${PEOPLE} equally ` +
    `likely people, whatever else they know; ${percent(1 / PEOPLE, 2)} is a blind guess. The true one of the ${k} ` +
    `symbols is sent in ${percent(truth(k, epsilon), 2)} of the draws.`
  );
}

/** What repeating an answer promises, and what it costs. */
export function repeatText(k, epsilon) {
  return (
    `Asking again with the same answer for the face costs nothing more; all that is asked about this name together ` +
    `costs at most epsilon ${+(k * epsilon).toPrecision(6)}. The price: whoever gets the answers can see that they ` +
    `come from one device, and in which of them the symbols differed.`
  );
}

/** What was spent since the page was opened. */
export function spentText(total) {
  return `Spent since this page was opened, if all was about one person: epsilon ${+total.toPrecision(6)}.`;
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
    `With fresh noise of deviation ${noise.sigma.toPrecision(3)} on each, drawn here (epsilon ${epsilon}, delta ` +
    `${noise.delta}); every question spends that again.`
  );
}

/** The strongest identity attack on the feature among the card's measurements, as Card.identity_attack. */
export function attackText(feature, { manifest, measurements }) {
  const attacks = measurements.filter((m) => m.metric === "identity attack, top-1" && m.variant.includes(", feature"));
  const worst = attacks.reduce((one, other) => (!one || other.value > one.value ? other : one), null);
  const tried = worst
    ? `by the strongest attack that was tried, ${percent(worst.value)} (${percent(worst.low)} to ` +
      `${percent(worst.high)}; ${worst.metric}, ${worst.variant}, ${worst.data}, ` +
      `${worst.count.toLocaleString("en")} faces).`
    : "not measured yet.";
  if (!isCode(manifest)) return tried;
  const most = highestTop1(manifest.noise.k, +feature[1].toPrecision(6));
  return (
    `at most ${most} of ${PEOPLE} people, whoever attacks, from this answer alone; ` +
    (worst ? tried : "no attack was measured yet.")
  );
}

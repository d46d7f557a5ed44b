// TF Serving's REST protocol: a feature out, probabilities in.

const SECONDS = 10;

/** The number with the fewest digits that is this float32. */
export function shortest(value) {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return Number(value.toPrecision(9));
}

function nested(values, shape) {
  if (shape.length === 1) return values;
  const step = values.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => nested(values.slice(i * step, (i + 1) * step), shape.slice(1)));
}

/** Body of a predict request for one feature (Float32Array) of a head, or for one symbol and its epsilon. */
export function encode(feature, manifest) {
  const { name, budget, shape } = manifest.feature;
  const numbers = Array.from(feature, shortest);
  const instance = budget ? { [name]: numbers[0], [budget]: numbers[1] } : nested(numbers, shape);
  return JSON.stringify({ signature_name: manifest.tail.signature, instances: [instance] });
}

async function errorText(response) {
  try {
    const { error } = await response.json();
    return typeof error === "string" ? error : null;
  } catch {
    return null;
  }
}

async function refusal(response, model, signature) {
  const reason = await errorText(response);
  if (reason?.includes(signature)) {
    return `The server's model ${model} is not the tail of this head; serve the one that was exported with it.`;
  }
  if (response.status === 404) return `The server has no model ${model}; start it with --model_name ${model}.`;
  return `The server refused the request (${response.status}${reason ? `: ${reason}` : ""}).`;
}

/**
 * Sends a body and waits for the answer.
 *
 * @param {string} body of `encode`.
 * @param {object} manifest of the head.
 * @param {string} model its tail's name on the server.
 * @returns {{probabilities: Record<string, number>, label: string, milliseconds: number}}
 */
export async function predict(body, manifest, model) {
  const start = performance.now();
  let response;
  try {
    response = await fetch(`/v1/models/${encodeURIComponent(model)}:predict`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: AbortSignal.timeout(SECONDS * 1000),
    });
  } catch (error) {
    const how = error.name === "TimeoutError" ? `did not answer within ${SECONDS} s` : "cannot be reached";
    throw new Error(`The server ${how}; check that it is still running.`);
  }
  if (!response.ok) throw new Error(await refusal(response, model, manifest.tail.signature));
  const row = await response.json().then((reply) => reply.predictions?.[0], () => null);
  const milliseconds = performance.now() - start;
  const { classes } = manifest;
  const attributes = manifest.output === "attributes"; // each present or not; without the entry, one of the classes
  if (!Array.isArray(row) || row.length !== classes.length || !row.every(Number.isFinite)) {
    throw new Error(`The server answered with something other than ${classes.length} probabilities.`);
  }
  return {
    probabilities: Object.fromEntries(classes.map((name, i) => [name, row[i]])),
    label: attributes
      ? classes.filter((_, i) => row[i] > 0.5).join(", ") || "no attribute"
      : classes[row.indexOf(Math.max(...row))],
    milliseconds,
  };
}

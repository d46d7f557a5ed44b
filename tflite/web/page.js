// The page: picture in, numbers out, answer shown.

import { Budget } from "./budget.js";
import { cutChip, decode, pixelsUnder } from "./chip.js";
import { Detector } from "./detector.js";
import { Frame } from "./frame.js";
import { goldenShare, Head, readList } from "./head.js";
import { protect } from "./noise.js";
import { encode, predict, shortest } from "./wire.js";
import { attackText, bytes, noiseText, percent, sentText } from "./words.js";

const SHOWN_NUMBERS = 32;
const BY_HAND = "This browser cannot detect faces: drag the frame, or tap on both eyes.";
const FOLLOW_MS = 200; // between two face detections on the camera
const FOLDER = new URL("../", import.meta.url); // heads, their list and golden pictures are next to web/
const element = (id) => document.getElementById(id);

const frame = new Frame(element("photo"), element("size"));
const budget = new Budget(element);
let list, head, detector, stream, source; // detector: a promise of it, or of null; source: of the picture, { name, bytes or null }

function complain(error) {
  element("trouble").textContent = error ? error.message : "";
  element("trouble").hidden = !error;
}

/** Runs a button's action; errors become a sentence on the page. */
async function attempt(what) {
  complain(null);
  try {
    await what();
  } catch (error) {
    console.error(error);
    complain(error);
  }
}

async function choose() {
  element("ask").disabled = true;
  element("results").hidden = true;
  element("state").textContent = "Loading the model.";
  head?.close();
  head = null;
  budget.show(null);
  const entry = list.heads[element("model").selectedIndex];
  try {
    head = await Head.open(entry, FOLDER);
    const share = goldenShare(await head.run(await goldenChip(entry)), entry.golden);
    if (!(share <= 1)) throw new Error(`This browser computes ${entry.file} wrongly; use another or a newer one.`);
    element("state").dataset.golden = share;
    element("state").textContent =
      `Ready: ${entry.description} ${bytes(entry.bytes)}; this browser reproduces its golden output.`;
    budget.show(entry.manifest);
    element("ask").disabled = !frame.picture;
  } catch (error) {
    element("state").textContent = "The model is not ready.";
    throw error;
  }
}

async function fetched(name) {
  const response = await fetch(new URL(name, FOLDER));
  if (!response.ok) throw new Error(`${name} is not on this server (${response.status}).`);
  return response.blob();
}

/** Cut here from the golden photograph, to check decoder, arithmetic and head together. */
async function goldenChip({ golden, manifest }) {
  const photograph = await decode(await fetched(golden.photograph));
  return cutChip(...pixelsUnder(photograph, golden.box), manifest.input.size);
}

function show(picture, from, box) {
  frame.show(picture, box, from.name === source?.name);
  source = from;
  element("ask").disabled = !head;
}

/** Frames the largest face in the picture shown, and reports what was found. */
async function frameFace(picture) {
  const own = await createImageBitmap(picture); // the shown one is closed as soon as another is shown
  try {
    if (!(await detector)) return;
    if (frame.picture === picture) tell("Looking for a face.");
    const boxes = await (await detector).find(own);
    if (frame.picture !== picture || frame.touched) return; // another was opened in the meantime, or the user was faster
    if (boxes.length) frame.frame(boxes[0]);
    tell(foundText(boxes));
  } finally {
    own.close();
  }
}

function foundText(boxes) {
  if (!boxes.length) return "No face was found: drag the frame, or tap on both eyes.";
  return boxes.length === 1 ? "A face was found." : `${boxes.length} faces were found; the largest is framed.`;
}

function tell(text) {
  element("found").textContent = text;
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
}

const CAMERA_TROUBLES = {
  NotAllowedError: "The camera is not allowed; allow it for this page, or choose a photograph.",
  NotFoundError: "There is no camera; choose a photograph.",
  NotReadableError: "Another program is using the camera; close it, or choose a photograph.",
};

async function openCamera() {
  stopCamera();
  if (!navigator.mediaDevices) {
    throw new Error("The camera needs a page served over https or from this machine; choose a photograph.");
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch (error) {
    throw new Error(CAMERA_TROUBLES[error.name] ?? `The camera did not start (${error.name}); choose a photograph.`);
  }
  const video = element("video");
  video.srcObject = stream;
  await video.play();
  const mine = stream;
  const draw = async () => {
    if (stream !== mine) return;
    if (video.videoWidth) {
      const picture = await createImageBitmap(video);
      if (stream !== mine) return; // a photograph was opened in the meantime
      show(picture, { name: "camera", bytes: null });
    }
    requestAnimationFrame(draw);
  };
  // Parallel to the drawing, on its own frames: the drawn ones are closed as soon as the next one arrives.
  const follow = async () => {
    const finder = await detector;
    // Until the user moves the frame.
    while (finder && stream === mine && !frame.touched) {
      if (video.videoWidth && frame.picture) {
        const picture = await createImageBitmap(video);
        const boxes = await finder.find(picture);
        picture.close();
        if (stream !== mine || frame.touched) return;
        if (boxes.length) frame.frame(boxes[0]);
        tell(foundText(boxes));
      }
      await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
    }
  };
  frame.touched = false;
  draw();
  follow().catch((error) => {
    console.warn(error);
    tell(BY_HAND);
  });
}

async function openFile(event) {
  const [file] = event.target.files;
  if (!file) return;
  stopCamera();
  const picture = await decode(file);
  frame.touched = false;
  show(picture, { name: file.name, bytes: file.size });
  await frameFace(picture);
}

async function openExample() {
  stopCamera();
  const { golden } = list.heads[element("model").selectedIndex];
  const blob = await fetched(golden.photograph);
  show(await decode(blob), { name: golden.photograph, bytes: blob.size }, golden.box);
  tell("");
}

async function ask() {
  const { manifest, entry } = head;
  element("ask").disabled = true;
  try {
    const chip = cutChip(...pixelsUnder(frame.picture, frame.box), manifest.input.size);
    const options = await budget.options(); // throws before anything is computed
    const begin = performance.now();
    const feature = await protect(await head.run(chip), manifest, options);
    budget.spend(manifest, options);
    const milliseconds = performance.now() - begin;
    const body = encode(feature, manifest);
    const model = new URLSearchParams(location.search).get("model") ?? manifest.model;
    const answer = await predict(body, manifest, model);
    report({ entry, chip, feature, body, answer, milliseconds });
  } finally {
    element("ask").disabled = false;
  }
}

function items(id, texts) {
  element(id).replaceChildren(
    ...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
  );
}

function report({ entry, chip, feature, body, answer, milliseconds }) {
  const { manifest } = entry;
  element("label").textContent = answer.label;
  items("probabilities", Object.entries(answer.probabilities).map(([name, share]) => `${name} ${percent(share)}`));
  const sent = new TextEncoder().encode(body).length;
  element("sent_bytes").textContent = sentText(feature, manifest, sent);
  const texts = Array.from(feature.slice(0, SHOWN_NUMBERS), (value) => String(shortest(value)));
  items("sent", feature.length > SHOWN_NUMBERS ? [...texts, "and so on"] : texts);
  element("noise").textContent = noiseText(feature, manifest);
  drawChip(chip, manifest.input.size);
  element("picture_bytes").textContent =
    (source.bytes === null ? "" : `the photograph, ${bytes(source.bytes)}, or `) + `the face, ${bytes(chip.length)}`;
  element("attack").textContent = attackText(feature, entry);
  element("times").textContent =
    `${milliseconds.toFixed(0)} ms for the head on this device, ${answer.milliseconds.toFixed(0)} ms for the answer.`;
  element("body").textContent = body.slice(0, 4000);
  element("results").hidden = false;
}

function drawChip(chip, size) {
  const canvas = element("chip");
  canvas.width = canvas.height = size;
  const image = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) image.data.set([...chip.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function start() {
  list = await readList(new URL("manifest.json", FOLDER));
  element("model").replaceChildren(
    ...list.heads.map(
      ({ model, kind, quantization }) => new Option(`${model} (${kind === "full" ? "" : `${kind}, `}${quantization})`),
    ),
  );
  element("model").disabled = false;
  element("model").addEventListener("change", () => attempt(choose));
  element("camera").addEventListener("click", () => attempt(openCamera));
  element("file").addEventListener("change", (event) => attempt(() => openFile(event)));
  element("example").addEventListener("click", () => attempt(openExample));
  element("ask").addEventListener("click", () => attempt(ask));
  detector = Detector.open(FOLDER).catch((error) => {
    console.warn(error);
    tell(BY_HAND);
    return null;
  });
  detector.then((opened) => (element("found").dataset.detector = opened ? "blazeface" : "none"));
  await choose();
}

attempt(start);

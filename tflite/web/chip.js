// From a photograph to the head's input, to the last bit as docs/face_chip.md specifies it.

const ONE = 4194304; // weights are multiples of 1 / ONE

/** For each output pixel: the first input pixel under the triangle, and the integer weights from there on. */
export function triangleWeights(size, chipSize) {
  const scale = size / chipSize;
  const support = Math.max(scale, 1);
  const table = [];
  for (let i = 0; i < chipSize; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let j = first; j < last; j++) weights.push(Math.max(0, 1 - Math.abs((j - centre + 0.5) / support)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    table.push({ first, weights: weights.map((weight) => Math.trunc((weight / total) * ONE + 0.5)) });
  }
  return table;
}

/**
 * Cuts a face chip.
 *
 * @param {{data: Uint8ClampedArray | Uint8Array, width: number, height: number}} photograph RGBA pixels.
 * @param {{x: number, y: number, size: number, angle?: number}} box the chip's square in it, whole pixels; may pass the
 *   border; degrees by which the face in it is turned clockwise.
 * @param {number} chipSize side of the chip in pixels.
 * @returns {Uint8Array} RGB, row by row, chipSize * chipSize * 3 values.
 */
export function cutChip(photograph, box, chipSize) {
  return box.angle ? cutTurned(photograph, box, chipSize) : cutUpright(photograph, box, chipSize);
}

/** Sine and cosine to 2^-16, and by how many pixels the upright square around a turned one is larger on each side. */
function turned({ size, angle }) {
  const radians = (angle * Math.PI) / 180;
  const [cosine, sine] = [Math.cos(radians), Math.sin(radians)].map((value) => halfToEven(65536 * value));
  return { cosine, sine, border: Math.max(0, Math.ceil((size * (Math.abs(cosine) + Math.abs(sine) - 65536)) / 131072)) };
}

function halfToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

function cutTurned(photograph, box, chipSize) {
  const { cosine, sine, border } = turned(box);
  const around = box.size + 2 * border;
  const side = Math.max(2, Math.floor((2 * around * chipSize + box.size) / (2 * box.size)));
  const upright = cutUpright(photograph, { x: box.x - border, y: box.y - border, size: around }, side);
  const last = side - 1;
  const limited = (value) => Math.min(Math.max(value, 0), last);
  const chip = new Uint8Array(chipSize * chipSize * 3);
  for (let r = 0; r < chipSize; r++) {
    for (let c = 0; c < chipSize; c++) {
      const right = 2 * c + 1 - chipSize;
      const below = 2 * r + 1 - chipSize;
      const u = last * 65536 + right * cosine - below * sine;
      const v = last * 65536 + right * sine + below * cosine;
      const [fx, fy] = [(u >> 9) & 255, (v >> 9) & 255];
      const columns = [limited(u >> 17), limited((u >> 17) + 1)];
      const rows = [limited(v >> 17), limited((v >> 17) + 1)].map((row) => row * side);
      for (let channel = 0; channel < 3; channel++) {
        const at = (row, column) => upright[(rows[row] + columns[column]) * 3 + channel];
        const upper = at(0, 0) * (256 - fx) + at(0, 1) * fx;
        const lower = at(1, 0) * (256 - fx) + at(1, 1) * fx;
        chip[(r * chipSize + c) * 3 + channel] = (upper * (256 - fy) + lower * fy + 32768) >> 16;
      }
    }
  }
  return chip;
}

function cutUpright(photograph, box, chipSize) {
  const { data, width, height } = photograph;
  const { x, y, size } = box;
  const limited = (value, most) => Math.min(Math.max(value, 0), most);
  const columns = Int32Array.from({ length: size }, (_, c) => 4 * limited(x + c, width - 1));
  const table = size === chipSize ? null : triangleWeights(size, chipSize);
  const narrow = new Uint8Array(size * chipSize * 3); // each row of the square, resized
  for (let r = 0; r < size; r++) {
    const row = 4 * width * limited(y + r, height - 1);
    for (let i = 0; i < chipSize; i++) {
      for (let channel = 0; channel < 3; channel++) {
        const at = (r * chipSize + i) * 3 + channel;
        if (!table) {
          narrow[at] = data[row + columns[i] + channel];
          continue;
        }
        const { first, weights } = table[i];
        let total = ONE / 2;
        for (let j = 0; j < weights.length; j++) total += weights[j] * data[row + columns[first + j] + channel];
        narrow[at] = limited(total >> 22, 255);
      }
    }
  }
  if (!table) return narrow;
  const chip = new Uint8Array(chipSize * chipSize * 3);
  for (let i = 0; i < chipSize; i++) {
    const { first, weights } = table[i];
    for (let at = 0; at < chipSize * 3; at++) {
      let total = ONE / 2;
      for (let j = 0; j < weights.length; j++) total += weights[j] * narrow[(first + j) * chipSize * 3 + at];
      chip[i * chipSize * 3 + at] = limited(total >> 22, 255);
    }
  }
  return chip;
}

/** The box of a face by the centres of its two eyes, in whole pixels. */
export function boxOfEyes(one, other) {
  const size = Math.max(1, Math.round(2.45 * Math.hypot(one.x - other.x, one.y - other.y)));
  return {
    x: Math.round((one.x + other.x) / 2 - 0.5 * size),
    y: Math.round((one.y + other.y) / 2 - 0.28 * size),
    size,
  };
}

/**
 * Unscaled pixels of the part of a picture that a box needs; a phone's whole photograph may be too large for a canvas.
 *
 * @param {CanvasImageSource} picture as decoded by `decode`, or a frame of the camera.
 * @returns the photograph and box for `cutChip`.
 */
export function pixelsUnder(picture, box) {
  const border = box.angle ? turned(box).border : 0;
  const left = Math.min(Math.max(box.x - border, 0), picture.width - 1);
  const top = Math.min(Math.max(box.y - border, 0), picture.height - 1);
  const right = Math.max(left + 1, Math.min(box.x + box.size + border, picture.width));
  const bottom = Math.max(top + 1, Math.min(box.y + box.size + border, picture.height));
  const canvas = new OffscreenCanvas(right - left, bottom - top);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // under transparent pixels
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, -left, -top);
  const photograph = context.getImageData(0, 0, canvas.width, canvas.height);
  return [photograph, { ...box, x: box.x - left, y: box.y - top }];
}

/** Decodes an image file without any colour management, upright. */
export async function decode(blob) {
  try {
    return await createImageBitmap(blob, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
      imageOrientation: "from-image",
    });
  } catch {
    throw new Error("This file is not a picture the browser can read; choose a JPEG or PNG photograph.");
  }
}

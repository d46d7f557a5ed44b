// From what BlazeFace gives to the squares of faces: the arithmetic of docs/face_chip.md, step 2. No browser in sight.

export const SIDE = 128; // pixels of the network's square input
const GRIDS = [[16, 2], [8, 6]]; // cells in a row, anchors in a cell
const OVERLAP = 0.3;
const TURNS = [0, 90, 180, 270];
const [WIDE, NEAR, FURTHER] = [1.8, 2.2, [2.6, 3.2]];
const TILES = [[0.5, 0.35], [0.2, 0.144]];
const [MIN_TILE_SIDE, MIN_SIDE] = [96, 12];
const [MIN_FIRST, MIN_TURNED, MIN_TILE, MIN_SECOND, SURE, MIN_MEAN] = [0.5, 0.7, 0.6, 0.55, 0.8, 0.7];
const [PLAIN, MIN_MEAN_TURNED, UPRIGHT, MAX_TURN] = [0.85, 0.75, 45, 25];
const [GROW, DOWN, TOWARDS_MOUTH, LEVEL] = [1.748, 0.075, 0.3, 10];

const ANCHORS = GRIDS.flatMap(([cells, many]) =>
  Array.from({ length: cells * cells * many }, (_, i) => {
    const cell = Math.floor(i / many);
    return [((cell % cells) + 0.5) / cells, (Math.floor(cell / cells) + 0.5) / cells];
  }),
);

/**
 * Faces in one view.
 *
 * @param {Float32Array} scores 896 numbers, as the network gives them.
 * @param {Float32Array} numbers 896 x 16, pixels from the anchors.
 * @returns rows of { score, low: [x, y], high: [x, y], points: six [x, y] }, in shares of the view, the best first.
 */
export function decode(scores, numbers) {
  const rows = [];
  ANCHORS.forEach(([x, y], i) => {
    if (!(scores[i] > 0)) return;
    const pair = (k) => [numbers[16 * i + 2 * k] / SIDE, numbers[16 * i + 2 * k + 1] / SIDE];
    const [[cx, cy], [width, height]] = [pair(0), pair(1)];
    if (!(width > 0 && height > 0)) return;
    rows.push({
      score: 1 / (1 + Math.exp(-Math.min(scores[i], 80))),
      low: [cx + x - width / 2, cy + y - height / 2],
      high: [cx + x + width / 2, cy + y + height / 2],
      points: [2, 3, 4, 5, 6, 7].map(pair).map(([px, py]) => [px + x, py + y]),
    });
  });
  return merge(rows);
}

function overlap(one, other) {
  const length = (axis) => Math.max(0, Math.min(one.high[axis], other.high[axis]) - Math.max(one.low[axis], other.low[axis]));
  const area = ({ low, high }) => (high[0] - low[0]) * (high[1] - low[1]);
  const common = length(0) * length(1);
  return common / (area(one) + area(other) - common);
}

/** Of rows that overlap, the mean weighted by score, with the best score. */
function merge(rows) {
  let rest = rows.map((row, i) => [row, i]).sort(([a, i], [b, j]) => b.score - a.score || i - j).map(([row]) => row);
  const found = [];
  while (rest.length) {
    const [best] = rest;
    const same = rest.filter((row) => row === best || overlap(best, row) > OVERLAP);
    const total = same.reduce((sum, row) => sum + row.score, 0);
    const mean = (pick) => [0, 1].map((axis) => same.reduce((sum, row) => sum + row.score * pick(row)[axis], 0) / total);
    found.push({
      score: best.score,
      low: mean((row) => row.low),
      high: mean((row) => row.high),
      points: best.points.map((_, k) => mean((row) => row.points[k])),
    });
    rest = rest.filter((row) => !same.includes(row));
  }
  return found;
}

/** Points of a view, in shares of its side, in pixels of the photograph. */
export function toPhotograph({ x, y, side, angle }, points) {
  const turn = (angle * Math.PI) / 180;
  return points.map(([px, py]) => {
    const [across, down] = [(px - 0.5) * side, (py - 0.5) * side];
    return [
      x + across * Math.cos(turn) - down * Math.sin(turn),
      y + across * Math.sin(turn) + down * Math.cos(turn),
    ];
  });
}

const middle = (one, other) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
const centreOf = ({ low, high }) => middle(low, high);
const difference = (one, other) => ((((one - other + 180) % 360) + 360) % 360) - 180;
const far = (one, other) => Math.max(Math.abs(one[0] - other[0]), Math.abs(one[1] - other[1]));

/** Degrees by which the line of the eyes is turned clockwise. */
function angleOf([right, left]) {
  return (Math.atan2(left[1] - right[1], left[0] - right[0]) * 180) / Math.PI;
}

function spanOf(points) {
  const eyes = middle(points[0], points[1]);
  const parts = [0, 1].flatMap((axis) => [points[1][axis] - points[0][axis], points[3][axis] - eyes[axis]]);
  return Math.hypot(...parts);
}

/** The chip's square around a face's landmarks, in pixels of the photograph. */
export function boxOfLandmarks(points, score = 0) {
  const eyes = middle(points[0], points[1]);
  const size = Math.max(1, Math.round(GROW * spanOf(points)));
  const seen = angleOf(points);
  const angle = Math.abs(seen) >= LEVEL ? seen : 0;
  const turn = (angle * Math.PI) / 180;
  const place = [-Math.sin(turn), Math.cos(turn)].map(
    (share, axis) => eyes[axis] + TOWARDS_MOUTH * (points[3][axis] - eyes[axis]) + DOWN * size * share,
  );
  return { x: Math.round(place[0] - size / 2), y: Math.round(place[1] - size / 2), size, angle, score };
}

function* stages(width, height) {
  const longer = Math.max(width, height);
  const whole = (share, angle) => ({ x: width / 2, y: height / 2, side: share * longer, angle });
  for (const turns of [TURNS.slice(0, 1), TURNS.slice(1)]) {
    for (const share of [WIDE, 1]) {
      yield turns.map((angle) => [whole(share, angle), angle ? MIN_TURNED : MIN_FIRST]);
    }
  }
  for (const angle of TURNS) {
    for (const [share, step] of TILES) {
      const side = share * longer;
      if (side < MIN_TILE_SIDE) continue;
      const columns = centres(width, side, step * longer);
      yield centres(height, side, step * longer).flatMap((y) => columns.map((x) => [{ x, y, side, angle }, MIN_TILE]));
    }
  }
}

function centres(length, side, step) {
  if (length <= side) return [length / 2];
  const many = Math.ceil((length - side) / step) + 1;
  return Array.from({ length: many }, (_, i) => side / 2 + (i * (length - side)) / (many - 1));
}

/**
 * Finds faces in a photograph.
 *
 * @param {number} width, height of the photograph in pixels.
 * @param {(view: {x, y, side, angle}, mirrored: boolean) => Promise<rows>} look gives the faces in a view, of `decode`.
 * @returns {Promise<object[]>} boxes of the chips, the largest first; empty if no face is seen.
 */
export async function search(width, height, look) {
  for (const looks of stages(width, height)) {
    const faces = await secondLooks(looks, look);
    if (faces.length) {
      return faces.map(({ points, score }) => boxOfLandmarks(points, score)).sort((a, b) => b.size - a.size);
    }
  }
  return [];
}

async function secondLooks(looks, look) {
  const first = [];
  for (const [view, least] of looks) {
    for (const row of await look(view, false)) {
      const side = (row.high[0] - row.low[0]) * view.side;
      if (row.score < least || side < MIN_SIDE) continue;
      const [centre] = toPhotograph(view, [centreOf(row)]);
      first.push({ score: row.score, centre, side, angle: angleOf(toPhotograph(view, row.points)) });
    }
  }
  const found = [];
  const seen = [];
  for (const { centre, side, angle } of first.sort((a, b) => b.score - a.score)) {
    // The same face at another turn, with a lower score: its landmarks are the worse ones.
    if (seen.some((one) => far(centre, one.centre) < 0.4 * Math.max(side, one.side))) continue;
    const face = await secondLook(centre, side, angle, look);
    if (!face) continue;
    seen.push({ centre, side });
    found.push(face);
  }
  return found;
}

async function inTheMiddle(view, look, mirrored = false) {
  const row = (await look(view, mirrored)).find((one) => far(centreOf(one), [0.5, 0.5]) < 0.25);
  return row && { score: row.score, points: toPhotograph(view, row.points) };
}

async function secondLook([x, y], side, angle, look) {
  let best = null;
  for (const turn of TURNS) {
    const face = await inTheMiddle({ x, y, side: NEAR * side, angle: angle + turn }, look);
    if (!face || Math.abs(difference(angleOf(face.points), angle + turn)) > MAX_TURN) continue;
    if (face.score >= PLAIN && Math.abs(angleOf(face.points)) <= UPRIGHT) return face;
    if (!best || face.score > best.score) best = face;
  }
  if (!best || best.score < MIN_SECOND) return null;
  const upright = Math.abs(angleOf(best.points)) <= UPRIGHT;
  if (best.score < SURE || !upright) best = { ...best, score: await meanScore(best, look) };
  return best.score >= (upright ? MIN_MEAN : MIN_MEAN_TURNED) ? best : null;
}

async function meanScore({ score, points }, look) {
  const eyes = middle(points[0], points[1]);
  const [x, y] = [0, 1].map((axis) => eyes[axis] + 0.4 * (points[3][axis] - eyes[axis]));
  let total = score;
  for (const share of FURTHER) {
    for (const mirrored of [false, true]) {
      const view = { x, y, side: share * spanOf(points), angle: angleOf(points) };
      total += (await inTheMiddle(view, look, mirrored))?.score ?? 0;
    }
  }
  return total / (1 + 2 * FURTHER.length);
}

// From what BlazeFace gives to the squares of faces: the arithmetic of docs/face_chip.md, step 2. No browser in sight.

export const SIDE = 128; // pixels of the network's square input
const GRIDS = [[16, 2], [8, 6]]; // cells in a row, anchors in a cell
const OVERLAP = 0.3;
const TURNS = [0, 90, 180, 270];
const [WIDE, NEAR, FURTHER] = [1.8, 2.2, [2.6, 3.2]];
const TILES = [[0.5, 0.35], [0.2, 0.144]];
const [MIN_TILE_SIDE, MIN_SIDE] = [96, 12];
const [MIN_FIRST, MIN_TURNED, MIN_TILE, MIN_SECOND, SURE, MIN_MEAN] = [0.5, 0.7, 0.6, 0.55, 0.8, 0.7];
const [SURE_SCORE, PLAIN, MIN_MEAN_TURNED, UPRIGHT, MAX_TURN] = [0.75, 0.85, 0.75, 45, 25];
const [STEADY_TURN, STEADY_SCALE, STEADY_SHIFT, MAX_LOOKS] = [10, 1.35, 0.3, 5];
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
 * @returns {Promise<object[]>} boxes of the chips, the largest first, doubtful ones last; empty if no face is seen.
 */
export async function search(width, height, look) {
  let found = [];
  for (const looks of stages(width, height)) {
    found = distinct([...found, ...(await secondLooks(looks, look))]);
    if (found.some(({ score }) => score >= SURE_SCORE)) break; // a doubtful face may be none
  }
  const doubtful = ({ score }) => Number(score < SURE_SCORE);
  const boxes = found.map(({ points, score }) => boxOfLandmarks(points, score));
  return boxes.sort((a, b) => doubtful(a) - doubtful(b) || b.size - a.size);
}

/** The best of the detections of each face by several looks. */
function distinct(faces) {
  const kept = [];
  const mean = (points) => [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  const reach = (points, axis) => {
    const along = points.map((point) => point[axis]);
    return Math.max(...along) - Math.min(...along);
  };
  for (const face of [...faces].sort((a, b) => b.score - a.score)) {
    const { points } = face;
    const most = Math.max(reach(points, 0), reach(points, 1));
    if (kept.every((one) => far(mean(points), mean(one.points)) > 0.5 * most)) kept.push(face);
  }
  return kept;
}

async function secondLooks(looks, look) {
  const first = [];
  for (const [view, least] of looks) {
    for (const row of await look(view, false)) {
      const seen = seenIn(view, row);
      if (row.score >= least && seen.side >= MIN_SIDE) first.push(seen);
    }
  }
  const found = [];
  for (const seen of first.sort((a, b) => b.score - a.score)) {
    // The same face at another rotation, with a lower score: its landmarks are less accurate.
    if (found.some((one) => far(seen.centre, one.centre) < 0.4 * Math.max(seen.side, one.side))) continue;
    const near = await steady(seen, look);
    const face = near && (await sure(near, look));
    if (face) found.push(face);
  }
  return found;
}

/** A face in one look: score, landmarks, and its box, in pixels of the photograph. */
function seenIn(view, row) {
  const [centre] = toPhotograph(view, [centreOf(row)]);
  const points = toPhotograph(view, row.points);
  return { score: row.score, points, angle: angleOf(points), centre, side: (row.high[0] - row.low[0]) * view.side };
}

async function inTheMiddle(view, look, mirrored = false) {
  const row = (await look(view, mirrored)).find((one) => far(centreOf(one), [0.5, 0.5]) < 0.25);
  return row && seenIn(view, row);
}

/** A face as the last of several looks shows it, close up and upright; null if they do not agree on one. */
async function steady(seen, look) {
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const last = seen;
    const turned = await upright(seen, look);
    if (!turned || turned.seen.side < MIN_SIDE) return null;
    seen = turned.seen;
    if (
      Math.abs(difference(seen.angle, turned.angle)) <= STEADY_TURN &&
      Math.max(seen.side, last.side) <= STEADY_SCALE * Math.min(seen.side, last.side) &&
      far(seen.centre, last.centre) <= STEADY_SHIFT * last.side
    ) {
      return seen;
    }
  }
  return null;
}

/** A face close up at its best rotation, and the angle of that view. */
async function upright({ centre: [x, y], side, angle: about }, look) {
  let best = null;
  for (const turn of TURNS) {
    const angle = about + turn;
    const seen = await inTheMiddle({ x, y, side: NEAR * side, angle }, look);
    if (!seen || Math.abs(difference(seen.angle, angle)) > MAX_TURN) continue;
    if (seen.score >= PLAIN && Math.abs(seen.angle) <= UPRIGHT) return { seen, angle };
    if (!best || seen.score > best.seen.score) best = { seen, angle };
  }
  return best;
}

/** A face with the mean score of several looks if one cannot be sure of it; null if it is likely to be none. */
async function sure(face, look) {
  if (face.score < MIN_SECOND) return null;
  const plain = Math.abs(face.angle) <= UPRIGHT;
  const score = face.score < SURE || !plain ? await meanScore(face, look) : face.score;
  return score >= (plain ? MIN_MEAN : MIN_MEAN_TURNED) ? { ...face, score } : null;
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

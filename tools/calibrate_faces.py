"""Measures how the detector's window lies in a face chip: `tools/calibrate_faces.py --data_dir DIR`.

The constants GROW, SHIFT, MIN_SCORE and SURE_SCORE of privzoo/faces/cascade.py are read off what it prints.

UTKFace has chips but not the photographs around them, and without its surroundings a face is seen in a smaller
window. So chips are cut from LFW's frames, searched again like UTKFace's chips, and GROW and SHIFT are changed until
both give the same mean: then the chips that `privzoo.faces.detect` cuts are framed as UTKFace's are.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from tqdm import tqdm

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder with UTKFace and LFW, zips or official layouts", required=True)
flags.DEFINE_integer("count", 500, "images drawn from each data set", lower_bound=2)
flags.DEFINE_integer("rounds", 3, "rounds of cutting and searching again", lower_bound=1)
flags.DEFINE_integer("seed", 0, "seed of the draw")

# scikit-image's pictures without a face that come with its wheel, each searched at these shares of its size.
FACELESS = "brick cat clock coffee coins grass gravel hubble_deep_field moon page retina rocket text".split()
SHARES = (1.0, 0.8, 0.6, 0.4)
# A window that is further off than this lies on something else: a miss, and not in the means.
FAR_CENTRE = 0.3  # sides of the chip
FAR_SCALE = 1.5


def main(_: list[str]) -> None:
    """Prints detection rates, false windows, and GROW and SHIFT with the error that today's constants leave."""
    from privzoo.data import lfw, utkface
    from privzoo.faces import cascade
    from privzoo.faces.cascade import windows

    print(f"cascade.py: GROW {cascade.GROW}, SHIFT {cascade.SHIFT}, MIN_SCORE {cascade.MIN_SCORE}")
    chips = [sample.image() for sample in _draw(utkface.load(FLAGS.data_dir, split="train").samples)]
    _landmarks(chips)
    goal = _measure("UTKFace chips", chips, [windows(chip) for chip in tqdm(chips, leave=False)])

    frames = [sample.image() for sample in _draw(lfw.load(FLAGS.data_dir, chip=False, gender=False).samples)]
    found = [windows(frame) for frame in tqdm(frames, leave=False)]
    _measure("LFW frames, against their centre 122 px", frames, found, lfw.CHIP)
    seen = [(frame, _on_face(rows, frame, lfw.CHIP)) for frame, rows in zip(frames, found, strict=True)]
    seen = [(frame, row) for frame, row in seen if row is not None and row[3] >= cascade.MIN_SCORE]
    for _round in range(FLAGS.rounds):
        cut = [_cut(frame, row) for frame, row in seen]
        title = f"chips cut from LFW with GROW {cascade.GROW:.4f}, SHIFT {cascade.SHIFT:+.4f}"
        got = _measure(title, cut, [windows(chip) for chip in tqdm(cut, leave=False)])
        print(f"  against UTKFace's chips: scale x{np.exp(got[0] - goal[0]):.4f}, down {got[1] - goal[1]:+.4f}")
        cascade.GROW *= float(np.exp(goal[0] - got[0]))
        cascade.SHIFT += float(goal[1] - got[1])
    print(f"measured: GROW {cascade.GROW:.4f}, SHIFT {cascade.SHIFT:+.4f}")
    _faceless()


def _draw(samples: list) -> list:
    return random.Random(FLAGS.seed).sample(samples, min(FLAGS.count, len(samples)))


def _landmarks(chips: list[np.ndarray]) -> None:
    """Prints where the mean chip is darkest: eyes and mouth, for those who have landmarks and not this detector."""
    side = chips[0].shape[0]
    mean = np.mean([chip for chip in chips if chip.shape == chips[0].shape], axis=(0, 3))
    for name, top, bottom, left, right in (
        ("left eye in the picture", 0.2, 0.4, 0.15, 0.45),
        ("right eye in the picture", 0.2, 0.4, 0.55, 0.85),
        ("mouth", 0.6, 0.8, 0.4, 0.6),
    ):
        part = mean[round(top * side) : round(bottom * side), round(left * side) : round(right * side)]
        row, column = np.unravel_index(part.argmin(), part.shape)
        down, across = (row + round(top * side) + 0.5) / side, (column + round(left * side) + 0.5) / side
        print(f"{name}: {down:.3f} of the side from the top, {across:.3f} from the left")


def _cut(photograph: np.ndarray, window: Sequence[float]) -> np.ndarray:
    from privzoo import faces
    from privzoo.faces import cascade

    box = cascade.frame(window)
    return faces.crop(photograph, box, box.size)


def _on_face(rows: np.ndarray, image: np.ndarray, side: float) -> np.ndarray | None:
    """Gives the best window that lies on the chip of that side in the image's centre."""
    x, y = image.shape[1] / 2, image.shape[0] / 2
    for row in rows:
        off = max(abs(row[0] + row[2] / 2 - x), abs(row[1] + row[2] / 2 - y))
        if off < FAR_CENTRE * side and 1 / FAR_SCALE < row[2] / side < FAR_SCALE:
            return row
    return None


def _measure(title: str, images: list[np.ndarray], found: list[np.ndarray], side: float | None = None) -> np.ndarray:
    """Prints and returns the chip's mean log side over the window's, and its offset down and right in windows."""

    from privzoo.evaluation import intervals
    from privzoo.faces import cascade

    rows, scores = [], []
    for image, candidates in zip(images, found, strict=True):
        chip = side or image.shape[0]
        row = _on_face(candidates, image, chip)
        scores.append(0 if row is None else row[3])
        if row is not None and row[3] >= cascade.MIN_SCORE:
            x, y = row[0] + row[2] / 2, row[1] + row[2] / 2
            down, right = image.shape[0] / 2 - y, image.shape[1] / 2 - x
            rows.append([np.log(chip / row[2]), down / row[2], right / row[2]])
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
    found = [intervals.mean(column) for column in np.transpose(rows)]
    error = [estimate.high - estimate.value for estimate in found]
    rates = ", ".join(f"{least}: {np.mean(np.array(scores) >= least):.1%}" for least in (1, 4, 5, 6, 8, 10))
    print(f"{title}: n = {len(images)}, found at a least score of {rates}")
    print(
        f"  chip over window: scale {np.exp(mean[0]):.4f} +- {error[0]:.4f} (sd {spread[0]:.3f}),"
        f" down {mean[1]:+.4f} +- {error[1]:.4f} (sd {spread[1]:.3f}),"
        f" right {mean[2]:+.4f} +- {error[2]:.4f} (sd {spread[2]:.3f})"
    )
    return mean


def _faceless() -> None:
    import skimage.data
    from PIL import Image

    from privzoo import faces
    from privzoo.faces.cascade import windows

    best = []
    for name in FACELESS:
        picture = Image.fromarray(faces.decode(getattr(skimage.data, name)()))
        for share in SHARES:
            smaller = picture.resize((round(picture.width * share), round(picture.height * share)))
            best.append(max((row[3] for row in windows(np.asarray(smaller))), default=0))
    counts = ", ".join(f"{least}: {sum(score >= least for score in best)}" for least in (1, 4, 5, 6, 8, 10))
    print(f"pictures without a face: n = {len(best)}, some window with a least score of {counts}")


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"calibrate_faces: {error}")

"""Measures where a face's landmarks are in a face chip: `tools/calibrate_faces.py --data_dir DIR`.

The constants GROW, DOWN and LEVEL of privzoo/faces/detection.py are taken from what it prints. It only uses UTKFace's
training chips: in these the face fills the image as in the networks' training.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import numpy as np
from absl import app, flags
from tqdm import tqdm

if TYPE_CHECKING:
    from privzoo.evaluation.intervals import Estimate

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder with UTKFace, as a zip or in its official layout", required=True)
flags.DEFINE_integer("count", 2000, "chips drawn from UTKFace's training part", lower_bound=2)
flags.DEFINE_integer("seed", 0, "seed of the draw")


def main(_: list[str]) -> None:
    """Prints both constants with their errors, how far faces scatter, and by how much upright ones seem turned."""
    from privzoo.data import utkface
    from privzoo.evaluation import intervals
    from privzoo.faces import detection
    from privzoo.faces.search import search

    samples = utkface.load(FLAGS.data_dir, split="train").samples
    drawn = random.Random(FLAGS.seed).sample(samples, min(FLAGS.count, len(samples)))
    scale, down, right, angle = [], [], [], []
    for sample in tqdm(drawn, leave=False):
        chip = sample.image()
        found = search(chip)
        if not found or abs(found[0].angle) > 45:
            continue
        face, side = max(found, key=lambda one: one.span), chip.shape[0]
        eyes, mouth = face.points[:2].mean(axis=0), face.points[3]
        x, y = (eyes + detection.TOWARDS_MOUTH * (mouth - eyes)) / side
        scale.append(np.log(side / face.span))
        down.append(0.5 - y)
        right.append(0.5 - x)
        angle.append(abs(face.angle))
    print(f"{len(scale)} of {len(drawn)} faces seen upright in UTKFace's training chips, seed {FLAGS.seed}")
    grow, below, aside = (intervals.mean(np.array(values)) for values in (scale, down, right))
    print(f"GROW {np.exp(grow.value):.4f} +- {_half(grow):.4f} of itself (sd {np.std(scale):.3f})")
    print(f"DOWN {below.value:+.4f} +- {_half(below):.4f} (sd {np.std(down):.3f})")
    print(f"right {aside.value:+.4f} +- {_half(aside):.4f} (sd {np.std(right):.3f}); taken as 0")
    marks = ", ".join(f"{share} %: {np.percentile(angle, share):.1f}" for share in (50, 90, 95, 99))
    print(f"degrees by which upright faces seem turned, {marks}; today's LEVEL is {detection.LEVEL:g}")
    print(f"today: GROW {detection.GROW}, DOWN {detection.DOWN}")


def _half(found: Estimate) -> float:
    return found.high - found.value


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"calibrate_faces: {error}")

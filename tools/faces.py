"""Measures the face detector against its goals: `tools/faces.py --data_dir DIR`; writes JSON and RESULTS.md's section.

Nothing was tuned on the images used here. Thresholds and constants were set on UTKFace's first training images in the
order of `CHOSEN_SEED`, on the first LFW frames in the same order, whose people are left out here, and on pictures
without a face drawn with another seed.
"""

from __future__ import annotations

import datetime
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw
from tqdm import tqdm

from privzoo import checks

if TYPE_CHECKING:
    from detecting.report import Goal

    from privzoo.data import Sample
    from privzoo.evaluation.intervals import Estimate

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder with UTKFace and LFW, zips or official layouts", required=True)
flags.DEFINE_float("share", 1.0, "measure on this share of the images only, for a trial run; writes nothing", 0, 1)
flags.DEFINE_string("out", "docs/faces", "folder for the JSON file")
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose section is rewritten; empty for none")
flags.DEFINE_integer("seed", 1, "seed of all random draws")

MODEL = "vgg16_gender_advanced_conv5_3"
HEAD = "tflite/vgg16_gender_coded_conv5_3_int8.tflite"  # the same flatbuffer as that of MODEL
CHOSEN_SEED, CHOSEN_FRAMES, CHOSEN_CHIPS = 5, 250, 2000
TURNS = (20, 45, 90, 180)
TURN_ERROR, UPRIGHT_ERROR = 15.0, 25.0  # degrees: of rotated faces, and of upright ones, which may be cut out rotated
LARGE = (4000, 3000)  # pixels: the photograph whose search is timed
SMALL, SMALL_FACE, LARGER_FACE = (1600, 1200), 60, 240  # pixels; a face is FACE_WIDTH of its chip
FACE_WIDTH = 0.8
DETECTORS = {"blazeface": "BlazeFace", "cascade": "scikit-image's cascade"}
FACELESS = "brick cat clock coffee grass gravel hubble_deep_field moon page retina rocket text".split()


def main(_: list[str]) -> None:
    """Measures every goal, prints what was found, and writes it."""
    from detecting import report

    from privzoo.provenance import git_revision

    started, git = time.monotonic(), git_revision()
    goals = []
    for goal in _goals():
        print(goal.line, flush=True)
        goals.append(goal)
    if FLAGS.share < 1:
        return
    facts: dict[str, Any] = {}
    facts |= {"date": datetime.date.today().isoformat(), "git": git, "command": "tools/faces.py --data_dir DIR"}
    facts |= {"seed": FLAGS.seed, "minutes": round((time.monotonic() - started) / 60), "method": _method()}
    path = checks.local_path(FLAGS.out) / "faces.json"
    report.save(path, goals, facts)
    if FLAGS.results:
        report.publish(path, checks.local_path(FLAGS.results))


def _goals() -> Iterator[Goal]:
    from detecting.hits import hit
    from detecting.report import Goal

    from privzoo.data import lfw, utkface
    from privzoo.evaluation import intervals
    from privzoo.evaluation.subgroups import race_name
    from privzoo.faces import cascade, detect

    frames = _unseen_frames(lfw.load(FLAGS.data_dir, chip=False).samples)
    drawn = _some(frames, len(frames))  # 2,000 cannot distinguish 99.4% from 99%
    people = [sample.labels["identity"] for sample in drawn]
    hits = [hit(detect(image), *_middle(image, lfw.CHIP)) for image in _images(drawn, "LFW frames")]
    yield Goal("faces found, LFW frames", intervals.share(np.array(hits), people), "%", 0.99)
    few = drawn[: _count(400)]
    hits = [hit(cascade.detect(image), *_middle(image, lfw.CHIP)) for image in _images(few, "cascade")]
    yield Goal("faces found, LFW frames, by the cascade", intervals.share(np.array(hits), people[: len(few)]), "%")

    chips = _unseen_chips()
    for race, name in enumerate(utkface.load(FLAGS.data_dir, split="validation").classes["race"]):
        of_race, name = _some([sample for sample in chips if sample.labels["race"] == race], 1000), race_name(name)
        hits = [hit(detect(image), *_middle(image)) for image in _images(of_race, name)]
        group = "faces found, UTKFace images by race"
        yield Goal(f"faces found, UTKFace images, {name}", intervals.share(np.array(hits)), "%", 0.98, group=group)
        few = of_race[: max(2, len(of_race) // 5)]
        hits = [hit(cascade.detect(image), *_middle(image)) for image in _images(few, "cascade")]
        yield Goal(f"faces found, UTKFace images, {name}, by the cascade", intervals.share(np.array(hits)), "%")

    turned = _some(chips, 1000)
    for degrees in TURNS:
        hits = [_turned(detect, image, degrees) for image in _images(turned, f"turned by {degrees}")]
        what = f"faces found, UTKFace images rotated by {degrees} degrees, angle within {TURN_ERROR:g}"
        group = f"faces found, rotated UTKFace images, angle within {TURN_ERROR:g} degrees"
        yield Goal(what, intervals.share(np.array(hits)), "%", 0.95, group=group)

    small, seconds = _small(_some(chips, 1000, 1), detect)
    what = f"faces of {SMALL_FACE} pixels in {SMALL[0]} x {SMALL[1]} found, angle within {UPRIGHT_ERROR:g} degrees"
    yield Goal(what, intervals.share(small), "%", 0.95)
    yield Goal("time for these, where tiles are needed", intervals.median(seconds).scaled(1e3), "ms", 150, False)
    larger, _ = _small(_some(chips, 500, 3), detect, LARGER_FACE)
    what = f"faces of {SMALL_FACE} to {LARGER_FACE} pixels found there, angle within {UPRIGHT_ERROR:g} degrees"
    yield Goal(what, intervals.share(larger), "%", 0.95)
    seconds = _large(_some(chips, 50, 2), detect)
    what = f"time in {LARGE[0]} x {LARGE[1]} pixels, face a tenth of the image"
    yield Goal(what, intervals.median(seconds).scaled(1e3), "ms", 15, False)

    wrong = [bool(detect(image)) for image in tqdm(list(_faceless(_count(1000))), "faceless", leave=False)]
    what = "images without a face in which one is found"
    yield Goal(what, intervals.share(np.array(wrong)), "%", 0.005, False, digits=2)

    lost = _lost(_some(frames, len(frames)))
    what = "accuracy lost by detecting the face, compared with LFW's given chips"
    yield Goal(what, lost.scaled(100), "points", 0.5, False, digits=2)


def _unseen_frames(samples: list) -> list:
    """Frames of people on whom nothing was tuned."""
    shuffled = list(samples)
    random.Random(CHOSEN_SEED).shuffle(shuffled)
    known = {sample.labels["identity"] for sample in shuffled[:CHOSEN_FRAMES]}
    return [sample for sample in samples if sample.labels["identity"] not in known]


def _unseen_chips() -> list[Sample]:
    """UTKFace's validation images, and the training images on which nothing was tuned or calibrated."""
    from privzoo.data import utkface

    train = list(utkface.load(FLAGS.data_dir, split="train").samples)
    calibrated = {sample.name for sample in random.Random(0).sample(train, CHOSEN_CHIPS)}
    random.Random(0).shuffle(train)
    rest = [sample for sample in train[CHOSEN_CHIPS:] if sample.name not in calibrated]
    return utkface.load(FLAGS.data_dir, split="validation").samples + rest


def _count(most: int) -> int:
    return max(20, round(most * FLAGS.share))


def _some(samples: list, most: int, number: int = 0) -> list:
    count = min(_count(most), len(samples))
    return random.Random(f"{FLAGS.seed} {number}").sample(samples, count)


def _images(samples: list, what: str) -> Iterator[np.ndarray]:
    return (sample.image() for sample in tqdm(samples, what, leave=False))


def _middle(image: np.ndarray, side: float | None = None) -> tuple[float, float, float]:
    """The chip in the middle of an image: its centre and side."""
    height, width = image.shape[:2]
    return width / 2, height / 2, side or min(height, width)


def _turned(detect: Callable, image: np.ndarray, degrees: int) -> bool:
    from detecting.hits import hit

    turned = np.asarray(Image.fromarray(image).rotate(-degrees, Image.Resampling.BICUBIC))
    return hit(detect(turned), *_middle(image), degrees, TURN_ERROR)


def _backgrounds(size: tuple[int, int]) -> list[Image.Image]:
    import skimage.data

    from privzoo import faces

    return [Image.fromarray(faces.decode(getattr(skimage.data, name)())).resize(size) for name in FACELESS]


def _small(samples: list, detect: Callable, most: int = SMALL_FACE) -> tuple[np.ndarray, list[float]]:
    """Hits, and processor seconds of each search; faces of up to `most` pixels, each doubling as likely.

    A chip that is rotated by mistake changes the answer, so the angle counts.
    """
    from detecting.hits import hit

    backgrounds, places = _backgrounds(SMALL), random.Random(FLAGS.seed)
    hits, seconds = [], []
    for number, image in enumerate(_images(samples, f"faces up to {most} pixels")):
        width = SMALL_FACE if most == SMALL_FACE else SMALL_FACE * (most / SMALL_FACE) ** places.random()
        side = round(width / FACE_WIDTH)
        picture = backgrounds[number % len(backgrounds)].copy()
        x, y = places.randrange(SMALL[0] - side), places.randrange(SMALL[1] - side)
        picture.paste(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS), (x, y))
        photograph = np.asarray(picture)
        begin = time.process_time()
        boxes = detect(photograph)
        seconds.append(time.process_time() - begin)
        hits.append(hit(boxes, x + side / 2, y + side / 2, side, 0, UPRIGHT_ERROR))
    return np.array(hits), seconds


def _large(samples: list, detect: Callable) -> list[float]:
    """Processor seconds of each search in a large photograph."""
    backgrounds, places, seconds = _backgrounds(LARGE), random.Random(FLAGS.seed), []
    side = round((LARGE[0] * LARGE[1] / 10) ** 0.5)
    for number, image in enumerate(_images(samples, "large photographs")):
        picture = backgrounds[number % len(backgrounds)].copy()
        place = places.randrange(LARGE[0] - side), places.randrange(LARGE[1] - side)
        picture.paste(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS), place)
        photograph = np.asarray(picture)
        begin = time.process_time()
        detect(photograph)
        seconds.append(time.process_time() - begin)
    return seconds


def _faceless(count: int) -> Iterator[np.ndarray]:
    """A quarter each: noise, smooth textures, skin-coloured blobs, parts of images without a face."""
    rng = np.random.default_rng(FLAGS.seed)
    pictures = [np.asarray(picture) for picture in _backgrounds((640, 480))]
    for number in range(count):
        height, width = int(rng.integers(100, 480)), int(rng.integers(100, 640))
        if number % 4 == 0:
            yield rng.integers(0, 256, (height, width, 3), np.uint8)
        elif number % 4 == 1:
            coarse = rng.integers(0, 256, (rng.integers(3, 16), rng.integers(3, 16), 3), np.uint8)
            yield np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        elif number % 4 == 2:
            yield _blobs(rng, width, height)
        else:
            picture = pictures[number // 4 % len(pictures)]
            top, left = rng.integers(480 - height + 1), rng.integers(640 - width + 1)
            yield np.ascontiguousarray(picture[top : top + height, left : left + width])


def _blobs(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    picture = Image.new("RGB", (width, height), tuple(int(value) for value in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 6)):
        x, y, wide, high = (
            int(rng.integers(low, most)) for low, most in ((0, width), (0, height), (20, 200), (20, 200))
        )
        light = rng.uniform(0.3, 1.0)
        draw.ellipse([x, y, x + wide, y + high], fill=tuple(int(light * value) for value in (224, 172, 140)))
    return np.asarray(picture)


def _lost(samples: list[Sample]) -> Estimate:
    """Accuracy on given chips minus that on detected chips of the same faces, by the released head without noise."""
    import privzoo
    from privzoo import faces
    from privzoo.data import lfw
    from privzoo.edge.unprotected import UnprotectedHead
    from privzoo.evaluation import detected, intervals

    model = privzoo.load(MODEL)
    head = UnprotectedHead(HEAD, threads=2)
    size = model.input_size
    right: list[list[bool]] = [[], []]
    for sample in tqdm(samples, "accuracy", leave=False):
        image = sample.image()
        chips, found = detected.chips([sample.image], size)
        given = faces.resize(lfw.centre(image), size)
        answers = model.classify(head.features(np.concatenate([given[None], chips]))).argmax(1)
        right[0].append(answers[0] == sample.labels["gender"])
        right[1].append(bool(found[0]) and answers[1] == sample.labels["gender"])
    given_right, found_right = np.array(right, float)
    return intervals.difference(given_right, found_right, [sample.person for sample in samples])


def _method() -> str:
    from detecting.hits import FAR_CENTRE, FAR_SCALE

    from privzoo import faces

    return (
        f"The detector is {DETECTORS[faces.detector()]}. A face counts as found if the returned box covers it: centre "
        f"within {FAR_CENTRE:g} of the chip's side, size within a factor of {FAR_SCALE:g}. Nothing was tuned on these "
        f"people and images. Times are processor time on one thread. Accuracy is {MODEL}'s without its noise; a face "
        "that is not found counts as wrong."
    )


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"faces: {error}")

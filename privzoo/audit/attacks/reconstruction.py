"""The reconstruction attack: what does the cloud see of the face? (Osia et al. 2017, section IV.B, Figure 11).

The attacker knows the head, feeds it its own faces (UTKFace's and LFW's other people), learns a decoder from the
outputs, and applies it to the features of LFW-100. The decoders are judged by similarity to the original, PSNR and
SSIM, and by what matters: whether a face recogniser identifies the right person in the reconstruction.

Two baselines mark the ends of the scale: "mean face", the average of the attacker's faces for every feature, and
"originals", the recogniser's answer for the photographs themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.audit.attacks.identity import SEEDS
from privzoo.audit.attacks.recogniser import Gallery, grey
from privzoo.errors import ConfigError, DataError, FeatureError
from privzoo.evaluation import intervals
from privzoo.evaluation.drawn import arrived
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms.gaussian import Noise

if TYPE_CHECKING:
    from privzoo.audit.attacks.decoders import Decode, Settings

# Of `attacks.image_decoders`, for features that are images; named here too, so that nobody needs Keras to list them.
IMAGE_METHODS = (
    "image as sent",
    "own deobfuscator",
    "fresh deobfuscator",
    "u-net",
    "perceptual u-net",
    "adversarial u-net",
)
METHODS = ("linear", "up-convolution", "adversarial", *IMAGE_METHODS)
MEAN_FACE, ORIGINALS = "mean face", "originals"
#: Figures of a reconstruction: recognised as its person; as the right photograph among all scored; similarity.
METRICS = ("recognised", "photograph found", "PSNR", "SSIM")
SHARES = METRICS[:2]  # in 0..1, and these decide which decoder is best
HIGHEST_PSNR = 99.0  # dB, of a reconstruction identical to the original


@dataclass(frozen=True)
class Outcome:
    """One decoder's results."""

    attacker: str
    scores: Mapping[str, np.ndarray]  # metric -> float64 (seeds, faces)
    shown: np.ndarray | None = None  # uint8 (K, side, side): the faces to show, reconstructed with the first seed


@dataclass(frozen=True)
class Result:
    """The results of a reconstruction attack."""

    outcomes: tuple[Outcome, ...]  # of the decoders, then of `MEAN_FACE` and `ORIGINALS`
    people: np.ndarray  # int (faces,)
    seeds: tuple[int, ...]
    originals: np.ndarray | None = field(default=None)  # uint8 (K, side, side): the faces to show

    def outcome(self, attacker: str) -> Outcome:
        """The outcome of one attacker."""
        return next(o for o in self.outcomes if o.attacker == attacker)

    def figure(self, attacker: str, metric: str) -> Estimate:
        """Mean over seeds and people, with its interval over both."""
        scores = self.outcome(attacker).scores[metric]
        if metric in SHARES:
            return intervals.over_people(scores, self.people)
        return intervals.mean(intervals.by_person(scores, self.people))

    @property
    def best(self) -> str:
        """The decoder whose reconstructions are recognised most often, or are most similar if none is recognised."""
        decoders = [o for o in self.outcomes if o.attacker in METHODS]
        return max(decoders, key=lambda o: (o.scores["recognised"].mean(), o.scores["SSIM"].mean())).attacker


def likeness(reconstructions: np.ndarray, originals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PSNR in dB and SSIM of each image.

    Args:
        reconstructions: uint8 (N, side, side).
        originals: likewise.

    Returns:
        float64 (N,), at most `HIGHEST_PSNR`; and float64 (N,), 1 for equal images.
    """
    from skimage.metrics import structural_similarity

    difference = reconstructions.astype(np.float64) - originals
    error = np.square(difference).mean(axis=(1, 2))
    psnr = 10 * np.log10(255**2 / np.maximum(error, 255**2 / 10 ** (HIGHEST_PSNR / 10)))
    ssim = [structural_similarity(a, b, data_range=255) for a, b in zip(reconstructions, originals, strict=True)]
    return psnr, np.array(ssim)


def judge(
    reconstructions: np.ndarray, originals: np.ndarray, people: np.ndarray, gallery: Gallery
) -> dict[str, np.ndarray]:
    """Scores reconstructions by all of `METRICS`.

    Args:
        reconstructions: uint8 (N, side, side).
        originals: what they should be, likewise.
        people: int (N,), of the gallery's people.
        gallery: of other photographs of them.

    Returns:
        metric -> float64 (N,).
    """
    psnr, ssim = likeness(reconstructions, originals)
    seen = gallery.recogniser.embed(reconstructions)
    alike = seen @ gallery.recogniser.embed(originals).T
    # If all look the same to the recogniser, as the mean face does, none is recognised.
    found = (alike.argmax(axis=1) == np.arange(len(alike))).astype(np.float64)
    recognised = ((seen @ gallery.people.T).argmax(axis=1) == people).astype(np.float64)
    return dict(zip(METRICS, (recognised, found, psnr, ssim), strict=True))


def attack(
    known: tuple[np.ndarray, np.ndarray],
    scored: tuple[np.ndarray, np.ndarray, np.ndarray],
    gallery: Gallery,
    *,
    noise: Noise | None = None,
    methods: Sequence[str] = ("linear", "up-convolution"),
    seeds: Sequence[int] = SEEDS,
    settings: Settings | None = None,
    shown: tuple[np.ndarray, np.ndarray] | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
    network: str | None = None,
) -> Result:
    """Trains decoders on the attacker's faces, and judges their reconstructions of other people's faces.

    Args:
        known: the attacker's features before noise (N, ...), and its N images, as for `recogniser.grey`.
        scored: features before noise (M, ...), M images, and the person of each, 0 to P - 1, of people whom the
            attacker's faces do not show.
        gallery: of other photographs of these people.
        noise: what the device adds; drawn afresh at each epoch, and once for each scored feature.
        methods: of `METHODS`.
        seeds: of the decoders and of the noise.
        settings: of the up-convolutional decoders; None: `decoders.Settings()`.
        shown: features before noise and images of faces to show reconstructed.
        folder: of this head, for checkpoints; a run that was killed goes on where it stopped.
        progress: show progress bars.
        network: of an obfuscated model, whose own deobfuscator is one of the methods.

    Raises:
        ConfigError: no method or seed, or an unknown method.
        DataError: an image is on both sides, or the gallery lacks people.
        FeatureError: features that are not finite, or not one for each image.

    Example:
        >>> attack((features, images), (test_features, test_images, people), gallery).figure("linear", "recognised")
    """
    from privzoo.audit.attacks import decoders

    settings = settings or decoders.Settings()
    if not methods or not seeds or not set(methods) <= set(METHODS):
        raise ConfigError(f"methods={tuple(methods)}, seeds={tuple(seeds)}: give some of {METHODS} and a seed or more.")
    for features, images in (known, scored[:2], *((shown,) if shown else ())):
        decoders.check(features, images)
    if np.shape(known[0])[1:] != np.shape(scored[0])[1:]:
        raise FeatureError(f"Features of shapes {np.shape(known[0])} and {np.shape(scored[0])} are of two heads.")
    features, images, people = scored[0], grey_pictures(scored[1], settings.side), np.asarray(scored[2])
    if len(people) != len(images) or not 0 <= people.min() <= people.max() < len(gallery.people):
        raise DataError(
            f"{len(images)} scored images have {len(people)} people from {people.min()} to {people.max()}, and the "
            f"gallery has {len(gallery.people)}; give each image one of its people."
        )
    _check_apart(known[1], scored[1], settings.side)
    outcomes = []
    for method in methods:
        rows, first = [], None
        for seed in seeds:
            decode = _learn(method, known, noise, seed, settings, folder, progress, network)
            rng = np.random.default_rng((seed, 1))
            rows.append(judge(decode(np.float32(arrived(features, noise, rng))), images, people, gallery))
            if shown and first is None:
                first = decode(np.float32(arrived(shown[0], noise, rng)))
        outcomes.append(Outcome(method, {m: np.stack([row[m] for row in rows]) for m in METRICS}, first))
    originals = grey_pictures(shown[1], settings.side) if shown else None
    outcomes += ends(known[1], images, people, gallery)
    return Result(tuple(outcomes), people, tuple(seeds), originals)


def ends(known: np.ndarray, images: np.ndarray, people: np.ndarray, gallery: Gallery) -> list[Outcome]:
    """What the mean of the attacker's faces, and the originals themselves, would get.

    Args:
        known: the attacker's images, as for `recogniser.grey`.
        images: scored originals, uint8 (M, side, side).
        people: of these.
        gallery: of other photographs of them.
    """
    mean = grey(known, images.shape[1]).mean(axis=0).round().astype(np.uint8)
    found = []
    for name, pictures in ((MEAN_FACE, np.repeat(mean[None], len(images), axis=0)), (ORIGINALS, images)):
        scores = judge(pictures, images, people, gallery)
        found.append(Outcome(name, {metric: score[None] for metric, score in scores.items()}))
    return found


def grey_pictures(images: np.ndarray, side: int) -> np.ndarray:
    """Images as reconstructions are compared with them, uint8 (N, side, side)."""
    return grey(images, side).round().clip(0, 255).astype(np.uint8)


def _check_apart(known: np.ndarray, scored: np.ndarray, side: int) -> None:
    both = {image.tobytes() for image in grey_pictures(known, side)}
    leaked = sum(image.tobytes() in both for image in grey_pictures(scored, side))
    if leaked:
        raise DataError(
            f"{leaked} of {len(scored)} scored images are among the attacker's; a decoder must not learn from what it "
            "is scored on."
        )


def _learn(
    method: str,
    known: tuple[np.ndarray, np.ndarray],
    noise: Noise | None,
    seed: int,
    settings: Settings,
    folder: Any,
    progress: bool,
    network: str | None,
) -> Decode:
    import dataclasses

    from privzoo.audit.attacks import decoders

    if method == "linear":
        return decoders.fit_linear(*known, noise, seed, settings.side)
    run = Path(folder) / f"{method}_{seed}" if folder else None
    if method in IMAGE_METHODS:
        from privzoo.audit.attacks import image_decoders

        return image_decoders.learn(method, known, noise, seed, settings, run, progress, network)
    settings = dataclasses.replace(settings, adversarial=method == "adversarial")
    return decoders.train(*known, noise, seed, settings, run, progress)


def figures(result: Result, common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The result as figures of `audit/<model>.json`; see `privzoo.audit.runner`.

    Args:
        result: of `attack`.
        common: "variant", "noise", "data" and "sha256" of the figures, and "recogniser", who judged.
    """
    rows = []
    for outcome in result.outcomes:
        end = outcome.attacker in (MEAN_FACE, ORIGINALS)
        for metric in METRICS:
            found = result.figure(outcome.attacker, metric)
            rows.append(
                {
                    "attack": "reconstruction",
                    "metric": metric,
                    "variant": common["variant"],
                    "feature": "chance" if outcome.attacker == MEAN_FACE else "photograph" if end else "features",
                    "noise": common["noise"],
                    "queries": 1,
                    "attacker": outcome.attacker,
                    "best": outcome.attacker == result.best and metric in SHARES,
                    "value": round(found.value, 6),
                    "low": round(found.low, 6),
                    "high": round(found.high, 6),
                    "count": len(result.people),
                    "seeds": [] if end else list(result.seeds),
                    "data": common["data"],
                    "sha256": common["sha256"],
                    "weak": False,
                    "recogniser": common.get("recogniser", ""),
                }
            )
    return rows

"""What every loader returns: samples whose images or clips are read on demand, and arrays made from them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from privzoo import audio, faces
from privzoo.data.files import Files
from privzoo.errors import ConfigError, DataError, ImageError, InputError

log = logging.getLogger("privzoo.data")

#: Order of the classes of every label with fixed classes: a label is an index into these.
CLASSES: dict[str, tuple[str, ...]] = {
    "gender": ("male", "female"),
    "race": ("white", "black", "asian", "indian", "other"),
    "emotion": ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    "keyword": tuple(
        (
            "backward,cancel,close,digit,direction,disable,down,eight,enable,enter,five,forward,four,left,move,next,nine,"
            "no,ok,one,open,options,previous,receive,record,right,rotate,send,seven,six,start,stop,three,two,undo,up,yes,"
            "zero,zoom in,zoom out"
        ).split(",")
    ),
}


@dataclass(frozen=True)
class Sample:
    """One image, or recording, of a data set with what is known about it."""

    name: str  # path inside the set, such as "UTKFace/1_0_0_20161219140623097.jpg.chip.jpg"
    image: Callable[[], np.ndarray]  # reads the chip, uint8 RGB (H, W, 3), or clip, int16 (16000,); InputError
    # Of classes: index into them; age: years; round: number; attributes: 0 or 1 for each of the data set's.
    labels: Mapping[str, int | float | str | tuple[int, ...]]

    @property
    def person(self) -> int:
        """The label identity, of data sets that say who it is."""
        return int(self.labels["identity"])  # type: ignore[arg-type]  # of attributes alone there are several


@dataclass(frozen=True)
class Dataset:
    """The samples of one data set, or of one split of it."""

    name: str
    samples: list[Sample]
    # Label -> class names in the order of the label's numbers; attributes: their names in their order.
    classes: dict[str, tuple[str, ...]]
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> how many files were left out
    facts: dict[str, Any] = field(default_factory=dict)  # of the user's own data, for the card; see `folder.load`

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)


class ReadImage:
    """Reads one image of a data set when called; can be sent to another process.

    Args:
        files: where the image is.
        path: its name there.
        name: its name in messages.
        cut: called with the image, uint8 RGB (H, W, 3); returns the face chip.
    """

    __slots__ = ("cut", "files", "name", "path")

    def __init__(
        self, files: Files, path: str, name: str, cut: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        self.files, self.path, self.name, self.cut = files, path, name, cut

    def __call__(self) -> np.ndarray:
        """Return the chip, uint8 RGB (H, W, 3); raises ImageError naming the image when it is damaged."""
        image = faces.decode(self.files.read(self.path), self.name)
        if self.cut is None:
            return image
        try:
            return self.cut(image)
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error


class ReadClip:
    """Reads one recording of a data set when called; can be sent to another process.

    Args:
        files: where the recording is.
        path: its name there.
        name: its name in messages.
    """

    __slots__ = ("files", "name", "path")

    def __init__(self, files: Files, path: str, name: str) -> None:
        self.files, self.path, self.name = files, path, name

    def __call__(self) -> np.ndarray:
        """Return the clip, int16 (16000,); raises InputError naming the recording when it is damaged or silent."""
        return audio.second(audio.decode(self.files.read(self.path), self.name))


def path_hash(path: str) -> int:
    """The md5 of a path as an integer, by which data sets are divided."""
    digest = hashlib.md5(path.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return int(digest, 16)


def in_validation(path: str) -> bool:
    """Whether protocol 1 puts this path to validation: its hash is 0 mod 10."""
    return path_hash(path) % 10 == 0


def check_split(split: str, splits: Sequence[str]) -> None:
    """Raise ConfigError unless `split` is one of `splits`."""
    if split not in splits:
        raise ConfigError(f"The split {split!r} is unknown: use one of {', '.join(splits)}.")


def hash_split(samples: Iterable[Sample], split: str) -> list[Sample]:
    """Return the samples of one split, "train", "validation" or "all", by the rule of `in_validation`."""
    check_split(split, ("train", "validation", "all"))
    return [s for s in samples if split == "all" or in_validation(s.name) == (split == "validation")]


def warn_skipped(name: str, skipped: Counter[str]) -> None:
    """Log one line with the count of every reason for which files were left out."""
    if skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        log.warning("%s: %d files skipped: %s", name, sum(skipped.values()), reasons)


@overload
def arrays(
    samples: Dataset | Sequence[Sample],
    size: int | None,
    task: str,
    *,
    skipped: Counter[str] | None = None,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def arrays(
    samples: Dataset | Sequence[Sample],
    size: int | None,
    task: None = None,
    *,
    skipped: Counter[str] | None = None,
    progress: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]: ...


def arrays(
    samples: Dataset | Sequence[Sample],
    size: int | None,
    task: str | None = None,
    *,
    skipped: Counter[str] | None = None,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray | dict[str, np.ndarray]]:
    """Read all samples into memory; damaged images are left out, counted and logged with the reason.

    Args:
        samples: a data set or a list of samples.
        size: side in pixels that every chip is resized to; None keeps the stored size, one for all. Clips have one.
        task: the one label wanted; a sample without it is left out. None: all labels that every sample has.
        skipped: reasons and counts of what was left out are added to it.
        progress: show a progress bar, where tqdm is installed.

    Returns:
        uint8 RGB (N, size, size, 3), or of speech clips int16 (N, 16000), and the labels of these N images: int64
        (N,) for one task, or a dictionary of such arrays. Attributes make an array (N, attributes), ages that are not
        whole years a float64 array, names an array of str.

    Raises:
        DataError: no image is left, or the sizes differ while `size` is None.

    Example:
        >>> data = utkface.load("data", split="validation")
        >>> images, gender = arrays(data, 96, "gender")
    """
    samples = samples.samples if isinstance(samples, Dataset) else list(samples)
    lost: Counter[str] = Counter()
    images: np.ndarray | None = None
    kept: list[Sample] = []
    for sample in _progress(samples) if progress else samples:
        if task is not None and task not in sample.labels:
            lost[f"without the label {task}"] += 1
            continue
        try:
            image = sample.image()
        except InputError as error:
            lost["damaged image" if isinstance(error, ImageError) else "unusable recording"] += 1
            log.debug("%s", error)
            continue
        if size is not None and image.ndim == 3:
            image = faces.resize(image, size)
        if images is None:
            images = np.empty((len(samples), *image.shape), image.dtype)
        if image.shape != images.shape[1:]:
            raise DataError(
                f"{sample.name} has {image.shape[1]}x{image.shape[0]} pixels and the images before it "
                f"{images.shape[2]}x{images.shape[1]}: give a size to resize all images to."
            )
        images[len(kept)] = image
        kept.append(sample)
    warn_skipped("arrays", lost)
    if skipped is not None:
        skipped.update(lost)
    if images is None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items()) or "there was none"
        raise DataError(f"No usable image is left of {len(samples)} ({reasons}): check the data set's files.")
    return images[: len(kept)], _labels(kept, task)


def _labels(samples: list[Sample], task: str | None) -> np.ndarray | dict[str, np.ndarray]:
    if task is not None:
        return np.array([sample.labels[task] for sample in samples])
    common = set.intersection(*(set(sample.labels) for sample in samples))
    return {key: np.array([s.labels[key] for s in samples]) for key in samples[0].labels if key in common}


def _progress(samples: list[Sample]) -> Iterable[Sample]:
    try:
        from tqdm import tqdm
    except ImportError:
        return samples
    return tqdm(samples, desc="reading images", unit="image", mininterval=1.0)

"""The yardstick: the identity attack on raw images. An attacker that fails here proves nothing elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from privzoo.audit.attacks import descriptor
from privzoo.audit.features import PIXELS, Faces, Features, View, keep
from privzoo.errors import MissingExtraError

SIDE = 50
CELL, ORIENTATIONS = 5, 9  # of the gradients' histograms, in pixels and directions
KINDS = ("pixels", "gradients", "both")


def grey(chips: np.ndarray) -> np.ndarray:
    """Grey pixels of chips, each with mean 0 and length 1: float32 (N, S, S, 1)."""
    values = chips.astype(np.float32).mean(axis=3)
    values -= values.mean(axis=(1, 2), keepdims=True)
    lengths = np.sqrt(np.square(values).sum(axis=(1, 2), keepdims=True))
    return (values / np.maximum(lengths, 1e-6))[..., None]


def gradients(chips: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs 2005), less sensitive to lighting than pixels: (N, d)."""
    try:
        from skimage.feature import hog
    except ImportError:
        raise MissingExtraError(
            "Gradients need scikit-image; install it with: pip install 'privzoo[detect]'."
        ) from None
    rows = [
        hog(chip.mean(axis=2), ORIENTATIONS, (CELL, CELL), (2, 2), block_norm="L2-Hys", transform_sqrt=True)
        for chip in chips
    ]
    values = np.array(rows, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


def view(kind: str, cache: Path) -> View:
    """Pixels, in the form of a head's output.

    Args:
        kind: "pixels", "gradients", or "both" in one row.
        cache: folder to cache them in.
    """

    def values(faces: Faces) -> np.ndarray:
        parts = []
        if kind != "gradients":
            parts.append(grey(faces.chips))
        if kind != "pixels":
            parts.append(gradients(faces.chips))
        return parts[0] if len(parts) == 1 else np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)

    def extract(faces: Faces) -> Features:
        return keep({"kind": kind, "chips": faces.chips}, lambda: values(faces), cache)

    return View(PIXELS, "", extract)


def recogniser_view(cache: Path) -> View:
    """Pixels as embedded by a strong, independent recogniser; see `privzoo.audit.attacks.descriptor`."""
    facts = {"kind": descriptor.NAME, "inset": descriptor.INSET, "padding": descriptor.PADDING}

    def extract(faces: Faces) -> Features:
        return keep({**facts, "chips": faces.chips}, lambda: descriptor.Descriptor().embed(faces.chips), cache)

    return View(PIXELS, "", extract)


def named(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    """Whether the recogniser identifies each scored photograph, by the nearest photograph and by the nearest mean.

    Args:
        train: unit vectors (N, d) and people 0..P-1 (N,), each at least once.
        test: likewise.

    Returns:
        Judge -> bool (M,).
    """
    alike = test[0] @ train[0].T
    sums = np.zeros((int(train[1].max()) + 1, train[0].shape[1]))
    np.add.at(sums, train[1], train[0])
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    found = {"nearest photograph": train[1][alike.argmax(axis=1)], "nearest mean": (test[0] @ means.T).argmax(axis=1)}
    return {judge: people == test[1] for judge, people in found.items()}

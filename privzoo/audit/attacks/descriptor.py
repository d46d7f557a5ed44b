"""A strong, independent recogniser: dlib's face descriptor, if the extra `recogniser` is installed.

`dlib_face_recognition_resnet_model_v1` (King 2017) maps an aligned face to 128 numbers, in which faces of one person
are close to each other; its author says that it was not trained on LFW's people. If it is not installed,
`privzoo.audit.attacks.recogniser` takes its place, and identifies fewer people. The alignment of chips was chosen on
people of LFW outside LFW-100.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.audit.attacks.recogniser import Gallery, colour, gallery_of
from privzoo.errors import MissingExtraError

NAME = "dlib"
MODELS = "face_recognition_models"  # the package that contains the files
NETWORK, LANDMARKS = "dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"
SIDE = 150  # pixels of the chip that the network takes
PADDING = 0.25  # margin around the face, as a share of that chip, as in the network's training
SEARCHED = 244  # pixels to which a chip is resized before its landmarks are detected
KEPT = 50_000  # descriptors in memory: originals recur with every decoder, and a mean face with every photograph
INSET = 0.1  # margin around the square that contains the landmarks, as a share of the chip's side


def installed() -> bool:
    """Whether dlib and its models are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("dlib", MODELS))


@functools.cache
def _loaded() -> tuple[Any, Any, Any]:
    try:
        import dlib
    except ImportError:
        dlib = None
    # The package itself is not imported: it needs a part of setuptools that newer versions lack.
    found = importlib.util.find_spec(MODELS)
    if dlib is None or found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "dlib's recogniser is not installed; install it with: pip install 'privzoo[recogniser]'."
        )
    folder = Path(found.submodule_search_locations[0]) / "models"
    network = dlib.face_recognition_model_v1(str(folder / NETWORK))
    return dlib, network, dlib.shape_predictor(str(folder / LANDMARKS))


_kept: dict[bytes, np.ndarray] = {}


@dataclass(frozen=True)
class Descriptor:
    """dlib's embedding of faces; its network is loaded on first use."""

    name: str = NAME

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Unit vectors, float32 (N, 128), whose dot product measures the similarity of two faces.

        Args:
            images: framed as face chips, uint8 or float 0..255, (N, S, S), (N, S, S, 1) or RGB (N, S, S, 3).

        Raises:
            MissingExtraError: dlib or its models are not installed.
            ImageError: another shape, or values that are not finite.
        """
        dlib, network, landmarks = _loaded()
        vectors = np.empty((len(images), 128), np.float32)
        margin = round(INSET * SEARCHED)
        square = dlib.rectangle(margin, margin, SEARCHED - margin, SEARCHED - margin)
        for i, image in enumerate(colour(images, SEARCHED)):
            digest = hashlib.sha256(image.tobytes()).digest()
            if digest not in _kept:
                aligned = dlib.get_face_chip(image, landmarks(image, square), SIDE, PADDING)
                if len(_kept) >= KEPT:
                    _kept.clear()
                _kept[digest] = np.array(network.compute_face_descriptor(aligned), np.float32)
            vectors[i] = _kept[digest]
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def gallery(self, images: np.ndarray, people: np.ndarray) -> Gallery:
        """What the recogniser knows of some people; see `recogniser.Recogniser.gallery`."""
        return gallery_of(self, images, people)

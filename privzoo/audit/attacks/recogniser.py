"""A simple face recogniser trained here, which judges reconstructions if dlib's is not installed.

`privzoo.audit.attacks.descriptor` has dlib's, which identifies more people. This one needs only the dependencies, and
is trained on the people of LFW outside LFW-100: whitened principal components of grey pixels, and linear discriminant
analysis as the metric, with blurred copies of each photograph, since reconstructions are blurred. A person of the
gallery is the mean of that person's photographs. It never sees a decoder or a reconstruction. Its accuracy on originals
is the yardstick, reported with every figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from privzoo.errors import DataError, ImageError

SIDE = 50  # pixels to which faces are resized
COMPONENTS = 300  # of the pixels
NEGLIGIBLE = 1e-4  # share of the first component's variance below which a component is dropped
BLURS = (0.0, 1.5, 3.0)  # standard deviations in pixels
NAME = "home-made"


class Embedding(Protocol):
    """The interface of recognisers that judge reconstructions."""

    @property
    def name(self) -> str:
        """Of the recogniser."""

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Unit vectors, float32 (N, d), whose dot product says how alike two faces are; for `images` see `grey`."""


def grey(images: np.ndarray, side: int) -> np.ndarray:
    """Resizes images and makes them grey.

    Args:
        images: uint8 or float 0..255, (N, S, S), (N, S, S, 1) or RGB (N, S, S, 3).
        side: pixels.

    Returns:
        float32 (N, side, side), 0..255.

    Raises:
        ImageError: another shape, or values that are not finite.
    """
    from PIL import Image

    values = np.asarray(images)
    if values.ndim == 4 and values.shape[3] in (1, 3):
        # Luma of ITU-R 601, as Pillow and JPEG have it.
        weights = np.array([0.299, 0.587, 0.114] if values.shape[3] == 3 else [1.0], np.float32)
        values = np.stack([image.astype(np.float32) @ weights for image in values]) if len(values) else values[..., 0]
    if values.ndim != 3 or values.dtype.kind not in "uif" or not np.isfinite(values).all():
        raise ImageError(
            f"The images are {values.dtype} of shape {np.shape(images)}; give finite numbers (N, S, S) or (N, S, S, 3)."
        )
    if values.shape[1:] == (side, side):
        return values.astype(np.float32)
    resized = np.empty((len(values), side, side), np.float32)
    for i, value in enumerate(values):
        picture = Image.fromarray(value.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
        resized[i] = np.asarray(picture)
    return resized


def colour(images: np.ndarray, side: int) -> np.ndarray:
    """Resizes images and makes them RGB.

    Args:
        images: as for `grey`.
        side: pixels.

    Returns:
        uint8 (N, side, side, 3).

    Raises:
        ImageError: another shape, or values that are not finite.
    """
    from PIL import Image

    values = np.asarray(images)
    if values.ndim != 4 or values.shape[3] != 3 or values.dtype.kind not in "uif" or not np.isfinite(values).all():
        values = np.repeat(grey(values, values.shape[1] if values.ndim > 1 else side)[..., None], 3, axis=3)
    pictures = (Image.fromarray(np.clip(np.rint(value), 0, 255).astype(np.uint8)) for value in values)
    resized = [np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures]
    return np.stack(resized) if resized else np.empty((0, side, side, 3), np.uint8)


def _pixels(images: np.ndarray) -> np.ndarray:
    """Images with mean 0 and deviation 1, so that brightness and contrast do not matter; float32 (N, SIDE * SIDE)."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / (rows.std(axis=1, keepdims=True) + 1e-3)


@dataclass(frozen=True)
class Recogniser:
    """An embedding of faces; `fit` makes it."""

    mean: np.ndarray  # float32 (SIDE * SIDE,)
    matrix: np.ndarray  # float32 (SIDE * SIDE, COMPONENTS): principal components, then the metric
    name: str = NAME

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Unit vectors, float32 (N, COMPONENTS), whose dot product is the similarity of two faces.

        Args:
            images: as for `grey`, framed as face chips.
        """
        vectors = (_pixels(grey(images, SIDE)) - self.mean) @ self.matrix
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def gallery(self, images: np.ndarray, people: np.ndarray) -> Gallery:
        """The recogniser's gallery of some people.

        Args:
            images: N originals.
            people: int (N,), 0 to T - 1, each with at least one image.

        Raises:
            DataError: a person without an image.
        """
        return gallery_of(self, images, people)


@dataclass(frozen=True)
class Gallery:
    """The people among whom a face is identified."""

    recogniser: Embedding
    people: np.ndarray  # float32 (T, d), unit vectors

    def identify(self, images: np.ndarray) -> np.ndarray:
        """The person whose photographs are nearest to each image, int64 (N,)."""
        return (self.recogniser.embed(images) @ self.people.T).argmax(axis=1)

    def recognised(self, images: np.ndarray, people: np.ndarray) -> np.ndarray:
        """Whether each image is recognised as its person, bool (N,)."""
        return self.identify(images) == np.asarray(people)


def gallery_of(recogniser: Embedding, images: np.ndarray, people: np.ndarray) -> Gallery:
    """What any recogniser knows about some people: for each, the mean of that person's photographs.

    Args:
        recogniser: that embeds them.
        images: N originals.
        people: int (N,), 0 to T - 1, each with at least one image.

    Raises:
        DataError: a person without an image.
    """
    people = np.asarray(people)
    counts = np.bincount(people)
    if len(images) != len(people) or not counts.all():
        raise DataError(
            f"The gallery has {len(images)} images for {len(people)} labels of {int((counts > 0).sum())} people "
            f"out of {len(counts)}; give each person an image."
        )
    vectors = recogniser.embed(images)
    sums = np.zeros((len(counts), vectors.shape[1]), np.float32)
    np.add.at(sums, people, vectors)
    return Gallery(recogniser, sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def fit(images: np.ndarray, people: np.ndarray | Sequence[int]) -> Recogniser:
    """Learns the embedding; the same images give the same embedding.

    Args:
        images: originals of people who are in no gallery, as for `grey`.
        people: N labels; people with one image are ignored.

    Raises:
        DataError: no person has two images, so that people cannot be distinguished.
    """
    from scipy.ndimage import gaussian_filter
    from sklearn.decomposition import PCA

    people = np.asarray(people)
    _, labels, counts = np.unique(people, return_inverse=True, return_counts=True)
    keep = counts[labels] > 1
    if len(images) != len(people) or not keep.any():
        raise DataError(
            f"{len(images)} images of {len(counts)} people are too few for a recogniser: give people with two "
            "images or more."
        )
    faces = grey(np.asarray(images)[keep], SIDE)
    faces = np.concatenate([faces, faces[:, :, ::-1]])
    rows = np.concatenate([_pixels(gaussian_filter(faces, (0, blur, blur))) for blur in BLURS])
    labels = np.tile(labels[keep], 2 * len(BLURS))
    pca = PCA(min(COMPONENTS, len(rows) - 1), svd_solver="randomized", random_state=0).fit(rows)
    # Directions of next to no variance would be amplified to noise.
    kept = pca.explained_variance_ > NEGLIGIBLE * pca.explained_variance_[0]
    basis = pca.components_[kept].T / np.sqrt(pca.explained_variance_[kept])
    reduced, components = (rows - pca.mean_) @ basis, basis.shape[1]
    reduced = reduced[np.argsort(labels, kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    means = np.add.reduceat(reduced, np.cumsum(counts) - counts) / counts[:, None]
    within = reduced - np.repeat(means, counts, axis=0)
    scatter = within.T @ within / len(within)
    # A little of the identity matrix: with few photographs some directions never vary within a person.
    spread, directions = np.linalg.eigh(scatter + 1e-3 * np.trace(scatter) / components * np.eye(components))
    matrix = basis @ (directions / np.sqrt(spread))
    return Recogniser(pca.mean_.astype(np.float32), matrix.astype(np.float32))


def outside(root: str | Path, inside: Sequence[str], size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Chips and labels of the people of LFW who are not among some.

    Args:
        root: as for `privzoo.data.lfw.load`.
        inside: names of the people to leave out, as `lfw100(...)[0].classes["identity"]`.
        size: pixels; None: as stored.

    Returns:
        uint8 (N, size, size, 3), and int64 (N,).

    Raises:
        DataError: the layout is not LFW's, or there is nobody else.
    """
    from privzoo.data import arrays, lfw

    data = lfw.load(root, gender=False)
    left_out = set(inside)
    names = data.classes["identity"]
    samples = [sample for sample in data.samples if names[sample.person] not in left_out]
    if not samples:
        raise DataError(f"All {len(names)} people of LFW are left out; use the whole data set.")
    return arrays(samples, size, "identity")

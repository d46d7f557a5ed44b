"""Unmixing: what a cloud sees of DataMix's requests (Liu et al. 2020, section 4.2), although it lacks the coefficients.

The device sends mixtures of a group of images, M = A X, with a fresh secret matrix A for each request. That hides A,
but not the images: their edges are sparse and those of different images are at different places, so that exactly one
matrix makes the mixtures' edges as far from Gaussian as edges of single images are. Independent component analysis
finds it, up to the order and the signs of the images, from the request alone:

1. A bank of band-pass filters leaves edges of several sizes: `BANK`. Which of them serves best depends on the noise.
2. What all faces have in common, such as the place of the eyes, would make the images dependent. An attacker who has
   faces of his own (`learn`) projects it out of the mixtures.
3. Whitening and FastICA with tanh (Hyvärinen 1999), for each filter. Of the matrices that are found, one is taken
   whose results are far from Gaussian over the whole bank, and that other filters confirm: no truth is needed.

Groups that were shuffled are put together first (`regrouping`); what several requests share needs no statistics at all
(`spans`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from privzoo.audit.attacks import preparation
from privzoo.errors import FeatureError

VERSION = 1  # raised when the attack finds something else: results that are kept depend on it
SAMPLES = 20_000  # responses of a filter that are used: all of pixels, of many channels a part
COMMON = 5  # directions in which faces are alike: their mean, and their first principal components
STARTS = 2  # of FastICA at most, where it does not converge
STEPS, TOLERANCE = 200, 1e-4  # of FastICA
RANK = 1e-4  # of the largest deviation: smaller ones are rounding errors of float32, and carry no image
SMALLEST = 8  # pixels; side of the smallest image
GAUSSIAN = 0.374567  # mean of log cosh of a standard normal variable


@dataclass(frozen=True)
class Filter:
    """A band-pass filter: blurs with a Gaussian, then takes what changes."""

    sigma: float  # of the blur, in pixels
    oriented: bool  # horizontal and vertical differences; else the difference to an image of twice the blur

    @property
    def name(self) -> str:
        """For reports."""
        return f"{'edges' if self.oriented else 'spots'} of {self.sigma:g} px"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Responses of each image, float32 (N, d); d is `SAMPLES` at most.

        Args:
            images: float32 (N, H, W, C).
        """
        smooth = blurred(images, self.sigma)
        if self.oriented:
            parts = [np.diff(smooth, axis=2)[:, 1:], np.diff(smooth, axis=1)[:, :, 1:]]
        else:
            parts = [smooth - blurred(images, max(2 * self.sigma, 0.7))]
        step = 2 if self.sigma > 1 else 1  # neighbours in blurred images say the same
        rows = [part[:, ::step, ::step].reshape(len(images), -1) for part in parts]
        responses = rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)
        if responses.shape[1] > SAMPLES:  # the same ones in every image
            chosen = np.random.default_rng(0).permutation(responses.shape[1])[:SAMPLES]
            responses = responses[:, np.sort(chosen)]
        return responses.astype(np.float32, copy=False)


BANK = (
    *(Filter(sigma, True) for sigma in (0.0, 0.7, 1.4, 2.0)),
    *(Filter(sigma, False) for sigma in (0.0, 0.7)),
)


@dataclass(frozen=True)
class Known:
    """What an attacker has learnt from images of his own."""

    mean: np.ndarray  # float32 (H, W, C)
    common: tuple[np.ndarray, ...]  # for each filter of `BANK` orthonormal directions (d, k)


@dataclass(frozen=True)
class Unmixed:
    """The images of one group, as they were recovered."""

    images: np.ndarray  # float32 (r, H, W, C), in any order; r is the rank of the mixtures
    coefficients: np.ndarray  # float64 (r, n): images = coefficients x mixtures, each of length 1
    filter: str  # the name of the filter that was chosen
    converged: bool  # whether FastICA did for this filter


def learn(images: np.ndarray) -> Known:
    """What faces have in common, from an attacker's own ones.

    Args:
        images: float (N, H, W, C), N two or more, as the device would mix them.

    Raises:
        FeatureError: another shape, or values that are not finite.
    """
    images = checked(images, "The attacker's images")
    bases = []
    for one in BANK:
        rows = np.concatenate([one(images[i : i + 32]) for i in range(0, len(images), 32)])
        mean, components, _ = preparation.principal_components(rows, COMMON - 1, seed=0)
        bases.append(np.linalg.qr(np.column_stack([mean, components]).astype(np.float64))[0].astype(np.float32))
    return Known(images.mean(axis=0), tuple(bases))


def unmix(mixtures: np.ndarray, known: Known | None = None, *, orthogonal: bool = True, seed: int = 0) -> Unmixed:
    """Recovers the images of one group.

    Args:
        mixtures: of one group, float (n, H, W, C), n two or more.
        known: of `learn`, from other images; None: the attacker has none.
        orthogonal: the device is known to draw orthogonal matrices, as the paper does.
        seed: of FastICA's start values.

    Raises:
        FeatureError: another shape, values that are not finite, or mixtures of another shape than the known images.

    Example:
        >>> images = np.random.default_rng(0).laplace(size=(2, 32, 32, 1))
        >>> turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
        >>> matching.correlations(unmix(np.tensordot(turn, images, 1)).images, images).min() > 0.99
        True
    """
    mixtures = checked(mixtures, "The mixtures")
    check_known(mixtures, known)
    responses = [own_part(one(mixtures), known, i) for i, one in enumerate(BANK)]
    responses = [rows / max(float(np.sqrt(np.square(rows).mean())), 1e-12) for rows in responses]
    matrices, convergence = [], []
    for rows in responses:
        matrix, converged = _separate(rows, seed)
        # A matrix of lower rank cannot be turned into an orthogonal one: some images were not told apart.
        if orthogonal and len(matrix) == len(mixtures):
            left, _, right = np.linalg.svd(matrix)
            matrix = left @ right
        matrices.append(matrix)
        convergence.append(converged)
    # Noise misleads each filter in its own way: what two of them find is there.
    confirmed = [sum(_agreed(matrix, other) for other in matrices) for matrix in matrices]
    distance = [sum(non_gaussianity(matrix @ rows) for rows in responses) for matrix in matrices]
    chosen = int(np.argmax(np.array(distance) * np.square(confirmed)))
    matrix, one, converged = matrices[chosen], BANK[chosen], convergence[chosen]
    images = np.tensordot(matrix.astype(np.float32), mixtures, 1)
    signs = _signs(images, known)
    return Unmixed(images * signs[:, None, None, None], matrix * signs[:, None], one.name, converged)


def non_gaussianity(rows: np.ndarray) -> float:
    """How far rows are from Gaussian: mean absolute difference in log cosh (Hyvärinen 1999), 0 where Gaussian.

    Args:
        rows: float (n, d).
    """
    standard = rows / np.maximum(rows.std(axis=1, keepdims=True), 1e-12)
    size = np.abs(standard)
    contrast = (size + np.log1p(np.exp(-2 * size)) - np.log(2)).mean(axis=1)
    return float(np.abs(contrast - GAUSSIAN).mean())


def checked(images: np.ndarray, name: str) -> np.ndarray:
    """Images as float32 (n, H, W, C); raises FeatureError for what is none, and says so of `name`."""
    values = np.asarray(images)
    if values.dtype.kind not in "fiu" or values.ndim != 4 or len(values) < 2 or 0 in values.shape:
        raise FeatureError(
            f"{name} are {values.dtype} of shape {values.shape}; give numbers of shape (n, height, width, channels), "
            "two images or more."
        )
    if min(values.shape[1:3]) < SMALLEST:
        raise FeatureError(
            f"{name} have {values.shape[2]}x{values.shape[1]} pixels; at least {SMALLEST}x{SMALLEST} are needed to "
            "tell images apart."
        )
    if not np.isfinite(values).all():
        raise FeatureError(f"{name} hold NaN or infinity; give finite numbers.")
    return values.astype(np.float32, copy=False)


def check_known(mixtures: np.ndarray, known: Known | None) -> None:
    """Raises FeatureError where the attacker's images have another shape than the mixtures."""
    if known is not None and known.mean.shape != mixtures.shape[1:]:
        raise FeatureError(
            f"The mixtures are of shape {mixtures.shape[1:]} and the attacker's own images of shape "
            f"{known.mean.shape}; learn from images of the mixtures' shape."
        )


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Images (N, H, W, C) after a Gaussian of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, sigma, sigma, 0)) if sigma else images


def own_part(rows: np.ndarray, known: Known | None, place: int) -> np.ndarray:
    """Responses (n, d) of filter number `place` without what all faces have in common."""
    if known is None:
        return rows
    basis = known.common[place]
    return rows - (rows @ basis) @ basis.T


def _separate(rows: np.ndarray, seed: int) -> tuple[np.ndarray, bool]:
    """Whitening and FastICA of filtered mixtures (n, d): a matrix (r, n) with rows of length 1, and convergence."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    centred = (rows - rows.mean(axis=1, keepdims=True)).astype(np.float64)
    values, vectors = np.linalg.eigh(centred @ centred.T / centred.shape[1])
    kept = values > RANK**2 * max(float(values[-1]), 1e-300)
    whitening = (vectors[:, kept] / np.sqrt(values[kept])).T
    if not kept.any():  # all mixtures are flat: there is nothing to tell apart
        return np.eye(1, len(rows)), True
    white = whitening @ centred
    best: tuple[float, np.ndarray] | None = None
    for start in _starts(seed):
        ica = FastICA(whiten=False, fun="logcosh", max_iter=STEPS, tol=TOLERANCE, random_state=start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            ica.fit(white.T)
        matrix = ica.components_ @ whitening
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        if ica.n_iter_ < STEPS:
            return matrix, True
        judged = non_gaussianity(matrix @ centred)
        if best is None or judged > best[0]:
            best = judged, matrix
    assert best is not None, "there is at least one start"
    return best[1], False


def _agreed(matrix: np.ndarray, other: np.ndarray) -> float:
    """How much two matrices with rows of length 1 agree, up to order and signs: 0..1."""
    from scipy.optimize import linear_sum_assignment

    alike = np.abs(matrix @ other.T)
    return float(alike[linear_sum_assignment(-alike)].sum() / max(len(matrix), len(other)))


def _starts(seed: int) -> Iterator[int]:
    yield from range(seed, seed + STARTS)


def _signs(images: np.ndarray, known: Known | None) -> np.ndarray:
    """1 or -1 for each image: towards the attacker's mean image, or without one towards brightness."""
    usual = np.ones(images.shape[1:], np.float32) if known is None else known.mean
    found = np.sign(images.reshape(len(images), -1) @ usual.reshape(-1))
    return np.where(found == 0, 1, found).astype(np.float32)

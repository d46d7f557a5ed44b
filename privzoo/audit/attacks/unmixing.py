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

Groups that were shuffled are put together first (`regroup`), by local coherence: where one image has an edge and the
others have none, the mixtures of its group, and only those, are multiples of each other.

`shared` needs no statistics at all: an image that is in two requests lies in both of their spans.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from privzoo.audit.attacks import preparation
from privzoo.errors import ConfigError, FeatureError

VERSION = 1  # raised when the attack finds something else: results that are kept depend on it
SAMPLES = 20_000  # responses of a filter that are used: all of pixels, of many channels a part
COMMON = 5  # directions in which faces are alike: their mean, and their first principal components
STARTS = 2  # of FastICA at most, where it does not converge
STEPS, TOLERANCE = 200, 1e-4  # of FastICA
RANK = 1e-4  # of the largest deviation: smaller ones are rounding errors of float32, and carry no image
PATCH = 6  # pixels; side of the places at which mixtures are compared
COHERENCE = (0.7, 1.4)  # blur in pixels of the edges that are compared
ROUNDS = 30  # of the balanced assignment to groups
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
        smooth = _blurred(images, self.sigma)
        if self.oriented:
            parts = [np.diff(smooth, axis=2)[:, 1:], np.diff(smooth, axis=1)[:, :, 1:]]
        else:
            parts = [smooth - _blurred(images, max(2 * self.sigma, 0.7))]
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
    images = _checked(images, "The attacker's images")
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
        >>> correlations(unmix(np.tensordot(turn, images, 1)).images, images).min() > 0.99
        True
    """
    mixtures = _checked(mixtures, "The mixtures")
    _check_known(mixtures, known)
    responses = [_own_part(one(mixtures), known, i) for i, one in enumerate(BANK)]
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


def unmix_request(
    mixtures: np.ndarray, size: int, known: Known | None = None, *, orthogonal: bool = True, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Recovers the images of a whole request, whose groups were shuffled.

    Args:
        mixtures: of all groups, in any order, float (n, H, W, C).
        size: of a group, which is public.
        known, orthogonal, seed: as for `unmix`.

    Returns:
        The images, float32 (n, H, W, C) at most, and the group that each mixture was put into, int (n,).

    Raises:
        FeatureError: as `unmix`.
        ConfigError: the mixtures do not make whole groups of two or more.
    """
    mixtures = _checked(mixtures, "The mixtures")
    groups = regroup(mixtures, size, known)
    parts = [
        unmix(mixtures[groups == group], known, orthogonal=orthogonal, seed=seed).images
        for group in range(len(mixtures) // size)
    ]
    return np.concatenate(parts), groups


def regroup(mixtures: np.ndarray, size: int, known: Known | None = None) -> np.ndarray:
    """Which mixtures of a shuffled request belong together.

    Args:
        mixtures, size: as for `unmix_request`.
        known: of `learn`, or None.

    Returns:
        int (n,): the group of each, 0..n/size-1, each `size` times.

    Raises:
        FeatureError, ConfigError: as `unmix_request`.
    """
    mixtures = _checked(mixtures, "The mixtures")
    _check_known(mixtures, known)
    if size < 2 or len(mixtures) % size:
        raise ConfigError(
            f"{len(mixtures)} mixtures do not make groups of {size}; give whole groups of two mixtures or more."
        )
    if len(mixtures) == size:
        return np.zeros(size, int)
    return balanced_groups(coherence(mixtures, known), size)


def coherence(mixtures: np.ndarray, known: Known | None = None) -> np.ndarray:
    """How often two mixtures have the same edges, up to a factor: the mean squared correlation over small places.

    Args:
        mixtures: float32 (n, H, W, C).
        known: of `learn`; the filtered mean of its images is taken out of the mixtures.

    Returns:
        float64 (n, n), 0..1.
    """
    count, channels = len(mixtures), mixtures.shape[3]
    total, places = np.zeros((count, count)), 0
    for sigma in COHERENCE:
        for channel in range(channels):
            edges = _edges(mixtures[..., channel], sigma)
            if known is not None:
                usual = _edges(known.mean[None, ..., channel], sigma).reshape(1, -1)
                rows = edges.reshape(count, -1)
                weights = rows @ usual.T / max(float(np.square(usual).sum()), 1e-12)
                edges = (rows - weights * usual).reshape(edges.shape)
            height, width = (side // PATCH for side in edges.shape[2:])
            cut = edges[:, :, : height * PATCH, : width * PATCH]
            cells = cut.reshape(count, 2, height, PATCH, width, PATCH).transpose(2, 4, 0, 1, 3, 5)
            cells = cells.reshape(height * width, count, -1)
            lengths = np.sqrt(np.square(cells).sum(axis=2, keepdims=True))
            # Where nothing changes there is only rounding to compare.
            cells = cells / (lengths + 1e-3 * lengths.mean() + 1e-12)
            for cell in cells:
                total += np.square(cell @ cell.T)
            places += len(cells)
    return total / max(places, 1)


def balanced_groups(alike: np.ndarray, size: int) -> np.ndarray:
    """Groups of equal size whose members are alike: average linkage, then assignments until nothing changes.

    Args:
        alike: float (n, n), higher for more alike; symmetric, its diagonal does not count.
        size: of a group; divides n.

    Returns:
        int (n,): 0..n/size-1, each `size` times.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.optimize import linear_sum_assignment

    count, groups = len(alike), len(alike) // size
    alike = (alike + alike.T) / 2
    np.fill_diagonal(alike, 0)
    distances = alike.max() - alike[np.triu_indices(count, 1)]
    found = fcluster(linkage(distances, "average"), groups, "maxclust") - 1
    for _ in range(ROUNDS):
        members = np.eye(groups)[found]
        others = members.sum(axis=0) - members  # without the mixture itself
        fit = alike @ members / np.maximum(others, 1)
        rows, places = linear_sum_assignment(-np.repeat(fit, size, axis=1))
        moved = np.empty(count, int)
        moved[rows] = places // size
        if np.array_equal(moved, found):
            break
        found = moved
    return found


def shared(requests: Sequence[np.ndarray], count: int = 1, known: Known | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What several groups have in common, by linear algebra alone: an image in all of them lies in all their spans.

    It holds for any coefficients, and for images without any structure. With one image in common, such as a face sent
    again with other covers, the result is that image; more of them are still to be unmixed. Filters only help against
    noise on the mixtures, and against the mean face, which nearly lies in every span. Of all filters, the one is taken
    after which the spans agree best.

    Args:
        requests: two groups of mixtures or more, each float (n, H, W, C).
        count: of the images that are in all of them.
        known: of `learn`, from other images, or None.

    Returns:
        float32 (count, H, W, C), the mean of the groups' own estimates, and how well the spans agree on each, float64
        0..1: without noise 1 where an image really is in all of them.

    Raises:
        FeatureError: fewer than two groups, of different shapes, or with values that are not finite.
        ConfigError: more common images than a group has mixtures.
    """
    groups = [_checked(group, f"The mixtures of group {i}") for i, group in enumerate(requests)]
    if len(groups) < 2 or any(a.shape[1:] != b.shape[1:] for a, b in pairwise(groups)):
        raise FeatureError(
            f"{len(groups)} groups of shapes {[group.shape for group in groups]} have no image in common; give two or "
            "more whose mixtures have one shape."
        )
    if not 1 <= count <= min(len(group) for group in groups):
        raise ConfigError(f"count={count} images cannot be in every group; give 1 to the size of the smallest group.")
    _check_known(groups[0], known)
    found = []
    for i, one in enumerate(BANK):
        rows = [_own_part(one(group), known, i).astype(np.float64) for group in groups]
        found.append(_agreement(rows, count))
    agreed, weights = max(found, key=lambda entry: float(entry[0].min()))
    images = sum(np.tensordot(own.astype(np.float32), group, 1) for own, group in zip(weights, groups, strict=True))
    return np.asarray(images, np.float32) / len(groups), agreed


def _agreement(groups: list[np.ndarray], count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Directions that lie in the spans of all groups of rows (n, d): how well, (count,), and weights (count, n)."""
    bases, turns = [], []
    for rows in groups:
        values, vectors = np.linalg.eigh(rows @ rows.T)
        kept = values > RANK**2 * max(float(values[-1]), 1e-300)
        turns.append((vectors[:, kept] / np.sqrt(values[kept])).T)
        bases.append(turns[-1] @ rows)
    stacked = np.concatenate(bases)
    values, vectors = np.linalg.eigh(stacked @ stacked.T)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    parts = np.split(vectors, np.cumsum([len(basis) for basis in bases])[:-1])
    return values / len(groups), [part.T @ turn for part, turn in zip(parts, turns, strict=True)]


def denoised(images: np.ndarray) -> np.ndarray:
    """Images without the white noise that a device added to mixtures: total variation, as strong as the noise seems.

    Args:
        images: float32 (N, H, W, C).

    Returns:
        Likewise; images that seem free of noise as they are.
    """
    from skimage.restoration import denoise_tv_chambolle

    images = np.array(images, np.float32)
    for image in images:
        for channel in range(image.shape[2]):
            plane = image[..., channel]
            level = noise_level(plane)
            if level > 0.1 * plane.std():
                image[..., channel] = denoise_tv_chambolle(plane, weight=level)
    return images


def noise_level(plane: np.ndarray) -> float:
    """Standard deviation of white noise in an image (H, W), robustly from its finest details (Immerkær 1996)."""
    rows = plane[:, 2:] - 2 * plane[:, 1:-1] + plane[:, :-2]
    details = rows[2:] - 2 * rows[1:-1] + rows[:-2]
    return float(np.median(np.abs(details)) / 0.6745 / 6)


def correlations(recovered: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """How well each original was recovered, under the best pairing of recovered images with originals.

    Args:
        recovered: float (r, ...).
        originals: float (n, ...), of the same shape.

    Returns:
        float64 (n,): absolute correlation of each original with its partner; 0 where it has none.

    Raises:
        FeatureError: images of different shapes.
    """
    return paired(recovered, originals)[1]


def paired(recovered: np.ndarray, originals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The partner of each original among the recovered images, int (n,), -1 for none, and as for `correlations`."""
    from scipy.optimize import linear_sum_assignment

    if np.shape(recovered)[1:] != np.shape(originals)[1:] or not len(originals):
        raise FeatureError(
            f"Recovered images of shape {np.shape(recovered)} cannot be compared with originals of shape "
            f"{np.shape(originals)}; give images of one shape."
        )
    alike = np.abs(_standard(originals) @ _standard(recovered).T)
    rows, places = linear_sum_assignment(-alike)
    partners, found = np.full(len(originals), -1), np.zeros(len(originals))
    partners[rows], found[rows] = places, np.minimum(alike[rows, places], 1)
    return partners, found


def non_gaussianity(rows: np.ndarray) -> float:
    """How far rows are from Gaussian: mean absolute difference in log cosh (Hyvärinen 1999), 0 where Gaussian.

    Args:
        rows: float (n, d).
    """
    standard = rows / np.maximum(rows.std(axis=1, keepdims=True), 1e-12)
    size = np.abs(standard)
    contrast = (size + np.log1p(np.exp(-2 * size)) - np.log(2)).mean(axis=1)
    return float(np.abs(contrast - GAUSSIAN).mean())


def _checked(images: np.ndarray, name: str) -> np.ndarray:
    """Images as float32."""
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


def _check_known(mixtures: np.ndarray, known: Known | None) -> None:
    if known is not None and known.mean.shape != mixtures.shape[1:]:
        raise FeatureError(
            f"The mixtures are of shape {mixtures.shape[1:]} and the attacker's own images of shape "
            f"{known.mean.shape}; learn from images of the mixtures' shape."
        )


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, sigma, sigma, 0)) if sigma else images


def _edges(planes: np.ndarray, sigma: float) -> np.ndarray:
    """Horizontal and vertical differences of planes (n, H, W): (n, 2, H - 1, W - 1)."""
    smooth = _blurred(planes[..., None], sigma)[..., 0]
    return np.stack([np.diff(smooth, axis=2)[:, 1:], np.diff(smooth, axis=1)[:, :, 1:]], axis=1)


def _own_part(rows: np.ndarray, known: Known | None, place: int) -> np.ndarray:
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


def _standard(images: np.ndarray) -> np.ndarray:
    """Images as rows of mean 0 and length 1; flat ones stay 0."""
    rows = np.asarray(images, np.float64).reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)

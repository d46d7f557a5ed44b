"""Mixing: a device sends linear mixtures of a group of features, and unmixes the answers (Liu et al. 2020, 4.2).

A group is S features X, (S, d). The device draws a secret matrix C, (S, S), sends the rows of C X, and gets the rows of
M(C X) back. If the cloud's part M were linear, C^-1 M(C X) would be M(X) exactly; it is not, and mixing-aware training
makes it nearly so. Mixtures of several groups leave in one shuffled order.

**Never rely on it.** Linear mixing is no encryption. The mixtures of one request are S views of the same S images, and
independent component analysis recovers the images, up to order and sign, without the key. There is no epsilon, and no
bound of what an attacker gets. This file exists so that the break can be measured (SECURITY.md).

One secret for one request. Two requests that share a face span two spaces of features that meet in exactly that face,
so that linear algebra alone reveals it: no statistics, whatever the coefficients. So a key mixes once, and a cover is
never mixed under another key (`privzoo.mechanisms.covers`). The same bytes may be sent again, as after a lost answer.

The matrix comes from the Haar measure on the orthogonal group: every rotation is as likely, and unmixing amplifies no
error (Mezzadri 2007: the QR decomposition of a Gaussian matrix, with the signs of R's diagonal made positive). Gaussian
and Dirichlet rows are there to be compared; both are drawn again while they are ill-conditioned, since unmixing
multiplies errors by the condition number.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NoReturn

import numpy as np

from privzoo import checks, outputs
from privzoo.errors import ConfigError, FeatureError

KIND = "mixing"
Coefficients = Literal["orthogonal", "gaussian", "dirichlet"]
KINDS: tuple[Coefficients, ...] = ("orthogonal", "gaussian", "dirichlet")
ENCODINGS = ("int16", "int8")  # in which mixtures may be sent besides float32: a half and a quarter of the bytes
_INTEGERS = {"int16": (32767, "<i2"), "int8": (127, "i1")}  # the largest, and NumPy's name
LEAST_GROUP = 2  # one feature times a number hides nothing
WORST_CONDITION = 8.0  # of a matrix, times its size: float32 mixtures then come back to within about 1e-5
_TRIES = 1000


def check_group(size: Any) -> int:
    """Size of a group, or a refusal.

    Raises:
        ConfigError: no whole number of 2 or more.
    """
    return checks.count("group", size, LEAST_GROUP, unit="features mixed together")


def draw(size: int, kind: Coefficients = "orthogonal", rng: random.Random | None = None) -> np.ndarray:
    """Secret coefficients of one group.

    Args:
        size: features in the group, 2 or more.
        kind: "orthogonal" (Haar), "gaussian" (independent normal values of deviation 1 / sqrt(size)), or "dirichlet"
            (rows that are uniform among those of positive numbers that add up to 1).
        rng: for tests, training and measurements only: a random source that can be repeated protects nobody. By
            default the operating system's cryptographically secure one.

    Returns:
        float64 (size, size), whose condition number is at most 8 size; its values are those of float32, so that mixing
        in float32 and unmixing in float64 use the same numbers.

    Raises:
        ConfigError: a group that is too small, or unknown coefficients.

    Example:
        >>> c = draw(8)
        >>> bool(np.allclose(c @ c.T, np.eye(8), atol=1e-6))
        True
    """
    size, source = check_group(size), rng or random.SystemRandom()
    if kind not in KINDS:
        raise ConfigError(f"coefficients={kind!r} is unknown; give one of {', '.join(map(repr, KINDS))}.")
    for _ in range(_TRIES):
        drawn = _drawn(size, kind, source).astype(np.float32).astype(np.float64)
        if np.linalg.cond(drawn) <= WORST_CONDITION * size:
            return drawn
    raise ConfigError(f"No {kind} coefficients of a group of {size} can be inverted well; take orthogonal ones.")


def _drawn(size: int, kind: Coefficients, source: random.Random) -> np.ndarray:
    if kind == "dirichlet":
        rows = _square(size, lambda: source.expovariate(1.0))
        return rows / rows.sum(1, keepdims=True)
    normal = _square(size, lambda: source.normalvariate(0.0, 1.0))
    if kind == "gaussian":
        return normal / np.sqrt(size)
    q, r = np.linalg.qr(normal)
    # Without the signs, QR's convention would favour some rotations.
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def _square(size: int, value: Any) -> np.ndarray:
    return np.fromiter((value() for _ in range(size * size)), np.float64, size * size).reshape(size, size)


class Key:
    """The secret of one request: the coefficients of its groups, and the order in which the mixtures leave.

    It mixes once and unmixes once, and is overwritten after that, or at the end of its `with` block. It is never
    printed, copied or stored. (This prevents mistakes; Python may hold other copies of an array's memory for a while.)

    Args:
        coefficients: of each group, float (groups, size, size): `draw`'s, or given ones in tests.
        order: permutation of all mixtures, int (groups * size,): the k-th to leave is number `order[k]` by group.

    Raises:
        ConfigError: a group that is too small, coefficients that cannot be inverted well, or an order that is no
            permutation of the mixtures.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(8, 4, 4, 3))
        >>> with Key.drawn(groups=2, size=4) as key:
        ...     mixtures = key.mix(features)
        ...     bool(np.allclose(key.unmix(mixtures), features, atol=1e-5))
        True
    """

    __slots__ = ("__coefficients", "__groups", "__order", "__size", "__state")

    def __init__(self, coefficients: np.ndarray, order: np.ndarray) -> None:
        values = np.array(coefficients, np.float32).astype(np.float64)
        if values.ndim != 3 or values.shape[1] != values.shape[2] or not len(values):
            raise ConfigError(f"Coefficients of shape {values.shape} are no groups; give shape (groups, size, size).")
        self.__groups, self.__size = len(values), check_group(values.shape[1])
        if not (np.isfinite(values).all() and (np.linalg.cond(values) <= WORST_CONDITION * self.__size).all()):
            raise ConfigError(
                "The coefficients of a group cannot be inverted well enough to unmix its answers; draw new ones."
            )
        places = np.array(order)
        count = self.__groups * self.__size
        if places.dtype.kind not in "iu" or not np.array_equal(np.sort(places, axis=None), np.arange(count)):
            raise ConfigError(
                f"The order of the mixtures is no permutation of the {count} of {self.__groups} groups of "
                f"{self.__size}; give each of 0 to {count - 1} once."
            )
        self.__coefficients, self.__order, self.__state = values, places.reshape(-1).astype(np.int64), "fresh"

    @classmethod
    def drawn(cls, groups: int, size: int, kind: Coefficients = "orthogonal", rng: random.Random | None = None) -> Key:
        """A fresh key.

        Args:
            groups: of the request, 1 or more; their mixtures leave in one shuffled order.
            size, kind, rng: as for `draw`.
        """
        groups, size = checks.count("groups", groups, least=1), check_group(size)
        source = rng or random.SystemRandom()
        order = list(range(groups * size))
        source.shuffle(order)
        return cls(np.stack([draw(size, kind, source) for _ in range(groups)]), np.array(order))

    def __repr__(self) -> str:
        """Sizes and state; never the secret."""
        return f"Key(groups={self.__groups}, size={self.__size}, {self.__state})"

    def __reduce_ex__(self, _: Any) -> NoReturn:
        """Refuses to be copied or pickled: a key stays where it was drawn."""
        raise TypeError("A mixing key cannot be copied or stored.")

    def __enter__(self) -> Key:
        """The key itself, which is overwritten at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Overwrites the key."""
        self.wipe()

    def wipe(self) -> None:
        """Overwrites coefficients and order with zeros; the key is of no use after that."""
        self.__coefficients.fill(0)
        self.__order.fill(0)
        self.__state = "wiped"

    def mix(self, features: np.ndarray) -> np.ndarray:
        """What may leave the device: the mixtures of all groups in the key's order.

        Args:
            features: numbers (groups * size, ...), group by group.

        Returns:
            float32 array of the same shape.

        Raises:
            ConfigError: the key was used before.
            FeatureError: another number of features, no numbers, or values that are not finite.
        """
        self._require("fresh", "has mixed before; a second use would give its features away, so draw a new one")
        values = self._checked(features, "features")
        flat = values.reshape(self.__groups, self.__size, -1)
        mixed = np.empty((len(values), flat.shape[2]), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            for places, coefficients, group in zip(*self._by_group(), flat, strict=True):
                if self.__groups == 1:
                    np.matmul(coefficients.astype(np.float32), group, out=mixed)
                else:
                    mixed[places] = coefficients.astype(np.float32) @ group
                # Any NaN or infinity of a group is in all of its mixtures: zero times infinity is NaN.
                if not np.isfinite(mixed[places[0]]).all():
                    raise FeatureError("The features hold NaN or infinity, which would spoil their whole group.")
        self.__state = "mixed"
        return mixed.reshape(values.shape)

    def unmix(self, outputs: np.ndarray) -> np.ndarray:
        """The outputs that belong to the features, from those for their mixtures; overwrites the key.

        Args:
            outputs: numbers (groups * size, ...), in the order in which the mixtures left.

        Returns:
            float64 array of the same shape, in the features' order.

        Raises:
            ConfigError: the key has not mixed yet, or has unmixed before.
            FeatureError: the reply has another length than the request, or is not numbers.
        """
        self._require("mixed", "has nothing to unmix: it mixes once, then unmixes once")
        values = self._checked(outputs, "outputs", np.float64)
        flat = values.reshape(len(values), -1)
        found = np.empty((self.__groups, self.__size, flat.shape[1]), np.float64)
        for group, (places, coefficients) in enumerate(zip(*self._by_group(), strict=True)):
            found[group] = np.linalg.solve(coefficients, flat[places])
        self.wipe()
        return found.reshape(values.shape)

    def _by_group(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of each group the places of its mixtures in the request, and the rows of its coefficients in that order."""
        of = self.__order // self.__size
        places = [np.flatnonzero(of == group) for group in range(self.__groups)]
        rows = [self.__coefficients[g][self.__order[at] % self.__size] for g, at in enumerate(places)]
        return places, rows

    def _require(self, state: str, otherwise: str) -> None:
        if self.__state != state:
            raise ConfigError(f"This mixing key {otherwise}.")

    def _checked(self, given: Any, what: str, dtype: type = np.float32) -> np.ndarray:
        values, count = np.asarray(given), self.__groups * self.__size
        if values.dtype.kind not in "fiu" or values.ndim < 1 or len(values) != count:
            raise FeatureError(
                f"The {what} are {values.dtype} of shape {values.shape}; {self.__groups} groups of {self.__size} need "
                f"numbers of shape ({count}, ...)."
            )
        return np.ascontiguousarray(values, dtype)


@dataclass(frozen=True, eq=False)
class Mixing:
    """What a device does around the cloud's part of a network: how it mixes, and the last layer, which follows.

    Raises:
        ConfigError: a group that is too small, unknown coefficients, or a last layer that is none.

    Example:
        >>> mixing = Mixing(2, "orthogonal", np.eye(3), np.zeros(3))
        >>> mixing.answers(np.zeros((1, 3))).round(2).tolist()
        [[0.33, 0.33, 0.33]]
    """

    group: int  # features mixed together
    coefficients: Coefficients  # as of `draw`
    kernel: np.ndarray = field(repr=False)  # float (hidden, classes): weights of the last layer
    bias: np.ndarray = field(repr=False)  # float (classes,)
    output: outputs.Output = outputs.CLASS  # what follows the last layer: softmax, or for attributes a sigmoid

    def __post_init__(self) -> None:
        """Checks all of it."""
        object.__setattr__(self, "group", check_group(self.group))
        if self.coefficients not in KINDS:
            raise ConfigError(
                f"coefficients={self.coefficients!r} is unknown; give one of {', '.join(map(repr, KINDS))}."
            )
        kernel, bias = (np.asarray(value, np.float64) for value in (self.kernel, self.bias))
        fits = kernel.ndim == 2 and kernel.size and bias.shape == kernel.shape[1:]
        if not (fits and np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise ConfigError(
                f"A last layer of shapes {kernel.shape} and {bias.shape} is invalid; give finite numbers of shapes "
                "(hidden, classes) and (classes,)."
            )
        object.__setattr__(self, "kernel", kernel)
        object.__setattr__(self, "bias", bias)

    @property
    def hidden(self) -> int:
        """Numbers in the cloud's answer for one mixture."""
        return len(self.kernel)

    def covers(self, faces: int) -> int:
        """How many covers so many faces need, to fill their last group."""
        return -faces % self.group

    def key(self, faces: int, rng: random.Random | None = None) -> Key:
        """A fresh key for whole groups of faces; `rng` as for `draw`."""
        return Key.drawn(faces // self.group, self.group, self.coefficients, rng)

    def answers(self, hidden: np.ndarray) -> np.ndarray:
        """The last layer and what follows it: probabilities, float32 (N, classes), of unmixed answers (N, hidden)."""
        return outputs.probabilities(np.asarray(hidden, np.float64) @ self.kernel + self.bias, self.output)

    def drawn(self) -> dict[str, Any]:
        """What an answer says of the key that it comes from."""
        return {"kind": KIND, "group": self.group, "coefficients": self.coefficients, "drawn": True}

    def describe(self) -> dict[str, Any]:
        """Entry `noise` of a manifest, so that versions of privzoo that cannot mix refuse the head."""
        return {"kind": KIND, "group": self.group, "coefficients": self.coefficients}

    def post(self) -> dict[str, Any]:
        """Entry `post` of a manifest: the last layer."""
        return {"kernel": self.kernel.tolist(), "bias": self.bias.tolist()}


def pack(mixtures: np.ndarray, encoding: str) -> list[bytes]:
    """Mixtures in fewer bytes: each a float32 scale, then its values in units of it, all little-endian.

    Args:
        mixtures: finite float32 (N, ...).
        encoding: one of `ENCODINGS`: whole numbers from -32767 to 32767, or from -127 to 127. They are finer than
            float16 in the same bytes, where a mixture's largest value is known, and many times faster to make.

    Returns:
        N texts of 4 bytes and 2 or 1 for each value.

    Raises:
        ConfigError: an unknown encoding.
    """
    if encoding not in ENCODINGS:
        raise ConfigError(
            f"encoding={encoding!r} is unknown; give float32 or one of {', '.join(map(repr, ENCODINGS))}."
        )
    flat = np.ascontiguousarray(mixtures, np.float32).reshape(len(mixtures), -1)
    most, kind = _INTEGERS[encoding]
    texts, units = [], np.empty(flat.shape[1], np.float32)
    for row in flat:  # one after the other, as one fits the processor's cache
        largest = max(row.max(initial=0), -row.min(initial=0))
        scale = max(largest / np.float32(most), np.finfo(np.float32).tiny)
        np.divide(row, scale, out=units)
        np.rint(units, out=units)
        texts.append(np.float32(scale).astype("<f4").tobytes() + units.astype(kind).tobytes())
    return texts


def unpack(texts: list[bytes], encoding: str, shape: tuple[int, ...]) -> np.ndarray:
    """Inverse of `pack`, up to its rounding: float32 (N, *shape), as the tail reads it."""
    _, kind = _INTEGERS[encoding]
    rows = [np.frombuffer(text[4:], kind).astype(np.float32) * np.frombuffer(text[:4], "<f4") for text in texts]
    return np.stack(rows).reshape(len(texts), *shape)


def from_manifest(manifest: Any, source: str) -> Mixing:
    """The mixing of a head's manifest.

    Raises:
        ConfigError: the head's features are not mixed, or the manifest does not say how.
    """
    try:
        entry, post = manifest["noise"], manifest["post"]
        if entry["kind"] == KIND:
            kind = outputs.of_manifest(manifest, source)
            kernel, bias = np.array(post["kernel"]), np.array(post["bias"])
            return Mixing(entry["group"], entry["coefficients"], kernel, bias, kind)
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(f"The head {source} does not say how its features are mixed; give one of a DataMix model.")

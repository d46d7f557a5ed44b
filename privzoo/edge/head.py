"""The head on the device: face chips in, features out (Osia et al. 2017, section II: the client's side)."""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np

from privzoo import checks, faces
from privzoo.edge.unprotected import UnprotectedHead, as_chips
from privzoo.errors import ConfigError
from privzoo.mechanisms import codebook, gaussian, mixing, randomized_response
from privzoo.mechanisms import permanent as answers
from privzoo.mechanisms.budget import DELTA, check_delta, check_epsilon, rounded_up, within
from privzoo.mechanisms.codebook import Codebook
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.ledger import OWNER, Ledger
from privzoo.mechanisms.randomized_response import RandomizedResponse


class Head:
    """A head that privzoo exported, open on LiteRT or tflite-runtime.

    It cannot be changed once it is open: no assignment to an attribute, and no edit of its manifest, switches off the
    noise or the ledger. (This prevents mistakes. Python code that deliberately reaches inside always can.)

    Args:
        path: the `.tflite` file.
        threads: CPU threads for one inference, 1 or more.
        epsilon: local-differential-privacy budget of one feature, which determines the noise; None: the noise that the
            head's manifest asks for. Only for heads with noise or codes; `privzoo.mechanisms.gaussian` and
            `privzoo.mechanisms.randomized_response` state the guarantee.
        delta: delta of the same budget; None: 1e-5. Refused for codes, which have none.
        total_epsilon: budget of all features of one owner together, kept in the ledger; beyond it `features` refuses.
            None: no limit. Only for heads with noise.
        total_delta: delta of the same total; None: 1e-5.
        ledger: file that records the spending, created if missing; or a `Ledger`. All heads that
            see the same people should share one.
        permanent: file of the device's secret, created if missing, with which answers of a coded head are drawn
            once and repeated: `features(chips, slot=...)`, and `privzoo.mechanisms.permanent` for what that guarantees
            and costs. None: each answer is a fresh draw.
        owner: whose budget is spent: a person, or, if people are not distinguished, the device, whose faces then all
            count as one person's.

    Attributes:
        path: path of the file.
        manifest: the file's manifest, a copy; see `privzoo.edge.read_manifest`.
        input_size: side of the chips in pixels.
        feature_shape: shape of one feature.
        classes: names of the tail's classes.
        noise: mechanism applied to every feature before it is given out, or None.
        queries: features given out so far by this object.
        ledger: the `Ledger`; None if none was given.
        permanent: whether answers repeat in a slot.
        owner: whose budget is spent.

    Raises:
        WeightsError: the file is missing, truncated, damaged, or contradicts its manifest.
        ConfigError: the manifest needs what this version cannot do; `threads` is not a count; a budget is invalid, less
            than one feature costs, without its ledger, or for a head without noise; or the ledger or the secret cannot
            be used.
        MissingExtraError: no TFLite interpreter is installed.

    Example:
        >>> head = Head("head.tflite", epsilon=4, total_epsilon=12, ledger="ledger.sqlite")  # doctest: +SKIP
        >>> head.features(head.prepare("photograph.jpg")[0]).shape  # doctest: +SKIP
        (1, 4)
    """

    # No __dict__, and properties without setters: an assignment fails instead of replacing the protection.
    __slots__ = (
        "__book",
        "__count",
        "__ledger",
        "__lock",
        "__noise",
        "__owner",
        "__permanent",
        "__tags",
        "__total",
        "__unprotected",
        "__weakref__",
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        epsilon: float | None = None,
        delta: float | None = None,
        *,
        total_epsilon: float | None = None,
        total_delta: float | None = None,
        ledger: str | os.PathLike[str] | Ledger | None = None,
        owner: str = OWNER,
        permanent: str | os.PathLike[str] | None = None,
    ) -> None:
        if hasattr(self, "_Head__ledger"):
            raise ConfigError(f"The head {self.path} is open and cannot be changed; make another Head.")
        self.__unprotected = UnprotectedHead(path, threads)
        self.__book = self._codebook()
        delta = None if delta is None else checks.number("delta", delta, above=0, below=1)
        self.__noise = self._mechanism(epsilon, delta)
        self.__count, self.__lock = 0, threading.Lock()
        self.__owner = owner
        self.__total = self._checked_total(total_epsilon, total_delta, ledger)
        book = None if self.__book is None else self.__book.name
        self.__permanent = answers.permanent(permanent, self.__noise, book, f"The head {self.path}")
        self.__tags: set[bytes] = set()  # of the permanent answers given out by this object
        if ledger is not None and not isinstance(ledger, Ledger):
            ledger = Ledger(ledger)
        if ledger is not None:
            ledger.cost(owner)  # rejects an invalid owner or file now rather than at the first face
        self.__ledger = ledger  # set last: from now on nothing can be changed

    def _codebook(self) -> Codebook | None:
        entry = self.__unprotected.manifest.get("noise")
        if isinstance(entry, dict) and entry.get("kind") == mixing.KIND:
            raise ConfigError(
                f"The head {self.path} sends mixtures of several faces; open it with privzoo.edge.MixingHead."
            )
        if not isinstance(entry, dict) or entry.get("kind") != randomized_response.KIND:
            return None
        book = codebook.from_manifest(entry.get("codebook"), self.path)
        if (len(book.kernel),) != self.__unprotected.feature_shape:
            raise ConfigError(f"The head {self.path} has the codebook of another head; export it again.")
        return book

    def _mechanism(self, epsilon: float | None, delta: float | None) -> Gaussian | RandomizedResponse | None:
        entry = self.__unprotected.manifest.get("noise")
        if entry is None and epsilon is not None:
            raise ConfigError(f"The head {self.path} adds no noise, so it cannot keep an epsilon; use another.")
        delta = check_delta(epsilon, delta, f"the head {self.path}", None if entry is None else self.__book is not None)
        if entry is None:
            return None
        if self.__book is not None:
            return RandomizedResponse(self.__book.k, entry.get("epsilon") if epsilon is None else epsilon)
        stated = gaussian.from_manifest(entry, self.path)
        if epsilon is None:
            return stated
        return Gaussian.keeping(epsilon, delta, stated.clip)

    def _checked_total(self, epsilon: Any, delta: Any, ledger: Any) -> tuple[float | None, float]:
        if epsilon is None and delta is not None:
            raise ConfigError(f"total_delta={delta!r} is only half of a total; give total_epsilon with it.")
        delta = DELTA if delta is None else delta
        if epsilon is None and ledger is None:
            return None, DELTA
        if self.__noise is None:
            raise ConfigError(
                f"The head {self.path} adds no noise, so its features have no finite budget; use a head "
                "with noise, or omit total_epsilon and ledger."
            )
        if epsilon is None:
            return None, DELTA
        epsilon, delta = check_epsilon(epsilon, delta, prefix="total_")
        if ledger is None:
            raise ConfigError("A total must be kept in a file; give ledger=FILE with total_epsilon.")
        if not within(one := self.__noise.epsilon(delta=delta), epsilon):
            raise ConfigError(
                f"One feature of {self.path} costs epsilon {rounded_up(one, 6)} at delta {delta:g}, more than the "
                f"total of {epsilon:g}; set a smaller epsilon, or a larger total_epsilon."
            )
        return epsilon, delta

    def __repr__(self) -> str:
        """Name and quantization of the model."""
        manifest = self.__unprotected.manifest
        return f"Head({manifest['model']!r}, {manifest.get('quantization')})"

    @property
    def path(self) -> str:
        """Path of the head's file."""
        return self.__unprotected.path

    @property
    def manifest(self) -> dict[str, Any]:
        """The file's manifest; a copy, so that edits change nothing."""
        return copy.deepcopy(self.__unprotected.manifest)

    @property
    def input_size(self) -> int:
        """Side of the chips in pixels."""
        return self.__unprotected.input_size

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one feature, as it leaves the device; a code is a symbol and its budget."""
        return self.__unprotected.feature_shape if self.__book is None else (2,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the tail's classes."""
        return tuple(self.__unprotected.manifest["classes"])

    @property
    def noise(self) -> Gaussian | RandomizedResponse | None:
        """Mechanism applied to every feature before it is given out, or None; a copy, so edits change nothing."""
        return copy.copy(self.__noise)

    @property
    def queries(self) -> int:
        """Features given out so far by this object; the ledger also has those of other objects and processes."""
        return self.__count

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that records the spending, or None."""
        return self.__ledger

    @property
    def permanent(self) -> bool:
        """Whether answers repeat in a slot."""
        return self.__permanent is not None

    @property
    def owner(self) -> str:
        """Whose budget is spent."""
        return self.__owner

    def detect(self, image: Any) -> list[faces.Box]:
        """Finds the faces of one photograph, the largest first.

        Args:
            image: path, bytes of an image file, PIL image, or uint8 array.

        Returns:
            Squares of the chips in the photograph, in pixels; empty if no face is seen.

        Raises:
            ImageError: the image cannot be read.
            MissingExtraError: scikit-image is not installed.
        """
        return faces.detect(faces.decode(image))

    def prepare(
        self, images: Any, face: str = "detect", bulk: bool = False, all_faces: bool = False
    ) -> tuple[np.ndarray, list[faces.Face], list[faces.Skipped]]:
        """Cuts face chips of this head's size from photographs; see `privzoo.faces.chips`.

        Args:
            images: one or many paths, open files, bytes, PIL images or uint8 arrays.
            face: "detect" finds the face, "given" means that each image already is a chip.
            bulk: skip unusable images instead of raising.
            all_faces: give a chip of every face, including small ones.

        Returns:
            uint8 array (N, input_size, input_size, 3); where each chip came from; the images that were skipped.

        Raises:
            ImageError: an image cannot be read, or shows no face (never when `bulk`).
        """
        return faces.chips(images, self.input_size, face, bulk, all_faces)

    def check_slot(self, slot: str | None) -> None:
        """Refuses a slot if answers do not repeat, a missing one if they do, and one that is not text.

        Raises:
            ConfigError: the slot is refused.
        """
        answers.at(self.__permanent, slot)

    def features(self, chips: Any, slot: str | None = None) -> np.ndarray:
        """Spends the budget, runs the head, adds its noise and counts; threads take turns.

        With a ledger, the whole batch is recorded on disk as spent before the first chip is computed. It stays spent
        even if something fails afterwards. Chips refused for their shape or type cost nothing. Permanent answers are
        computed first, since one that was given before costs nothing, and drawn once they are recorded as spent.

        Args:
            chips: uint8 or float array (N, input_size, input_size, 3), RGB, values 0..255.
            slot: in which permanent answers repeat: a person, a day, a service, as the caller chooses.

        Returns:
            float32 array (N, *feature_shape); for a coded head (N, 2), the symbol that may be sent and the epsilon that
            it was drawn under.

        Raises:
            ImageError: chips of another shape, type or range.
            BudgetError: the batch would exceed the total; none of it was given out or spent.
            ConfigError: the ledger cannot be written, and nothing was given out; or a slot without permanent answers,
                or none with them.
            FeatureError: the head's output is not finite.
        """
        chips, permanent = as_chips(chips, self.input_size), answers.at(self.__permanent, slot)
        if permanent is not None:
            symbols = self._symbols(self.__unprotected.features(chips))
            tags = permanent.tags(symbols)
            self._spend(len(chips), tags)
            self._counted(len(chips), tags)
            return permanent.answers(symbols)
        self._spend(len(chips))
        features = self.__unprotected.features(chips)
        self._counted(len(chips))
        if isinstance(self.__noise, RandomizedResponse):
            return self.__noise.answers(self._symbols(features))
        return features if self.__noise is None else self.__noise.send(features)

    def _symbols(self, features: np.ndarray) -> np.ndarray:
        assert self.__book is not None, "only heads with a codebook send symbols"
        return self.__book.encode(features)

    def _spend(self, queries: int, tags: list[bytes] | None = None) -> None:
        if self.__ledger is None:
            return
        assert self.__noise is not None, "only heads with noise have a ledger"
        manifest, (epsilon, delta) = self.__unprotected.manifest, self.__total
        self.__ledger.spend(
            self.__noise,
            queries,
            owner=self.__owner,
            model=manifest["model"],
            head=manifest["head"]["sha256"],
            total_epsilon=epsilon,
            total_delta=delta,
            tags=tags,
        )

    def _counted(self, queries: int, tags: Iterable[bytes] = ()) -> None:
        with self.__lock:
            self.__count += queries
            self.__tags.update(tags)

    def spent_epsilon(self, delta: float = DELTA) -> float:
        """Budget that the owner has spent, according to the ledger; without one, as if all `queries` were one person's.

        Args:
            delta: delta of the total.

        Returns:
            epsilon; infinite once a head without noise has given out a feature.

        Raises:
            ConfigError: an invalid delta, or a ledger that cannot be read.
        """
        if self.__ledger is not None:
            return self.__ledger.spent(self.__owner, delta)
        if self.__noise is None:
            return math.inf if self.queries else 0.0
        return self.__noise.epsilon(self.queries if self.__permanent is None else len(self.__tags), delta)

    def remaining(self) -> int | None:
        """How many more features the owner's total allows this head to give out; None without a total.

        Repeated permanent answers do not count: they cost nothing.

        Raises:
            ConfigError: the ledger cannot be read.
        """
        epsilon, delta = self.__total
        if self.__ledger is None or epsilon is None:
            return None
        assert self.__noise is not None, "only heads with noise have a total"
        return self.__ledger.remaining(self.__noise, epsilon, delta, self.__owner)

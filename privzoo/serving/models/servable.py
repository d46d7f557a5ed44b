"""One loaded version of a model, and what is special about a tail of the zoo."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privzoo.errors import ConfigError
from privzoo.serving import settings
from privzoo.serving.models.folders import Versions, check_name, find_versions
from privzoo.serving.models.saved_model import SavedModel
from privzoo.serving.wire.refusal import bad_request
from privzoo.serving.wire.tensors import Signature, show_shape

MANIFEST = Path("assets.extra") / "privzoo.json"  # written by the export of a tail
ENCODINGS, BYTES_OF_SCALE = {"int16": 2, "int8": 1}, 4  # bytes of a mixture's values, and before them
TAIL_SIGNATURE = re.compile(r"tail_[0-9a-f]{12}(_\w+)?")


@dataclass(frozen=True)
class Tail:
    """What the manifest next to a tail says about it."""

    signature: str  # "tail_" and the first 12 hex digits of the hash of its weights
    feature: str  # name of its input
    shape: tuple[int, ...]  # of one feature
    budget: str | None = None  # of a coded model, name of the input for epsilon; its features are symbols
    symbols: int = 0  # of a coded model: k
    packed: str | None = None  # of one for mixtures, name of the input that takes them as texts
    lengths: tuple[int, ...] = ()  # of these texts in bytes, one for each encoding


class Servable:
    """One version of a model, loaded.

    Args:
        name: of the model.
        version: of the model.
        folder: of the version.

    Raises:
        WeightsError: no SavedModel, or a damaged one.
        ConfigError: a damaged manifest.
        MissingExtraError: TensorFlow is not installed.
    """

    def __init__(self, name: str, version: int, folder: Path) -> None:
        self.name, self.version, self.folder = name, version, Path(folder)
        self.tail = read_tail(self.folder)
        self.model = SavedModel(folder)
        self.uses = 0  # requests that run on it; guarded by the lock of `Models`

    def missing(self, signature: str) -> str | None:
        """Why a tail lacks the signature that another tail's head asks for; None if that is not the reason."""
        if self.tail is None or not TAIL_SIGNATURE.fullmatch(signature):
            return None
        return (
            f'This head does not belong to this tail: the head asks for "{signature}", and version {self.version} of '
            f'the model "{self.name}" is "{self.tail.signature}"; use the head and the tail of one export.'
        )

    def signature(self, name: str) -> Signature:
        """The signature of that name.

        Raises:
            Refusal: the model has no such signature; for a head's, that this is not its tail.
        """
        found = self.model.signatures.get(name)
        if found is not None:
            return found
        raise bad_request(self.missing(name) or f'Serving signature name: "{name[:80]}" not found in signature def')

    def check(self, inputs: Mapping[str, np.ndarray], max_rows: int = settings.MAX_ROWS) -> None:
        """Refuses features that the tail's head cannot have produced; other models accept what TensorFlow accepts.

        Args:
            inputs: input name -> array.
            max_rows: maximum number of features.

        Raises:
            Refusal: no features or too many, of another shape, or with numbers that are not finite; of a coded model,
                symbols that its code does not have, or budgets that no symbol can have been sent under.
        """
        if self.tail is None:
            return
        if (packed := inputs.get(self.tail.packed or "")) is not None:
            _check_packed(self.tail, packed, max_rows)
        if (features := inputs.get(self.tail.feature)) is None:
            return
        if features.shape[:1] == (0,):
            raise bad_request("The request has no features in it; send at least one.")
        if features.shape[1:] != self.tail.shape or features.ndim != len(self.tail.shape) + 1:
            raise bad_request(
                f"The features have the shape {show_shape(features.shape)}, and the tail takes "
                f"{show_shape((-1, *self.tail.shape))}; send what its head gives."
            )
        _check_rows(len(features), max_rows)
        if features.dtype.kind not in "fiu":
            return  # TensorFlow's own refusal names both types
        wrong = features.size - int(np.isfinite(features).sum())
        if wrong:
            raise bad_request(
                f"{wrong} of the {features.size} numbers in the features are not finite (NaN or infinity); "
                "a tail accepts finite numbers only."
            )
        if self.tail.budget is not None:
            _check_code(self.tail, features, inputs[self.tail.budget])

    def check_answer(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Refuses a tail's answer that is not a number; any other model's goes out as it is.

        Args:
            outputs: output name -> array, of one request alone.

        Raises:
            Refusal: NaN or infinity in it, for finite features that were too large.
        """
        if self.tail is None:
            return
        for name, array in outputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise bad_request(
                    f'The answer "{name}" is not finite (NaN or infinity): the features are too large for the tail; '
                    "send what its head gives."
                )


def _check_rows(count: int, most: int) -> None:
    if count > most:
        raise bad_request(f"The request has {count} features, but this server accepts {most} at once; send fewer.")


def _check_packed(tail: Tail, packed: np.ndarray, max_rows: int) -> None:
    if packed.ndim != 1 or not len(packed):
        raise bad_request(
            f'"{tail.packed}" has the shape {show_shape(packed.shape)}; send a text for each mixture, at least one.'
        )
    _check_rows(len(packed), max_rows)
    found = {len(text) for text in packed.tolist()}
    if len(found) > 1 or not found <= set(tail.lengths):
        raise bad_request(
            f'The texts in "{tail.packed}" have {", ".join(map(str, sorted(found)))} bytes; all of them have '
            f"{' or '.join(map(str, tail.lengths))}: send mixtures of this tail's head."
        )


def _check_code(tail: Tail, symbols: np.ndarray, budgets: np.ndarray) -> None:
    if budgets.shape != symbols.shape:
        raise bad_request(
            f"The request has {len(symbols)} symbols and budgets of the shape {show_shape(budgets.shape)}; send "
            f'one "{tail.budget}" with each "{tail.feature}".'
        )
    # TensorFlow would accept both, and return probabilities without evidence.
    wrong = int(((symbols < 0) | (symbols >= tail.symbols)).sum())
    if wrong:
        raise bad_request(
            f"{wrong} of the {len(symbols)} symbols are not this tail's, which has 0 to "
            f"{tail.symbols - 1}; send what its head gives."
        )
    wrong = budgets.size - int((np.isfinite(budgets) & (budgets > 0)).sum()) if budgets.dtype.kind in "fiu" else 0
    if wrong:
        raise bad_request(
            f'{wrong} of the {budgets.size} budgets in "{tail.budget}" are not finite numbers above 0; send '
            "the epsilon that each symbol was drawn under."
        )


def load_versions(name: str, base_path: str | os.PathLike[str], versions: Versions = "latest") -> list[Servable]:
    """Loads versions of a model.

    Args:
        name: under which clients ask for it.
        base_path: folder with `<version>/saved_model.pb` in it.
        versions: "latest", "all", or their numbers.

    Returns:
        The loaded versions.

    Raises:
        ConfigError: an invalid name, folder or version.
        WeightsError: a version that is damaged.
        MissingExtraError: TensorFlow is not installed.
    """
    check_name(name)
    return [Servable(name, version, path) for version, path in find_versions(base_path, versions).items()]


def read_tail(folder: Path) -> Tail | None:
    """Reads what the zoo's manifest says of a tail; None for any other SavedModel.

    Raises:
        ConfigError: the manifest is damaged.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    try:
        manifest = json.loads(file.read_bytes())
        feature, signature = manifest["feature"], manifest["tail"]["signature"]
        # A symbol is one number; the shape is that of the feature that stays on the device.
        budget = feature.get("budget")
        shape = () if budget else tuple(int(side) for side in feature["shape"])
        symbols = int(manifest["noise"]["k"]) if budget else 0
        sizes = [ENCODINGS[str(name)] for name in feature.get("encodings", ())]
        lengths = tuple(BYTES_OF_SCALE + size * math.prod(shape) for size in sizes)
        tail = Tail(str(signature), str(feature["name"]), shape, budget, symbols, feature.get("packed"), lengths)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"The manifest {file} is damaged ({type(error).__name__}); export the tail again.") from None
    return tail

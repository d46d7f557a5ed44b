"""One JSON value to one tensor, by the rules of TF Serving's REST interface.

A leaf has to fit the tensor's type without loss: whole numbers for integers, numbers for floats, `true` and `false` for
booleans, strings or `{"b64": ...}` for strings. Messages follow TF Serving's words, and show no more of a value than a
short scalar, so that no feature comes back in an error.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np

from privzoo.serving.wire.refusal import Refusal, bad_request

MAX_RANK = 32  # numpy's own limit in its older versions
_SHOWN = 40  # characters of a scalar that an error message repeats


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature."""

    tensor: str  # name in the graph
    dtype: str  # TensorFlow's name: "float", "int64", "string", ...
    shape: tuple[int, ...] | None  # -1: any size; None: any rank


@dataclass(frozen=True)
class Signature:
    """A function of a SavedModel."""

    name: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    method: str = ""  # "tensorflow/serving/predict", or classify, or regress


class Signed(Protocol):
    """Anything with signatures, as a loaded SavedModel."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Name -> signature."""


class Served(Protocol):
    """What requests are read for: one loaded version of a model, as `privzoo.serving.models.servable.Servable`."""

    @property
    def model(self) -> Signed:
        """What runs."""

    def missing(self, signature: str) -> str | None:
        """Why it lacks a signature that was asked for; None: for no reason that it knows."""


def to_array(value: Any, dtype: str) -> np.ndarray:
    """Makes a tensor of a JSON value.

    Args:
        value: scalar, or lists nested to any depth, all of one level equally long.
        dtype: TensorFlow's name of the type.

    Returns:
        Array of that type; strings as an object array of bytes.

    Raises:
        Refusal: a value that does not fit the type, ragged lists, or a type that JSON cannot hold.
    """
    convert = _CONVERT.get(dtype)
    if convert is None:
        raise Refusal("UNIMPLEMENTED", f"Conversion of JSON Value: {show(value)} to type: {dtype}")
    shape = _shape(value)
    return convert(_leaves(value, shape), dtype).reshape(shape)


def is_base64(value: Any) -> bool:
    """True for the object that stands for bytes: `{"b64": "..."}` and nothing else in it."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def decode_base64(value: dict[str, Any]) -> bytes:
    """The bytes that an object `{"b64": "..."}` stands for.

    Raises:
        Refusal: another object, or text that is not base64.
    """
    if not is_base64(value):
        raise bad_request(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    text = re.sub(r"\s", "", value["b64"]).rstrip("=")
    try:
        # TF Serving takes base64 without its padding too.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("Unable to base64 decode") from None


def show(value: Any) -> str:
    """A JSON value for an error message: a short scalar as it is, the inside of lists and objects left out."""
    if type(value) is list:
        return "[...]" if value else "[]"
    if type(value) is dict:
        return "{...}" if value else "{}"
    if value is None or type(value) is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if type(value) is float and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    text = f'"{value}"' if type(value) is str else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def show_shape(shape: tuple[int, ...]) -> str:
    """A shape as TF Serving writes it: `[2,3]`."""
    return f"[{','.join(map(str, shape))}]"


def _shape(value: Any) -> tuple[int, ...]:
    shape: list[int] = []
    while type(value) is list:
        shape.append(len(value))
        if len(shape) > MAX_RANK:
            raise bad_request(f"The lists are nested more than {MAX_RANK} deep; no tensor has so many dimensions.")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _leaves(value: Any, shape: tuple[int, ...]) -> list[Any]:
    rows, rank = [value], len(shape)
    for level, size in enumerate(shape):
        for row in rows:
            if type(row) is not list:
                raise bad_request(
                    f"JSON Value: {show(row)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {rank}"
                )
            if len(row) != size:
                raise bad_request(
                    f"Encountered list at unexpected size: {len(row)} at level: {level} expected size: {size}"
                )
        rows = list(chain.from_iterable(rows))
    if list in set(map(type, rows)):
        raise bad_request(f"Encountered list at unexpected level: {rank} expected < {rank}")
    return rows


def _type_error(value: Any, dtype: str) -> Refusal:
    kinds = {str: "String", dict: "Object", type(None): "Null", bool: str(value)}
    return bad_request(
        f"JSON Value: {show(value)} Type: {kinds.get(type(value), 'Number')} is not of expected type: {dtype}"
    )


def _check_types(leaves: list[Any], allowed: set[type], dtype: str) -> set[type]:
    kinds = set(map(type, leaves))
    if not kinds <= allowed:
        raise _type_error(next(leaf for leaf in leaves if type(leaf) not in allowed), dtype)
    return kinds


def _floats(leaves: list[Any], dtype: str) -> np.ndarray:
    to = np.finfo(_FLOATS[dtype])
    largest = 2 ** (to.nmant + 1) - 1  # the largest whole number below which each one is exact
    lossy: Any = None
    if int in _check_types(leaves, {int, float}, dtype):
        lossy = next((leaf for leaf in leaves if type(leaf) is int and abs(leaf) > largest), None)
    if lossy is None:
        numbers = np.array(leaves, np.float64)
        with np.errstate(over="ignore"):
            rounded = numbers.astype(to.dtype)
        # Rounded first: the shortest text of the largest float32, 3.4028235e+38, lies a little above it as a double.
        over = np.isfinite(numbers) & ~np.isfinite(rounded)
        if not over.any():
            return rounded
        lossy = leaves[int(over.argmax())]
    raise bad_request(f"Cannot convert JSON value: {show(lossy)} to {dtype} without loss of precision.")


def _integers(leaves: list[Any], dtype: str) -> np.ndarray:
    _check_types(leaves, {int}, dtype)
    limits = np.iinfo(dtype)
    wrong = next((leaf for leaf in leaves if not limits.min <= leaf <= limits.max), None)
    if wrong is not None:
        raise _type_error(wrong, dtype)
    return np.array(leaves, dtype)


def _booleans(leaves: list[Any], dtype: str) -> np.ndarray:
    _check_types(leaves, {bool}, dtype)
    return np.array(leaves, np.bool_)


def _strings(leaves: list[Any], dtype: str) -> np.ndarray:
    _check_types(leaves, {str, dict}, dtype)
    array = np.empty(len(leaves), object)
    array[:] = [leaf.encode("utf-8") if type(leaf) is str else decode_base64(leaf) for leaf in leaves]
    return array


_FLOATS: dict[str, type[np.float32] | type[np.float64]] = {"float": np.float32, "double": np.float64}
_INTEGERS = ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
_CONVERT: dict[str, Callable[[list[Any], str], np.ndarray]] = {
    **dict.fromkeys(_FLOATS, _floats),
    **dict.fromkeys(_INTEGERS, _integers),
    "bool": _booleans,
    "string": _strings,
}

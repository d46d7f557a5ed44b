"""Released weights: where their files come from, and the integer encoding in which they are stored."""

from __future__ import annotations

import hashlib
import math
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from privzoo import checks, config
from privzoo.config import ModelConfig, NetworkConfig, ReleasedFile, WeightsFile
from privzoo.errors import ConfigError, WeightsError
from privzoo.files import replacing, write_arrays

if TYPE_CHECKING:
    import numpy as np

# Largest code: the most negative one stays unused, so that a kernel and its negative are encoded alike.
CODE_MAXIMUM = {"int5": 15, "int8": 127, "int16": 32767}
STORED = {"int5": "int8"}  # type in the file, where it is not that of the codes: compression does the rest
_PLACE = "_place"  # ends the key of a kernel that lies in a head
SMALLEST_SHARED = 1024  # values; fewer might lie in a file by chance, and save nothing
SECONDS_TO_ANSWER = 30  # of a mirror, for each part of a file


def cache_folder() -> Path:
    """Folder `PRIVZOO_HOME`, or `~/.cache/privzoo`."""
    return checks.local_path(os.environ.get("PRIVZOO_HOME") or Path.home() / ".cache" / "privzoo").expanduser()


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _places(file: ReleasedFile) -> tuple[Path, Path]:
    """Where a released file may lie: bundled, or in the cache folder."""
    bundled = config.config_folder() / "weights" if file.file.endswith(".npz") else config.heads_folder()
    return bundled / file.file, cache_folder() / file.file


def available(file: ReleasedFile) -> bool:
    """Whether `find` should find a file: it exists, unchecked, or a mirror is set."""
    return any(path.exists() for path in _places(file)) or bool(os.environ.get("PRIVZOO_WEIGHTS_URL"))


def missing(weights: WeightsFile) -> str | None:
    """Name of the file without which weights cannot be read on this machine; None if all are available."""
    files = (weights, weights.kernels_in)
    return next((file.file for file in files if file and not available(file)), None)


def find(weights: ReleasedFile) -> Path:
    """Finds a released file: bundled, in the cache folder, or fetched from `PRIVZOO_WEIGHTS_URL` into the cache.

    Args:
        weights: name, hash and size of a weights file, or of the head that holds some of its kernels.

    Returns:
        Path of a file whose SHA-256 is right.

    Raises:
        WeightsError: it is missing, damaged, or cannot be fetched.
    """
    places = _places(weights)
    cached = places[-1]
    for path in places:
        if path.exists():
            if sha256(path) != weights.sha256:
                raise WeightsError(
                    f"The weights file {path} is damaged or from another release (its SHA-256 is not "
                    f"{weights.sha256[:12]}...); delete it and fetch or install it again."
                )
            return path
    mirror = os.environ.get("PRIVZOO_WEIGHTS_URL")
    if not mirror:
        raise WeightsError(
            f"The file {weights.file} is neither bundled nor in {cached.parent}; copy it there from a checkout "
            f"({places[0].parent.name}/), or set PRIVZOO_WEIGHTS_URL to a mirror that has it."
        )
    return _fetch(f"{mirror.rstrip('/')}/{weights.file}", cached, weights)


def _fetch(url: str, path: Path, weights: ReleasedFile) -> Path:
    import httpx

    digest, shown = hashlib.sha256(), re.sub(r"(?<=//)[^/?#]*@", "", url)  # a mirror's password stays out of errors
    try:
        with (
            replacing(path) as temporary,
            open(temporary, "wb") as file,
            httpx.stream("GET", url, follow_redirects=True, timeout=SECONDS_TO_ANSWER) as response,
        ):
            response.raise_for_status()
            for part in response.iter_bytes():
                file.write(part)
                digest.update(part)
                if file.tell() > weights.bytes:  # an endless answer must not fill the disk
                    break
            if digest.hexdigest() != weights.sha256:
                raise WeightsError(
                    f"The weights at {shown} are not the released ones (wrong SHA-256); check PRIVZOO_WEIGHTS_URL or "
                    "try again."
                )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:  # the last two: of a proxy's address
        if isinstance(error, WeightsError):
            raise
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
        reason = f"HTTP {status}" if status else f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"The weights could not be fetched from {shown} ({reason}); check PRIVZOO_WEIGHTS_URL, and HTTPS_PROXY "
            "if you go through a proxy."
        ) from None
    except OSError as error:
        raise WeightsError(f"The weights could not be stored in {path.parent}: {error}; set PRIVZOO_HOME.") from None
    return path


def encode(weights: Mapping[str, np.ndarray], dtype: str = "int8") -> dict[str, np.ndarray]:
    """Encodes kernels as integers with one scale per output channel; everything else stays float32.

    Args:
        weights: `<layer>/<variable>` -> float array; a kernel's last axis is its output channels. A convolution with
            one output channel, such as a depthwise one, has a scale for each input channel instead.
        dtype: of the codes, "int5", "int8" or "int16".

    Returns:
        The same keys, with `<layer>/kernel` as codes, next to `<layer>/kernel_scale` float32, (channels,) or
        (channels, 1).

    Raises:
        WeightsError: a value is not finite.
    """
    import numpy as np

    coded = {}
    for key, value in weights.items():
        value = np.asarray(value, np.float32)
        if not np.isfinite(value).all():
            raise WeightsError(f"{key} has values that are not finite; such weights cannot be released.")
        if key.endswith("/kernel"):
            single = value.ndim == 4 and value.shape[-1] == 1
            scale = np.abs(value).max(axis=(0, 1) if single else tuple(range(value.ndim - 1))) / CODE_MAXIMUM[dtype]
            scale = np.where(scale > 0, scale, 1).astype(np.float32)
            coded[key], coded[f"{key}_scale"] = np.rint(value / scale).astype(STORED.get(dtype, dtype)), scale
        else:
            coded[key] = value
    return coded


def decode(coded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inverse of `encode`, up to half a step of each channel's scale: float32 arrays."""
    return {
        key: value * coded[f"{key}_scale"] if value.dtype.kind == "i" else value
        for key, value in coded.items()
        if not key.endswith("/kernel_scale")
    }


def save(weights: Mapping[str, np.ndarray], path: Path, dtype: str = "int8") -> WeightsFile:
    """Encodes weights into an npz file, written atomically; the same weights give the same bytes."""
    return _write(encode(weights, dtype), path, None)


def _write(coded: Mapping[str, np.ndarray], path: Path, kernels_in: ReleasedFile | None) -> WeightsFile:
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            write_arrays(file, coded, compressed=True)
        # The hash of what was written here: another process may replace it at once.
        return WeightsFile(path.name, sha256(temporary), temporary.stat().st_size, kernels_in)


def read(path: Path, head: Path | None = None) -> dict[str, np.ndarray]:
    """Reads and decodes an npz file of `save` or `share`.

    Args:
        path: of the file.
        head: the head that holds some of its kernels, if one does.

    Raises:
        WeightsError: a file is missing, damaged, or holds anything but arrays.
    """
    return decode(read_codes(path, head))


def read_codes(path: Path, head: Path | None = None) -> dict[str, np.ndarray]:
    """As `read`, without decoding: what `encode` returned."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            coded = {key: file[key] for key in file.files}
        if head is None and any(key.endswith(_PLACE) for key in coded):
            raise WeightsError(
                f"Some kernels of the weights file {path} lie in a released head; load it as the weights of its "
                "network, by the network's name."
            )
        return {
            key.removesuffix(_PLACE): _kernel_at(value, head) if head and key.endswith(_PLACE) else value
            for key, value in coded.items()
        }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"The weights file {path} cannot be read ({error}); delete it and fetch it again.") from None


def stored(weights: WeightsFile) -> dict[str, np.ndarray]:
    """Finds, reads and decodes a released weights file.

    Raises:
        WeightsError: it or the head with its kernels is missing or damaged.
    """
    return read(find(weights), find(weights.kernels_in) if weights.kernels_in else None)


def share(coded: Mapping[str, np.ndarray], path: Path, head: Path | None) -> WeightsFile:
    """Writes codes without the kernels that lie in a released int8 head to the bit: it need not store them again.

    LiteRT stores a convolution's kernel as we do, int8 with a scale for each output channel, but with the output
    channels first. Where it took over the very codes, their place in the head's file is stored instead of them.

    Args:
        coded: of `encode`, or of `read_codes`.
        path: of the npz to write, atomically.
        head: a released head; None to write all of them.

    Returns:
        The file's entry; without `kernels_in` if the head holds none of the kernels.
    """
    import numpy as np

    found = places(coded, head) if head else {}
    kept = {
        key + _PLACE if key in found else key: np.array([found[key], *value.shape]) if key in found else value
        for key, value in coded.items()
    }
    kernels_in = ReleasedFile(head.name, sha256(head), head.stat().st_size) if head and found else None
    return _write(kept, path, kernels_in)


def places(coded: Mapping[str, np.ndarray], head: Path) -> dict[str, int]:
    """Offsets in bytes, in a head's file, of the kernels that it holds to the bit: key -> offset."""
    import numpy as np

    content = head.read_bytes()
    kernels = {
        key: np.moveaxis(value, -1, 0).tobytes()
        for key, value in coded.items()
        if key.endswith("/kernel") and value.dtype == np.int8 and value.size >= SMALLEST_SHARED
    }
    return {key: place for key, kernel in kernels.items() if (place := content.find(kernel)) >= 0}


def _kernel_at(place: np.ndarray, head: Path) -> np.ndarray:
    """Codes that lie in a head: offset in bytes, then the kernel's shape."""
    import numpy as np

    offset, *shape = place.tolist()
    codes = np.fromfile(head, np.int8, count=math.prod(shape), offset=offset)
    return np.moveaxis(codes.reshape(shape[-1], *shape[:-1]), 0, -1)


def load(network: NetworkConfig) -> dict[str, np.ndarray]:
    """Weights of a released network: its parent's, if it has one, with the differing ones replaced.

    Raises:
        WeightsError: the network is not released, or a file is missing or damaged.
    """
    if network.weights is None:
        raise WeightsError(f"The network {network.name} has no released weights yet; train it with tools/train.py.")
    inherited = load(config.network(network.parent)) if network.parent else {}
    return inherited | stored(network.weights)


def of_base(model: ModelConfig) -> dict[str, np.ndarray]:
    """Arrays of the model on whose reduced feature a code is based; none if it is based on the network's own class.

    Raises:
        ConfigError: that model has no such feature, or is of another network, cut or size.
        WeightsError: its weights are missing or damaged.
    """
    code = config.given(model.code, f"{model.name} has no code")
    if code.base is None:
        return {}
    base = config.model(code.base)
    fits = (base.network, base.cut, base.dimensions) == (model.network, model.cut, model.dimensions)
    if not fits or base.weights is None or base.step is not None:
        raise ConfigError(
            f"{model.name} cannot be based on {base.name}; it needs a released model of {model.network} with a reduced "
            f"feature of {model.dimensions} numbers at {model.cut}, not rounded."
        )
    return stored(base.weights)


def differing(weights: Mapping[str, np.ndarray], parent: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layers of `weights` that the parent lacks or that differ, whole layers: what a child's file stores."""
    import numpy as np

    layers = {
        key.rpartition("/")[0]
        for key, value in weights.items()
        if key not in parent or not np.array_equal(value, parent[key])
    }
    return {key: value for key, value in weights.items() if key.rpartition("/")[0] in layers}

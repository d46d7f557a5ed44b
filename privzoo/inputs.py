"""What heads take: face chips that are cut from photographs, or clips of speech that are cut from recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from privzoo import audio, faces
from privzoo.answers import Skipped, require_some
from privzoo.audio.recordings import Recording
from privzoo.audio.spectrogram import FFT, HIGHEST, HOP, LOWEST, SQUARE, TONES, WINDOW
from privzoo.errors import AudioError, ConfigError, ImageError, InputError
from privzoo.faces import Face

KIND, SPEECH = "kind", "speech"  # entry of a head's manifest; without it the head takes faces
Found = Face | Recording  # where a chip or clip came from


@dataclass(frozen=True)
class Faces:
    """Square face chips of one size."""

    size: int  # side in pixels
    name: ClassVar[str] = "image"  # of the head's input
    nouns: ClassVar[str] = "faces"  # what is answered for
    range: ClassVar[tuple[float, float]] = (0, 255)  # of its values
    error: ClassVar[type[InputError]] = ImageError  # of what cannot be used
    # Preprocessing that this version does; a head that asks for another must be refused, not fed wrong pixels.
    stated: ClassVar[dict[str, Any]] = {
        "channels": 3,
        "dtype": "float32",
        "range": [0, 255],
        "colour": "RGB",
        "resize": "triangle",
    }

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the head's input, for one chip."""
        return (self.size, self.size, 3)

    def manifest(self) -> dict[str, Any]:
        """Entry `input` of a head's manifest."""
        return {"name": self.name, "size": self.size, **self.stated}

    def cut(
        self, images: Any, face: str = "detect", bulk: bool = False, all_faces: bool = False
    ) -> tuple[np.ndarray, list[Face], list[Skipped]]:
        """Face chips of photographs; see `privzoo.faces.chips`."""
        return faces.chips(images, self.size, face, bulk, all_faces)

    def check(self, chips: Any) -> np.ndarray:
        """Face chips as uint8 or float32 (N, size, size, 3); raises ImageError for what is none."""
        return as_chips(chips, self.size)

    def tensors(self, chips: np.ndarray) -> np.ndarray:
        """What the head is given, float32 (N, *shape)."""
        return chips.astype(np.float32)


@dataclass(frozen=True)
class Speech:
    """Clips of one second, of which the head gets the spectrograms."""

    name: ClassVar[str] = "spectrogram"
    nouns: ClassVar[str] = "recordings"
    range: ClassVar[tuple[float, float]] = (0, audio.RANGE)
    error: ClassVar[type[InputError]] = AudioError
    shape: ClassVar[tuple[int, int, int]] = audio.SHAPE
    stated: ClassVar[dict[str, Any]] = {
        KIND: SPEECH,
        "shape": list(audio.SHAPE),
        "dtype": "float32",
        "range": [0, audio.RANGE],
        "rate": audio.RATE,
        "samples": audio.SAMPLES,
        "window": WINDOW,
        "hop": HOP,
        "fft": FFT,
        "bands": TONES,
        "square": SQUARE,
        "hertz": [LOWEST, HIGHEST],
    }

    def manifest(self) -> dict[str, Any]:
        """Entry `input` of a head's manifest; `docs/spectrogram.md` explains it."""
        return {"name": self.name, **self.stated}

    def cut(
        self, recordings: Any, face: str = "detect", bulk: bool = False, all_faces: bool = False
    ) -> tuple[np.ndarray, list[Recording], list[Skipped]]:
        """Clips of recordings; see `privzoo.audio.clips`.

        Raises:
            ConfigError: faces were asked for.
        """
        if face != "detect" or all_faces:
            option = "all_faces=True" if all_faces else f'face="{face}"'
            raise ConfigError(f"This model takes recordings, in which there are no faces; leave out {option}.")
        return audio.clips(recordings, bulk)

    def check(self, clips: Any) -> np.ndarray:
        """Clips as int16 or float (N, SAMPLES); raises AudioError for what is none."""
        try:
            array = np.asarray(clips)
        except (ValueError, TypeError, OverflowError):  # lists whose lengths differ
            array = np.asarray(None)
        if array.ndim != 2 or array.shape[1] != audio.SAMPLES or array.dtype.kind not in "if":
            raise AudioError(
                f"The clips are {array.dtype} of shape {array.shape}; give (N, {audio.SAMPLES}), as Head.prepare makes "
                "them from recordings."
            )
        return array

    def tensors(self, clips: np.ndarray) -> np.ndarray:
        """What the head is given, float32 (N, *shape); raises AudioError for a clip without sound."""
        return np.stack([audio.spectrogram(clip) for clip in clips]) if len(clips) else np.zeros((0, *self.shape), "f4")


Input = Faces | Speech


def side(kind: Input, name: str) -> int:
    """Side of the face chips in pixels.

    Args:
        kind: what the head takes.
        name: of the model, for the error.

    Raises:
        ConfigError: it takes speech.
    """
    if isinstance(kind, Speech):
        raise ConfigError(f"{name} takes speech, not faces; give it recordings.")
    return kind.size


def of_size(input_size: int | None) -> Input:
    """What a network takes: chips of a size, or speech for None."""
    return Speech() if input_size is None else Faces(input_size)


def of_manifest(entry: Mapping[str, Any]) -> Input:
    """What a head takes, from entry `input` of its manifest, which `privzoo.edge.manifest` has checked."""
    return Speech() if entry.get(KIND) == SPEECH else Faces(entry["size"])


def require(found: list[Any], skipped: list[Skipped], kind: Input) -> None:
    """Raises InputError if nothing is left; see `privzoo.answers.require_some`."""
    require_some(found, skipped, kind.error)


def as_chips(chips: Any, size: int) -> np.ndarray:
    """Converts face chips to the type that a head reads, or refuses them.

    Args:
        chips: uint8 or floating-point array (N, size, size, 3), RGB, values 0..255.
        size: side of the chips in pixels.

    Returns:
        uint8 or float32 array (N, size, size, 3).

    Raises:
        ImageError: another shape or type, a value that is not finite or lies outside 0..255, or values in 0..1.
    """
    try:
        array = np.asarray(chips)
    except (ValueError, TypeError, OverflowError):  # lists whose lengths differ
        raise ImageError(f"The chips are not an array; give one of shape (N, {size}, {size}, 3).") from None
    if array.ndim != 4 or array.shape[1:] != (size, size, 3):
        raise ImageError(
            f"The chips have shape {array.shape}; give (N, {size}, {size}, 3), as Head.prepare makes them from images."
        )
    if array.dtype == np.uint8 or array.size == 0:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"The chips are of type {array.dtype}; give uint8, or float with values 0 to 255.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):  # written so that NaN is refused too
        raise ImageError(f"The chips have values from {low:g} to {high:g}; give finite values from 0 to 255.")
    if 0 < high <= 1:
        raise ImageError("The chips have values from 0 to 1; a head takes 0 to 255: multiply them by 255.")
    return array.astype(np.float32, copy=False)

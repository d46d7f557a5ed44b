"""One recording in any form that users have, as 16-bit samples of one channel at 16 kHz; and its one second."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.answers import Skipped, require_some
from privzoo.audio.spectrogram import HOP, RATE, SAMPLES
from privzoo.errors import AudioError, MissingExtraError, SilenceError
from privzoo.sources import BYTES, Kind, name_of

SHORTEST, LONGEST = 0.1, 3.0  # seconds
HIGHEST_RATE = 384_000  # samples a second
SILENT = 128  # of 65,536 levels: a recording whose samples stay within so many has no sound
FULL = 32_768  # level of a float sample of 1.0, which is just beyond the largest
_RECORDING = Kind("a", "recording", AudioError, most_bytes=64 << 20)


def decode(source: Any, name: str | None = None) -> np.ndarray:
    """Read one recording as 16-bit samples of one channel at 16 kHz.

    Channels are averaged. Higher rates are resampled by `scipy.signal.resample_poly` with its default filter.

    Args:
        source: path, open file (bytes) or bytes of a WAV, FLAC or Ogg Opus file, or of another format that libsndfile
            reads; or samples, int16 or float -1 to 1, (n,) or (n, channels), at 16 kHz or as a tuple (samples, rate).
        name: of the recording in errors; by default its path, or "recording".

    Returns:
        int16 (n,), 0.1 to 3 seconds.

    Raises:
        AudioError: the source is no recording, is damaged, too short or too long, or has a rate below 16 kHz.
        SilenceError: it is silent.
        MissingExtraError: soundfile, or for other rates SciPy, is not installed.

    Example:
        >>> decode((np.sin(np.arange(48_000)), 48_000)).shape
        (16000,)
    """
    name = name or name_of(source) or "recording"
    samples, rate = _samples(source, name)
    _check(len(samples), rate, name)
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    if not np.isfinite(mono).all():
        raise AudioError(f"{name}: some samples are not finite; give values from -1 to 1.")
    if rate != RATE:
        mono = _resampled(mono, rate)
    found = np.clip(np.rint(mono * FULL), -32_768, 32_767).astype(np.int16)
    if int(found.max()) - int(found.min()) <= SILENT:
        raise SilenceError(f"{name}: the recording is silent; check the microphone and record the word again.")
    return found


def second(samples: np.ndarray) -> np.ndarray:
    """The clip of a recording: its loudest second, or all of it in the middle of a second of silence.

    Args:
        samples: int16 (n,).

    Returns:
        int16 (SAMPLES,). Of a longer recording the second with the largest sum of squares, in steps of 10 ms; of
        several the first.
    """
    if len(samples) <= SAMPLES:
        before = (SAMPLES - len(samples)) // 2
        return np.pad(samples, (before, SAMPLES - len(samples) - before))
    energy = np.concatenate([[0], np.cumsum(np.square(samples.astype(np.int64)))])
    start = int((energy[SAMPLES:] - energy[:-SAMPLES])[::HOP].argmax()) * HOP
    return samples[start : start + SAMPLES].copy()


def sources(recordings: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, source) of one or many sources, still undecoded.

    Args:
        recordings: one source as for `decode`; several in any iterable; or an array (N, SAMPLES) of clips.
    """
    if isinstance(recordings, np.ndarray) and recordings.dtype.kind in "OU":
        recordings = recordings.reshape(-1).tolist()
    if isinstance(recordings, np.ndarray):
        # A recording with many channels is no longer than it has channels: (N, SAMPLES) are clips.
        many: Iterable[Any] = recordings if recordings.ndim == 2 and recordings.shape[1] == SAMPLES else [recordings]
    elif isinstance(recordings, str | BYTES | os.PathLike | dict) or hasattr(recordings, "read"):
        many = [recordings]
    elif _with_rate(recordings) or not isinstance(recordings, Iterable):
        many = [recordings]
    else:
        many = recordings
    for index, source in enumerate(many):
        yield name_of(source) or f"recording {index}", source


@dataclass(frozen=True)
class Recording:
    """Where one clip came from, with what a face has too: both are answered for alike."""

    image: str  # name of the recording: its path, or "recording 3" for the fourth of several arrays
    box: None = None
    found: int = 1
    number: int = 1
    score: None = None
    rotation: None = None


def clips(recordings: Any, bulk: bool = False) -> tuple[np.ndarray, list[Recording], list[Skipped]]:
    """Turn recordings into clips.

    Args:
        recordings: one or many recordings in any form that `sources` reads.
        bulk: skip recordings that cannot be used; otherwise the first such recording raises.

    Returns:
        int16 (N, SAMPLES); N `Recording`s; what was skipped (nothing unless `bulk`).

    Raises:
        AudioError: a recording cannot be used, or none was given (never when `bulk`).
        MissingExtraError: a package to read them is not installed.
    """
    done: list[np.ndarray] = []
    found: list[Recording] = []
    skipped: list[Skipped] = []
    for name, source in sources(recordings):
        try:
            done.append(second(decode(source, name)))
        except AudioError as error:
            if not bulk:
                raise
            skipped.append(Skipped(name, str(error).removeprefix(f"{name}: "), kind=AudioError))
            continue
        found.append(Recording(name))
    if not bulk:
        require_some(found, skipped, AudioError)
    return (np.stack(done) if done else np.zeros((0, SAMPLES), np.int16)), found, skipped


def _with_rate(source: Any) -> bool:
    """Whether a source is samples with their rate."""
    return isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], int | float | np.number)


def _check(count: int, rate: float, name: str) -> None:
    """Raises AudioError for a rate or a length that cannot be used."""
    if not RATE <= rate <= HIGHEST_RATE or rate != int(rate):
        raise AudioError(
            f"{name}: the recording has {rate:,} samples a second; record with {RATE:,} or more, whole, "
            f"up to {HIGHEST_RATE:,}."
        )
    seconds = count / rate
    if seconds < SHORTEST:
        raise AudioError(f"{name}: the recording lasts {seconds:.2g} s, too short for a word; record a second.")
    if seconds > LONGEST:
        raise AudioError(f"{name}: the recording lasts {seconds:,.1f} s; cut out one word, at most {LONGEST:g} s.")


def _samples(source: Any, name: str) -> tuple[np.ndarray, float]:
    """Samples as floats -1 to 1, (n,) or (n, channels), and their rate."""
    if isinstance(source, np.ndarray):
        return _from_array(source, name), RATE
    if _with_rate(source):
        return _from_array(np.asarray(source[0]), name), source[1]
    if isinstance(source, BYTES):
        return _from_file(io.BytesIO(source), name)
    if isinstance(source, str | os.PathLike):
        with open(_RECORDING.regular_file(os.fspath(source), name), "rb") as file:
            return _from_file(file, name)
    if hasattr(source, "read"):
        return _from_file(io.BytesIO(_RECORDING.content(source, name)), name)
    raise AudioError(
        f"{name}: received {type(source).__name__}; give a path, an open file, bytes of a WAV, FLAC or Opus file, or "
        "an array of samples."
    )


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim not in (1, 2) or array.dtype not in (np.int16, np.float32, np.float64):
        raise AudioError(
            f"{name}: the array is {array.dtype} of shape {array.shape}; give int16 or float samples, (n,) or "
            "(n, channels)."
        )
    if 0 in array.shape:
        raise AudioError(f"{name}: the array has shape {array.shape} and so no samples; give a recording.")
    if array.dtype == np.int16:
        return array / FULL
    if not np.abs(array).max() <= 1:  # written so that NaN is refused too
        raise AudioError(f"{name}: float samples are beyond -1 to 1, or not finite; divide them by their largest.")
    return array.astype(np.float64)


def _from_file(file: Any, name: str) -> tuple[np.ndarray, float]:
    try:
        import soundfile
    except ImportError:
        raise MissingExtraError(
            "Reading a recording needs soundfile; run: pip install 'privzoo[audio]', or give an array of samples."
        ) from None
    try:
        with soundfile.SoundFile(file) as sound:
            _check(sound.frames, sound.samplerate, name)  # before a small file becomes gigabytes of samples
            return sound.read(dtype="float64"), sound.samplerate
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        if isinstance(error, AudioError):
            raise
        if "not recognised" in str(error):
            raise AudioError(f"{name}: unknown audio format; give a WAV, FLAC or Ogg Opus file.") from None
        raise _RECORDING.unreadable(name, error) from error


def _resampled(samples: np.ndarray, rate: float) -> np.ndarray:
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise MissingExtraError(
            f"A recording that has other than {RATE:,} samples a second needs SciPy; run: pip install "
            "'privzoo[audio]', or resample it."
        ) from None
    common = math.gcd(RATE, int(rate))
    return resample_poly(samples, RATE // common, int(rate) // common)

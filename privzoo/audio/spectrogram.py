"""From a clip to the log-mel spectrogram that networks take: the arithmetic of `docs/spectrogram.md`."""

from __future__ import annotations

import functools

import numpy as np

from privzoo.errors import AudioError

RATE = 16_000  # samples a second
SAMPLES = 16_000  # of a clip: one second
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms of sound, every 10 ms, padded with zeros for the transform
TIMES, TONES = 1 + (SAMPLES - WINDOW) // HOP, 64  # windows and bands before averaging
SQUARE = 2  # of these in each direction make one value of a spectrogram
FRAMES, BANDS = TIMES // SQUARE, TONES // SQUARE
LOWEST, HIGHEST = 60.0, 7600.0  # Hz; where the first band begins and the last one ends
RANGE = 80.0  # decibels below the loudest value of a clip, at which values are cut off
_PIECE = 14  # windows; TIMES is a multiple of it
SHAPE = (FRAMES, BANDS, 1)  # of a spectrogram


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


@functools.cache
def bands() -> np.ndarray:
    """Weight of each frequency of the transform in each band: triangles, evenly spaced on the mel scale.

    Returns:
        float64 (FFT / 2 + 1, TONES), read-only: each triangle is 1 at its peak, and reaches to its neighbours' peaks.
    """
    lowest, highest = _mel(np.array([LOWEST, HIGHEST]))
    places = np.linspace(lowest, highest, TONES + 2)
    edges = 700.0 * (10.0 ** (places / 2595.0) - 1.0)
    hertz = np.arange(FFT // 2 + 1)[:, None] * (RATE / FFT)
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights.setflags(write=False)
    return weights


@functools.cache
def _window() -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)  # Hann's, periodic


def spectrogram(clip: np.ndarray) -> np.ndarray:
    """Log-mel spectrogram of a clip: `decibels`, averaged over squares.

    Args:
        clip: numbers (SAMPLES,), of any scale, not all the same.

    Returns:
        float32 (FRAMES, BANDS, 1), values 0 to 80.

    Raises:
        AudioError: as `decibels`.
    """
    return averaged(decibels(clip))


def averaged(values: np.ndarray) -> np.ndarray:
    """Decibels averaged over squares: of float32 (TIMES, TONES), float32 (FRAMES, BANDS, 1)."""
    return values.reshape(FRAMES, SQUARE, BANDS, SQUARE).mean(axis=(1, 3), dtype=np.float32)[..., None]


def decibels(clip: np.ndarray) -> np.ndarray:
    """Loudness of a clip at each time in each band, in decibels above the floor.

    How loud the whole is does not matter: the loudest value of every clip is `RANGE`, and what is `RANGE` decibels
    below it, or more, is 0.

    Args:
        clip: as for `spectrogram`.

    Returns:
        float32 (TIMES, TONES), values 0 to 80.

    Raises:
        AudioError: the clip has another shape or type, values that are not finite, or no sound.
    """
    clip = np.asarray(clip)
    if clip.shape != (SAMPLES,) or clip.dtype.kind not in "iuf":
        raise AudioError(f"The clip is {clip.dtype} of shape {clip.shape}; give {SAMPLES:,} samples of one second.")
    frames = np.lib.stride_tricks.sliding_window_view(clip.astype(np.float64), WINDOW)[::HOP]
    power = np.square(np.abs(np.fft.rfft(frames * _window(), FFT)))
    # In pieces that are too small for BLAS to start threads, which would take many times as long.
    mel = np.matmul(power.reshape(TIMES // _PIECE, _PIECE, -1), bands()).reshape(TIMES, TONES)
    loudest = mel.max()
    if not 0 < loudest < np.inf:  # written so that NaN is refused too
        raise AudioError("The clip has no sound, or values that are not finite; give a recording of a spoken word.")
    found = 10.0 * np.log10(np.maximum(mel / loudest, 10.0 ** (-RANGE / 10.0))) + RANGE
    return found.astype(np.float32)

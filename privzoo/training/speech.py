"""Random changes of training clips: speed, place and noise of the sound, and stretches of its spectrogram."""

from __future__ import annotations

import numpy as np

from privzoo import audio
from privzoo.config import SpeechAugmentation


def augment(clip: np.ndarray, settings: SpeechAugmentation, rng: np.random.Generator) -> np.ndarray:
    """One random version of a clip, as its spectrogram.

    Args:
        clip: int16 (SAMPLES,).
        settings: what may change and how far.
        rng: the random source; the same state gives the same result.

    Returns:
        float32 (FRAMES, BANDS, 1), in decibels as of `audio.spectrogram`.
    """
    sound = _moved(clip.astype(np.float64), settings, rng)
    if rng.random() < settings.noise:
        sound = sound + _noise(sound, rng.uniform(settings.ratio[0], settings.ratio[1]), rng.random() < 0.5, rng)
    found = audio.decibels(sound if sound.any() else clip)
    filler = found.mean()
    for axis, longest in enumerate(settings.longest_mask):
        for _ in range(settings.masks):
            length = int(rng.integers(longest + 1))
            start = int(rng.integers(found.shape[axis] - length + 1))
            found[(slice(None),) * axis + (slice(start, start + length),)] = filler
    return audio.averaged(found)


def _moved(sound: np.ndarray, settings: SpeechAugmentation, rng: np.random.Generator) -> np.ndarray:
    """The sound played faster or slower around its middle, and earlier or later; silence where it ends."""
    speed = rng.uniform(1 - settings.speed, 1 + settings.speed)
    shift = rng.uniform(-settings.shift, settings.shift) * audio.RATE
    middle = (audio.SAMPLES - 1) / 2
    places = (np.arange(audio.SAMPLES) - middle) * speed + middle - shift
    return np.interp(places, np.arange(audio.SAMPLES), sound, left=0.0, right=0.0)


def _noise(sound: np.ndarray, ratio: float, pink: bool, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power is `ratio` decibels below the sound's."""
    noise = rng.standard_normal(audio.SAMPLES)
    if pink:
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, audio.SAMPLES)
    power = np.square(sound).mean() * 10 ** (-ratio / 10)
    return noise * np.sqrt(power / np.square(noise).mean())

"""Sounds like words, made up: to calibrate int8 heads with where no recordings are at hand, and for tests."""

from __future__ import annotations

import numpy as np

from privzoo.audio.spectrogram import RATE, SAMPLES

_FORMANTS = ((250.0, 850.0), (850.0, 2400.0), (2300.0, 3400.0))  # Hz: ranges of the mouth's three lowest resonances


def words(count: int, seed: int = 0) -> np.ndarray:
    """Makes varied clips of one to four syllables, the same ones at each call.

    A syllable is a consonant, which is noise in a range of frequencies, and a vowel, whose harmonics are formed by
    three resonances. Background noise is 20 to 70 decibels below the word.

    Args:
        count: number of clips.
        seed: another one makes other clips.

    Returns:
        int16 (count, SAMPLES).
    """
    rng = np.random.default_rng((0x5EEC, seed))
    return np.stack([_word(rng) for _ in range(count)])


def _word(rng: np.random.Generator) -> np.ndarray:
    pitch = rng.uniform(80, 280)
    syllables = [part for _ in range(rng.integers(1, 5)) for part in (_consonant(rng), _vowel(pitch, rng))]
    word = np.concatenate(syllables)[: SAMPLES - RATE // 20]
    start = int(rng.integers(SAMPLES - len(word) + 1))
    sound = np.zeros(SAMPLES)
    sound[start : start + len(word)] = word
    noise = rng.standard_normal(SAMPLES)
    sound += noise * np.sqrt(np.square(sound).mean()) * 10 ** (-rng.uniform(20, 70) / 20)
    return np.rint(sound / np.abs(sound).max() * rng.uniform(2_000, 32_000)).astype(np.int16)


def _envelope(samples: int) -> np.ndarray:
    return np.sin(np.pi * (np.arange(samples) + 0.5) / samples)


def _vowel(pitch: float, rng: np.random.Generator) -> np.ndarray:
    seconds = np.arange(int(RATE * rng.uniform(0.06, 0.22))) / RATE
    glide = pitch * (1 + rng.uniform(-0.15, 0.15)) * (1 + rng.uniform(-1.5, 1.5) * (seconds - seconds.mean()))
    phase = 2 * np.pi * np.cumsum(glide) / RATE
    resonances = [(rng.uniform(*around), rng.uniform(60, 160)) for around in _FORMANTS]
    sound = np.zeros(len(seconds))
    for k in range(1, int(7_000 / glide.max()) + 1):
        frequency = k * glide.mean()
        gain = sum(1 / (1 + ((frequency - centre) / width) ** 2) for centre, width in resonances)
        sound += (gain + 0.003) / np.sqrt(k) * np.sin(k * phase)
    return sound / np.abs(sound).max() * _envelope(len(sound))


def _consonant(rng: np.random.Generator) -> np.ndarray:
    samples = int(RATE * rng.uniform(0.02, 0.14))
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / RATE)
    sound = np.fft.irfft(
        spectrum * np.exp(-(((hertz - rng.uniform(300, 7_000)) / rng.uniform(300, 2_500)) ** 2)), samples
    )
    return sound / np.abs(sound).max() * _envelope(samples) * 10 ** (-rng.uniform(0, 30) / 20)

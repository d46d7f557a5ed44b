"""Recordings in, spectrograms out: decode, cut to one second, transform, the same in training and on the device.

A *clip* is one second of sound, 16,000 samples; its *spectrogram* is what networks take. `docs/spectrogram.md`
specifies the arithmetic for other languages.
"""

from privzoo.audio.recordings import Recording, clips, decode, second, sources
from privzoo.audio.spectrogram import BANDS, FRAMES, RANGE, RATE, SAMPLES, SHAPE, averaged, decibels, spectrogram

__all__ = [
    "BANDS",
    "FRAMES",
    "RANGE",
    "RATE",
    "SAMPLES",
    "SHAPE",
    "Recording",
    "averaged",
    "clips",
    "decibels",
    "decode",
    "second",
    "sources",
    "spectrogram",
]

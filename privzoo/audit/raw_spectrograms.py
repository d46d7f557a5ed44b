"""The yardstick of speech: the attack on raw spectrograms. An attacker that fails here proves nothing elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from privzoo import audio
from privzoo.audit.features import SPECTROGRAMS, Faces, Features, View, keep

KINDS = ("spectrograms", "statistics", "both")
SOUND = 0.5  # quantile of a clip's windows by loudness: a speaker is heard in the louder ones


def spectrograms(clips: np.ndarray) -> np.ndarray:
    """What the networks take, in units of their range: float32 (N, frames, bands, 1), values 0 to 1."""
    return np.stack([audio.spectrogram(clip) for clip in clips]) / np.float32(audio.RANGE)


def statistics(clips: np.ndarray) -> np.ndarray:
    """How a voice sounds on the whole, whatever it says and when, at the full resolution of the bands.

    Args:
        clips: int16 (N, 16000).

    Returns:
        float32 (N, 3 x bands), values 0 to 1: each band's mean over the louder windows of a clip, its deviation there,
        and its mean change from one window to the next.
    """
    rows = []
    for clip in clips:
        values = audio.decibels(clip) / audio.RANGE
        loud = values.mean(axis=1)
        heard = values[loud >= np.quantile(loud, SOUND)]
        rows.append([heard.mean(axis=0), heard.std(axis=0), np.abs(np.diff(values, axis=0)).mean(axis=0)])
    return np.array(rows, np.float32).reshape(len(rows), -1)


def view(kind: str, cache: Path) -> View:
    """Spectrograms, in the form of a head's output.

    Args:
        kind: "spectrograms", "statistics", or "both" in one row.
        cache: folder to cache them in.
    """

    def values(clips: np.ndarray) -> np.ndarray:
        parts = []
        if kind != "statistics":
            parts.append(spectrograms(clips))
        if kind != "spectrograms":
            parts.append(statistics(clips))
        return parts[0] if len(parts) == 1 else np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)

    def extract(clips: Faces) -> Features:
        return keep({"kind": f"sound, {kind}", "chips": clips.chips}, lambda: values(clips.chips), cache)

    return View(SPECTROGRAMS, "", extract)

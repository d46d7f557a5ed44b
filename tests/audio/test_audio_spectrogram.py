"""The spectrogram: the code in docs/spectrogram.md, numpy's and the golden files are the same decibels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import blocks

from privzoo import audio
from privzoo.audio.spectrogram import bands
from privzoo.audio.synthesis import words
from privzoo.errors import AudioError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "spectrograms"
CASES = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
WORD = words(1)[0]


def documented() -> dict:
    """Names that the Python in docs/spectrogram.md defines."""
    names: dict = {}
    exec("\n".join(block.text for block in blocks("docs/spectrogram.md", "python")), names)
    return names


def test_the_specification_gives_the_same_decibels():
    expected = np.array(documented()["spectrogram"](WORD.tolist()))
    found = audio.spectrogram(WORD)
    assert found.dtype == np.float32 and found.shape == audio.SHAPE == (*expected.shape, 1)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=[case["recording"] for case in CASES])
def test_golden(case):
    clip = audio.second(audio.decode(GOLDEN / case["recording"]))
    if not case["resampled"]:
        assert hashlib.sha256(clip.astype("<i2").tobytes()).hexdigest() == case["clip_sha256"]
    expected = np.fromfile(GOLDEN / case["spectrogram"], "<f4").reshape(audio.SHAPE)
    np.testing.assert_allclose(audio.spectrogram(clip), expected, atol=0.05 if case["resampled"] else 1e-3)


@given(loudness=st.floats(1e-3, 1e3))
def test_loudness_does_not_matter(loudness):
    np.testing.assert_allclose(audio.spectrogram(WORD * loudness), audio.spectrogram(WORD), atol=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_values_are_from_0_to_80(seed):
    clip = np.random.default_rng(seed).integers(-32_768, 32_768, audio.SAMPLES).astype(np.int16)
    found = audio.spectrogram(clip)
    assert found.min() >= 0 and found.max() <= audio.RANGE and audio.decibels(clip).max() == audio.RANGE


@pytest.mark.parametrize("hertz", [100, 440, 1000, 3000, 7000])
def test_a_tone_is_loudest_in_its_band(hertz):
    tone = np.sin(2 * np.pi * hertz * np.arange(audio.SAMPLES) / audio.RATE)
    band = audio.decibels(tone).mean(0).argmax()
    nearest = round(hertz / (audio.RATE / 512))
    assert abs(int(bands()[nearest].argmax()) - band) <= 1


def test_every_frequency_between_the_first_and_the_last_peak_is_heard_once():
    total = bands().sum(axis=1)
    inside = (total > 0).nonzero()[0]
    peaks = [bands()[:, band].argmax() for band in (0, -1)]
    np.testing.assert_allclose(total[peaks[0] + 1 : peaks[1]], 1, atol=1e-9)
    assert inside.min() * 31.25 > 60 and inside.max() * 31.25 < 7600
    assert (bands().max(axis=0) > 0).all()


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (WORD[:-1], "int16 of shape \\(15999,\\); give 16,000 samples"),
        (WORD[None], "shape \\(1, 16000\\)"),
        (WORD.astype(complex), "complex"),
        (np.zeros(16_000), "no sound"),
        (np.full(16_000, np.nan), "no sound, or values that are not finite"),
    ],
)
def test_what_is_no_clip_is_refused(clip, said):
    with pytest.raises(AudioError, match=said), np.errstate(invalid="ignore"):
        audio.spectrogram(clip)

"""Recordings in every form that users have, and one sentence for each that cannot be used."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from privzoo import audio
from privzoo.audio.synthesis import words
from privzoo.errors import AudioError, MissingExtraError

WORD = words(1)[0]


def encoded(samples: np.ndarray, kind: str, rate: int = audio.RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"opus": {"format": "OGG", "subtype": "OPUS"}}.get(kind, {"format": kind}))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_lossless_file_gives_its_samples(tmp_path, kind):
    path = tmp_path / f"word.{kind}"
    path.write_bytes(encoded(WORD, kind))
    with open(path, "rb") as file:
        for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), file, file):
            np.testing.assert_array_equal(audio.decode(source), WORD)


def test_opus_is_read():
    found = audio.decode(encoded(WORD, "opus"))
    assert found.shape == WORD.shape
    assert np.corrcoef(found, WORD)[0, 1] > 0.9


def test_samples_are_taken_as_they_are():
    stereo = np.stack([WORD, WORD], axis=1)
    for source in (WORD, WORD / 32_768, (WORD / 32_768).astype(np.float32), stereo, (WORD, 16_000), (WORD, 16_000.0)):
        np.testing.assert_array_equal(audio.decode(source), WORD)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_a_higher_rate_is_resampled(rate):
    seconds = np.arange(rate) / rate
    found = audio.decode((0.5 * np.sin(2 * np.pi * 440 * seconds), rate))
    expected = 16_384 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert len(found) == 16_000
    np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=40)


def test_what_is_above_8_khz_does_not_fold_back():
    high = 0.5 * np.sin(2 * np.pi * 11_000 * np.arange(48_000) / 48_000)
    low = 0.05 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    clean = audio.spectrogram(audio.second(audio.decode((low, 48_000))))
    found = audio.spectrogram(audio.second(audio.decode((low + high, 48_000))))
    assert np.abs(found[5:-5, :15] - clean[5:-5, :15]).mean() < 8


SENTENCES = [
    ((WORD, 8_000), "8,000 samples a second; record with 16,000 or more"),
    ((WORD, 16_000.5), "16,000.5 samples a second; .* whole"),
    ((WORD, 1_000_000), "1,000,000 samples a second; .* up to 384,000"),
    (WORD[:1_599], r"lasts 0\.1 s, too short"),
    (np.tile(WORD, 4), r"lasts 4\.0 s; cut out one word, at most 3 s"),
    (np.zeros(16_000, np.int16), "silent; check the microphone"),
    (np.full(16_000, 0.3), "silent"),
    (WORD.astype(np.int32), "int32 of shape .16000,.; give int16 or float"),
    (WORD.astype(np.float64), "beyond -1 to 1"),
    (np.full(16_000, np.nan), "not finite"),
    (np.zeros((2, 2, 2)), "shape .2, 2, 2."),
    (np.zeros((16_000, 0)), "no samples"),
    (b"RIFF but no more", "unknown audio format; give a WAV, FLAC or Ogg Opus file"),
    (encoded(WORD, "wav")[:20], "(cannot be read|unknown audio format)"),
    (17, "received int; give a path"),
    ("missing.wav", "missing.wav: there is no such file"),
    (os.path.dirname(__file__), "this is a folder; give the recording files in it"),
    ("/dev/null", "a pipe or a device; save the recording to a file"),
]


@pytest.mark.parametrize(("source", "said"), SENTENCES)
def test_one_sentence_for_each_that_cannot_be_used(source, said):
    with pytest.raises(AudioError, match=said) as caught:
        audio.decode(source)
    assert str(caught.value).count("\n") == 0


def test_a_small_file_that_claims_hours_is_not_unpacked(monkeypatch):
    content = encoded(np.zeros(16_000 * 60, np.int16), "flac")
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(AudioError, match=r"lasts 60\.0 s"):
        audio.decode(content)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(content):
    with pytest.raises(AudioError):
        audio.decode(content)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused(place, value):
    content = bytearray(encoded(WORD, "flac"))
    content[place] = value
    try:
        found = audio.decode(bytes(content))
    except AudioError:
        return
    assert found.dtype == np.int16


def test_without_soundfile_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'privzoo\[audio\]'"):
        audio.decode(b"")
    np.testing.assert_array_equal(audio.decode(WORD), WORD)  # samples need no package


def test_without_scipy_only_other_rates_need_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    np.testing.assert_array_equal(audio.decode(encoded(WORD, "wav")), WORD)
    with pytest.raises(MissingExtraError, match=r"privzoo\[audio\]"):
        audio.decode((WORD, 44_100))


@given(st.integers(1, 48_000), st.integers(0, 2**32 - 1))
def test_the_second_holds_the_loudest_part(count, seed):
    rng = np.random.default_rng(seed)
    samples = rng.integers(-100, 101, count).astype(np.int16)
    samples[rng.integers(count)] = 30_000
    clip = audio.second(samples)
    assert clip.shape == (16_000,) and clip.dtype == np.int16
    if count <= 16_000:
        before = (16_000 - count) // 2
        np.testing.assert_array_equal(clip[before : before + count], samples)
        assert np.abs(clip).sum() == np.abs(samples.astype(int)).sum()
    elif (count - 16_000) % 160 == 0:  # otherwise the last samples may be beyond every start
        assert clip.max() == 30_000


def test_a_word_in_a_longer_recording_is_found():
    quiet = (WORD // 256).astype(np.int16)
    np.testing.assert_array_equal(audio.second(np.concatenate([quiet[:8_000], WORD, quiet])), WORD)


def test_sources_have_names(tmp_path):
    path = tmp_path / "yes.wav"
    path.write_bytes(encoded(WORD, "wav"))
    with open(path, "rb") as file:
        assert [name for name, _ in audio.sources([str(path), path, file, WORD])] == [str(path)] * 3 + ["recording 3"]
    for single in (WORD, (WORD, 16_000), np.stack([WORD, WORD], axis=1), b"", str(path)):
        assert len(list(audio.sources(single))) == 1
    assert len(list(audio.sources(words(3)))) == 3
    assert [name for name, _ in audio.sources(np.array(["a.wav", "b.wav"]))] == ["a.wav", "b.wav"]
    assert len(list(audio.sources([(WORD, 16_000), (WORD, 44_100)]))) == 2

"""Heads that take speech: exported, on the device, and against a server."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import speech_zoo
from speech_zoo import CODED, KEYWORDS, REDUCED, SIMPLE

import privzoo
from privzoo import audio
from privzoo.audio.synthesis import words
from privzoo.edge import Client, Head
from privzoo.edge.manifest import parse_manifest
from privzoo.errors import AudioError, ConfigError
from privzoo.serving import Server

pytestmark = [pytest.mark.all_models, pytest.mark.server]


@pytest.fixture(scope="module", autouse=True)
def zoo_of_speech(tmp_path_factory):
    with speech_zoo.installed(tmp_path_factory.mktemp("zoo")):
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Heads and tails of all three models, float32 and int8."""
    folder = tmp_path_factory.mktemp("exported")
    for name in (SIMPLE, REDUCED, CODED):
        model = privzoo.load(name)
        model.export_tail(folder)
        for quantization in ("float32", "int8"):
            model.export_head(folder / f"{name}_{quantization}.tflite", quantization)
    return folder


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return speech_zoo.written(tmp_path_factory.mktemp("recordings"))


def test_the_manifest_states_the_spectrogram(exported):
    head = Head(exported / f"{SIMPLE}_int8.tflite")
    entry = head.manifest["input"]
    assert (entry["name"], entry["kind"], entry["shape"], entry["rate"]) == (
        "spectrogram",
        "speech",
        [49, 32, 1],
        16_000,
    )
    with pytest.raises(ConfigError, match="takes speech, not faces"):
        _ = head.input_size


@pytest.mark.parametrize(("quantization", "agreement"), [("float32", 0.99999), ("int8", 0.95)])
def test_the_device_computes_the_head(exported, quantization, agreement):
    head, model = Head(exported / f"{SIMPLE}_{quantization}.tflite"), privzoo.load(SIMPLE)
    clips = words(8, seed=5)
    found, expected = head.features(clips), model.features(clips)
    spread = expected - expected.mean(0)
    assert 1 - np.square(found - expected).sum() / np.square(spread).sum() > agreement


def test_prepare_gives_clips_of_recordings(exported, paths):
    head = Head(exported / f"{REDUCED}_int8.tflite")
    clips, found, skipped = head.prepare([*paths, "missing.flac"], bulk=True)
    assert clips.shape == (3, 16_000) and clips.dtype == np.int16
    assert [one.image for one in found] == paths and [one.image for one in skipped] == ["missing.flac"]
    assert head.features(clips).shape == (3, speech_zoo.DIMENSIONS)
    with pytest.raises(AudioError, match=r"give \(N, 16000\)"):
        head.features(np.zeros((1, 48, 48, 3), np.uint8))
    with pytest.raises(AudioError, match="no sound"):
        head.features(np.zeros((1, 16_000), np.int16))


def test_the_whole_path_over_a_socket(exported, paths, tmp_path):
    with Server(exported / REDUCED, REDUCED) as server:
        head = Head(exported / f"{REDUCED}_float32.tflite")
        with Client(head, server.url, timeout=60, queue=tmp_path / "queue.sqlite") as client:
            answers = client.predict([*paths, "missing.wav"])
            expected = privzoo.load(REDUCED).predict(paths)
            np.testing.assert_allclose([list(a.probabilities.values()) for a in answers], expected, atol=1e-5)
            assert [a.image for a in answers] == paths and answers[0].face is None and answers[0].score is None
            assert answers[0].bytes_sent < 600 and answers.skipped[0].image == "missing.wav"
            silence = np.zeros(16_000, np.int16)
            with client.stream(iter([silence, words(1)[0]])) as stream:
                assert [answer.label for answer in stream] == [answers[0].label]
                assert stream.without_face + stream.dropped == 1
            tickets = client.later(paths)
            later = dict(client.send())
            assert [later[ticket].label for ticket in tickets] == [a.label for a in answers]
            assert [later[ticket].image for ticket in tickets] == paths
            with pytest.raises(AudioError, match="None of the 2 recordings"):
                client.predict(["a.wav", "b.wav"])
            with pytest.raises(ConfigError, match="takes recordings"):
                client.predict(paths, all_faces=True)


def test_a_code_over_a_socket(exported, paths):
    with (
        Server(exported / CODED, CODED) as server,
        Client(Head(exported / f"{CODED}_int8.tflite"), server.url) as client,
    ):
        assert {answer.label for answer in client.predict(paths)} <= set(KEYWORDS)


@pytest.mark.parametrize("changed", [{"hop": 320}, {"rate": 8_000}, {"kind": "video"}, {"range": [0, 1]}])
def test_another_spectrogram_is_refused(exported, changed):
    manifest = Head(exported / f"{SIMPLE}_int8.tflite").manifest
    manifest["input"] |= changed
    with pytest.raises(ConfigError, match="update privzoo|export the model again"):
        parse_manifest(json.dumps(manifest).encode(), "a head")


def test_a_device_that_has_samples_needs_no_audio_package(exported):
    code = (
        "import sys, numpy as np; sys.modules['soundfile'] = sys.modules['scipy'] = None\n"
        "from privzoo.edge import Head\n"
        f"head = Head({str(exported / f'{REDUCED}_int8.tflite')!r})\n"
        f"clips, _, _ = head.prepare(np.sin(np.arange({audio.SAMPLES}) ** 1.5))\n"
        "assert head.features(clips).shape[0] == 1\n"
        "assert not {'tensorflow', 'keras', 'scipy.signal'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)

"""Models that take speech: recordings in, answers out, in Python and on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import speech_zoo
from speech_zoo import CODED, KEYWORDS, REDUCED, SIMPLE

import privzoo
from privzoo import audio, cli
from privzoo.audio.synthesis import words
from privzoo.errors import AudioError, ConfigError, FeatureError

pytestmark = pytest.mark.all_models


@pytest.fixture(scope="module", autouse=True)
def zoo_of_speech(tmp_path_factory):
    with speech_zoo.installed(tmp_path_factory.mktemp("zoo")):
        yield


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return speech_zoo.written(tmp_path_factory.mktemp("recordings"))


def test_head_and_tail_are_the_network():
    model = privzoo.load(SIMPLE)
    clips = words(3)
    spectrograms = np.stack([audio.spectrogram(clip) for clip in clips])
    whole = np.asarray(model.network(spectrograms))
    features = model.features(clips)
    assert features.shape[1:] == model.card.cost.feature_shape == (7, 4, 128)
    np.testing.assert_array_equal(model.classify(features), whole)
    np.testing.assert_array_equal(model.predict(clips), whole)
    assert model.head.count_params() == model.card.cost.head_parameters
    assert model.tail.count_params() == model.card.cost.tail_parameters


def test_recordings_in_every_form(paths):
    model = privzoo.load(REDUCED)
    clips = words(1, 0)
    expected = model.predict(clips)
    with open(paths[0], "rb") as file:
        for source in (paths[0], file, file.read(), clips[0], (clips[0], 16_000), [paths[0]]):
            np.testing.assert_allclose(model.predict(source), expected, atol=1e-5)
    assert model.predict(paths).shape == (3, 3)


def test_explain_says_what_was_skipped(paths, tmp_path):
    silent = tmp_path / "silent.wav"
    silent.write_bytes(speech_zoo.recording()[:44] + bytes(32_000))
    answers = privzoo.load(SIMPLE).explain([paths[0], str(silent), "missing.wav", paths[2]])
    assert [one.image for one in answers] == [paths[0], paths[2]]
    assert [one.image for one in answers.skipped] == [str(silent), "missing.wav"]
    assert "silent; check the microphone" in answers.skipped[0].reason
    one = answers[0]
    assert (one.face, one.score, one.rotation, one.number, one.faces) == (None, None, None, 1, 1)
    assert list(one.probabilities) == list(KEYWORDS) and one.label == max(one.probabilities, key=one.probabilities.get)


@pytest.mark.parametrize(
    ("recordings", "options", "error", "said"),
    [
        ([], {}, AudioError, "No recording was given"),
        (["a.wav", "b.wav"], {}, AudioError, "None of the 2 recordings can be used; the first one: a.wav: there is no"),
        (["a.wav"], {"strict": True}, AudioError, "a.wav: there is no such file"),
        (words(1), {"face": "given"}, ConfigError, 'takes recordings, .* leave out face="given"'),
        (words(1), {"all_faces": True}, ConfigError, "leave out all_faces=True"),
    ],
)
def test_one_sentence_for_what_cannot_be_answered(recordings, options, error, said):
    with pytest.raises(error, match=said):
        privzoo.load(SIMPLE).explain(recordings, **options)


@pytest.mark.parametrize("clips", [words(2)[:, :-1], words(1)[0], np.zeros((1, 49, 32, 1), np.float32), [["a"]]])
def test_what_is_no_clip_is_refused(clips):
    with pytest.raises(AudioError, match=r"give \(N, 16000\)"):
        privzoo.load(SIMPLE).features(clips)


def test_faces_are_not_asked_of_a_model_of_speech():
    model = privzoo.load(SIMPLE)
    with pytest.raises(ConfigError, match="takes speech, not faces"):
        _ = model.input_size
    with pytest.raises(FeatureError, match="shape"):
        model.classify(np.zeros((1, 4), np.float32))
    assert "spectrograms of one second of speech, 49 frames of 32 bands" in str(model.card)
    assert "face" not in str(model.card)
    assert model.card.to_dict()["input"] == "speech"


def test_released_heads_are_compared_on_a_photograph_so_none_takes_speech(tmp_path):
    from privzoo.export import released

    with pytest.raises(ConfigError, match="takes speech, .* with privzoo export"):
        released.release([privzoo.load(SIMPLE)], tmp_path, ["float32"])
    assert not list(tmp_path.iterdir())  # nothing is half-written


def test_a_code_sends_one_symbol():
    model = privzoo.load(CODED)
    sent = model.features(words(4))
    assert sent.shape == (4, 2) and set(sent[:, 1]) == {8.0}
    np.testing.assert_allclose(model.classify(sent).sum(1), 1, atol=1e-5)


def test_predict_on_the_command_line(paths, capsys):
    assert cli.main(["predict", SIMPLE, *paths]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["recording", "label", *KEYWORDS]
    assert [row.split()[0] for row in rows] == paths
    assert cli.main(["predict", SIMPLE, paths[0], "missing.wav", "--json"]) == 3
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["answers"][0]["label"] in KEYWORDS and found["skipped"][0]["image"] == "missing.wav"
    assert "1 of 2 recordings got no answer" in printed.err
    assert cli.main(["predict", SIMPLE, paths[0], "--face", "given"]) == 2
    assert "leave out --face given" in capsys.readouterr().err


def test_of_many_words_the_command_line_shows_the_likeliest(capsys):
    from types import SimpleNamespace

    from privzoo import console

    probabilities = {f"word{k}": (k + 1) / 210 for k in range(20)}
    answers = [SimpleNamespace(label="word19", probabilities=probabilities)]
    console.print_answers(answers, True, ["a.wav"], {"bytes sent": ["7"]})
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["recording", "label", "probability", "second", "third", "bytes", "sent"]
    assert row.split() == ["a.wav", "word19", "9.52%", "word18", "9.05%", "word17", "8.57%", "7"]

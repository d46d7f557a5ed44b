"""Training on speech: random changes of clips, smaller spectrograms, and the whole tool on made-up words."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import speech_zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo import audio, config
from privzoo.audio.synthesis import words
from privzoo.config import ModelConfig, NetworkConfig, SiameseConfig, SpeechAugmentation
from privzoo.errors import ConfigError
from privzoo.training.speech import augment

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
PLANNED = config.config_folder() / "planned" / "networks" / "resnet18_keyword.yaml"
NOTHING = SpeechAugmentation(speed=0.0, shift=0.0, noise=0.0, masks=0)
WORD = words(1)[0]


def described() -> NetworkConfig:
    """The network of keywords, whether it is planned or released."""
    return config.read(NetworkConfig, PLANNED) if PLANNED.exists() else config.network("resnet18_keyword")


def test_without_changes_it_is_the_spectrogram():
    np.testing.assert_allclose(augment(WORD, NOTHING, np.random.default_rng(0)), audio.spectrogram(WORD), atol=1e-4)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_any_version_is_a_spectrogram_and_can_be_repeated(seed):
    found, again = (augment(WORD, SpeechAugmentation(), np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    assert found.shape == audio.SHAPE and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= audio.RANGE


def test_a_shift_moves_the_frames():
    found = augment(WORD, dataclasses.replace(NOTHING, shift=0.05), np.random.default_rng(1))[..., 0]
    rng = np.random.default_rng(1)
    rng.random()  # the speed is drawn first
    frames = 50 * rng.uniform(-0.05, 0.05)
    loud, before = found.mean(axis=1), audio.spectrogram(WORD)[..., 0].mean(axis=1)
    apart = [np.abs(loud[10:-10] - np.roll(before, k)[10:-10]).mean() for k in range(-4, 5)]
    assert abs(int(np.argmin(apart)) - 4 - frames) <= 1


def test_masks_blank_whole_frames_and_bands():
    settings = dataclasses.replace(NOTHING, masks=1, longest_mask=(20, 20))
    found = augment(WORD, settings, np.random.default_rng(4))[..., 0]
    changed = ~np.isclose(found, audio.spectrogram(WORD)[..., 0], atol=1e-4)
    frames, bands = changed.mean(axis=1) > 0.9, changed.mean(axis=0) > 0.9
    assert 0 < frames.sum() <= 11 and 0 < bands.sum() <= 11  # of two windows or bands each, some in part
    assert not changed[~frames][:, ~bands].any()


def test_noise_is_as_loud_as_asked():
    settings = dataclasses.replace(NOTHING, noise=1.0, ratio=(0.0, 0.0))
    loud = augment(WORD, settings, np.random.default_rng(2))
    quiet = augment(WORD, dataclasses.replace(settings, ratio=(60.0, 60.0)), np.random.default_rng(2))
    still = audio.spectrogram(WORD)
    assert np.abs(loud - still).mean() > 3 * np.abs(quiet - still).mean()


@pytest.mark.parametrize(
    "changed",
    [{"input_size": 96}, {"input": "face"}, {"training": {"speech": None}}, {"input": "face", "input_size": 96}],
)
def test_a_config_of_both_inputs_is_refused(changed):
    plain = config.to_dict(described())
    changed = {**changed, "training": {**plain["training"], **changed.get("training", {})}}
    with pytest.raises(ConfigError, match="for faces give input_size, for speech training.speech"):
        config.from_dict(NetworkConfig, plain | changed, "x")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Twelve speakers who say each of two keywords, in the data set's layout."""
    folder = tmp_path_factory.mktemp("data") / "arabic_speech_commands"
    seed = 0
    for part, speakers in {"train": range(8), "val": range(8, 10), "test": range(10, 12)}.items():
        rows = []
        for word in ("no", "yes"):
            (folder / "dataset" / word).mkdir(parents=True, exist_ok=True)
            for speaker in speakers:
                file = f"dataset/{word}/{speaker:08d}_NO_01.wav"
                soundfile.write(folder / file, words(1, seed := seed + 1)[0], 16_000)
                rows.append((file, word))
        table = io.StringIO()
        csv.writer(table).writerows([("file", "class"), *rows])
        (folder / f"{part}.csv").write_text(table.getvalue())
    return folder.parent


def test_the_tool_trains(recordings, tmp_path):
    plain = config.to_dict(described()) | {"name": "resnet18_tiny", "weights": None}
    stages = [{"input_size": None, "epochs": 2}]
    plain["training"] |= {"stages": stages, "batch_size": 8, "precision": "float32"}
    path, run = tmp_path / "resnet18_tiny.yaml", tmp_path / "run"
    config.write(config.from_dict(NetworkConfig, plain, "x"), path)
    flags = [f"--config={path}", f"--data_dir={recordings}", f"--run_dir={run}"]
    tool = [sys.executable, str(ROOT / "tools" / "train.py"), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(tool, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((run / "record.json").read_text())
    assert (record["data"]["train"], record["data"]["validation"]) == (16, 4)
    assert len(record["epochs"]) == 2 and record["config"]["input"] == "speech"


def test_embeddings_are_fitted_and_networks_fine_tuned_on_pairs_of_speakers(recordings, tmp_path):
    """One zoo for all: making it takes longer than the rest."""
    from privzoo.architectures import graph
    from privzoo.data import arabic_speech, arrays
    from privzoo.training import siamese
    from privzoo.training.fitting import Fitter

    train, validation = (arabic_speech.load(recordings, split=split) for split in ("train", "validation"))
    classes = described().classes  # before another zoo stands in its place
    with speech_zoo.installed(tmp_path / "zoo"):
        parent = config.network(speech_zoo.NETWORK.name)
        parent = dataclasses.replace(parent, classes=classes)
        network = graph.build("resnet18", len(parent.classes), input_size=parent.input_shape)
        fitter = Fitter(parent, network, ["block3"], train, validation, tmp_path / "cache")
        model = ModelConfig("m", parent.name, "block3", "reduced_simple", dimensions=5)
        arrays_of_model, facts = fitter.fit(model)
        assert arrays_of_model["reduce/kernel"].shape[1] == 5 and len(facts["golden_output"]) == 40
        _, labels = arrays(train, None)
        same_word = labels["keyword"][:, None] == labels["keyword"]
        assert (same_word & (labels["identity"][:, None] != labels["identity"])).any()
        child = dataclasses.replace(
            speech_zoo.NETWORK,
            name="resnet18_tiny_siamese_block4",
            parent=speech_zoo.NETWORK.name,
            siamese=SiameseConfig(cut="block4", trained_from="block4_1", copies=1, within=0.1, information=0.01),
        )
        frozen, trained = siamese.build(child)
        assert frozen.output_shape[1:] == trained.input_shape[1:] == (4, 2, 256)
        clips = np.stack([audio.spectrogram(clip) for clip in words(2)])
        found = trained(frozen(clips), training=False)["fc8"]
        whole = graph.after(graph.inference_network(parent_of(child), weights_of(child)), "normalize", "fc8")
        expected = whole(clips / 20 - 1)
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=0.05 * np.abs(expected).max())


def parent_of(child: NetworkConfig) -> NetworkConfig:
    return config.network(child.parent)


def weights_of(child: NetworkConfig) -> dict:
    from privzoo import weights

    return weights.load(parent_of(child))

"""The training tool end to end, on tiny made-up data sets, under both Keras backends and through a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privzoo import config, faces
from privzoo.config import Augmentation, NetworkConfig, Stage, TrainingConfig

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 3


@pytest.fixture(scope="module")
def faces_folder(tmp_path_factory):
    """80 random chips in UTKFace's layout; the men's are darker, so that there is something to learn."""
    folder = tmp_path_factory.mktemp("data") / "UTKFace"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(80):
        gender, race = i % 2, i % 5
        pixels = rng.integers(0, 120, (64, 64, 3)) + 120 * gender
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{20 + i}_{gender}_{race}_2017{i:04d}.jpg.chip.jpg")
    return folder.parent


@pytest.fixture(scope="module")
def tiny_config(tmp_path_factory):
    """A small VGG-S on these data, with auxiliary outputs and two image sizes' worth of epochs."""
    network = NetworkConfig(
        name="vgg_s_tiny",
        architecture="vgg_s",
        task="gender",
        classes=("male", "female"),
        input_size=48,
        description="A network for the tests.",
        licence="none",
        training=TrainingConfig(
            dataset="utkface",
            stages=(Stage(48, EPOCHS),),
            auxiliary={"age": 1.0, "race": 0.1},
            batch_size=16,
            peak_learning_rate=0.01,
            precision="float32",
            augmentation=Augmentation(),
        ),
    )
    path = tmp_path_factory.mktemp("config") / "vgg_s_tiny.yaml"
    config.write(network, path)
    return path


def command(tiny_config: Path, faces_folder: Path, run: Path, *more: str) -> list[str]:
    tool = str(ROOT / "tools" / "train.py")
    flags = [f"--config={tiny_config}", f"--data_dir={faces_folder}", f"--run_dir={run}", *more]
    return [sys.executable, tool, *flags]


def environment(backend: str) -> dict[str, str]:
    return {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def train(*arguments: str, backend: str = "tensorflow") -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), env=environment(backend), capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def finished_run(tiny_config, faces_folder, tmp_path_factory):
    """An uninterrupted run under TensorFlow."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = train(tiny_config, faces_folder, run)
    assert done.returncode == 0, done.stderr
    return run


def test_a_run_leaves_its_record(finished_run):
    record = json.loads((finished_run / "record.json").read_text())
    assert record["data"]["train"] + record["data"]["validation"] == 80
    assert [row["epoch"] for row in record["epochs"]] == list(range(EPOCHS))
    assert record["config"]["training"]["seed"] == 1
    assert record["backend"] == "tensorflow"
    assert record["git"]
    assert (finished_run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(finished_run.glob("epoch_*.weights.h5"))) == 1


def test_the_same_tool_trains_under_jax(tiny_config, faces_folder, tmp_path):
    pytest.importorskip("jax")
    done = train(tiny_config, faces_folder, tmp_path / "run", "--limit=40", backend="jax")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["backend"] == "jax"
    assert all(np.isfinite(row["loss"]) for row in record["epochs"])


def test_a_killed_run_resumes_and_ends_as_if_it_had_not_been(tiny_config, faces_folder, finished_run, tmp_path):
    from privzoo.training import release

    run = tmp_path / "killed"
    process = subprocess.Popen(
        command(tiny_config, faces_folder, run),
        env=environment("tensorflow"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (run / "last.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)  # in the epoch after the one that was just written
    process.wait()
    done_before = json.loads((run / "last.json").read_text())["epochs"]
    assert 1 <= done_before < EPOCHS
    done = train(tiny_config, faces_folder, run)
    assert done.returncode == 0, done.stderr
    record = json.loads((run / "record.json").read_text())
    assert record["epochs_of_last_start"] == EPOCHS - done_before
    assert record["seconds"] > 0
    assert [row["epoch"] for row in record["epochs"]] == list(range(EPOCHS))
    network = config.read(NetworkConfig, tiny_config)
    whole, resumed = (release.trained_weights(network, folder) for folder in (finished_run, run))
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        np.testing.assert_allclose(resumed[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def test_a_task_alone_trains_with_smoothed_labels(tiny_config, faces_folder, tmp_path):
    from privzoo.data import splits
    from privzoo.training import primary

    plain = config.to_dict(config.read(NetworkConfig, tiny_config))
    plain["training"] |= {"auxiliary": {}, "label_smoothing": 0.1, "stages": [{"input_size": 48, "epochs": 1}]}
    network = config.from_dict(NetworkConfig, plain, "x")
    primary.train(network, *splits.load_splits("utkface", faces_folder), tmp_path)
    (epoch,) = json.loads((tmp_path / "record.json").read_text())["epochs"]
    assert 0 <= next(value for key, value in epoch.items() if key.endswith("accuracy")) <= 1


def test_image_sizes_grow_from_stage_to_stage(faces_folder, tmp_path):
    from privzoo.architectures import graph
    from privzoo.data import splits
    from privzoo.training import primary, release

    training = TrainingConfig(
        "utkface", (Stage(48, 1), Stage(64, 1)), batch_size=8, peak_learning_rate=0.01, precision="float32"
    )
    network = NetworkConfig(
        name="vgg16_tiny",
        architecture="vgg16",
        task="gender",
        classes=("male", "female"),
        input_size=64,
        training=training,
        description="For tests.",
        licence="none",
    )
    parts = [splits.take(part, 16) for part in splits.load_splits("utkface", faces_folder)]
    primary.train(network, *parts, tmp_path)
    assert len(json.loads((tmp_path / "record.json").read_text())["epochs"]) == 2
    values = release.trained_weights(network, tmp_path)
    assert graph.inference_network(network, values).input_shape == (None, 64, 64, 3)


def test_mistakes_get_one_sentence(tiny_config, faces_folder, finished_run, tmp_path):
    no_data = train(tiny_config, tmp_path, tmp_path / "run")
    assert no_data.returncode == 1
    assert no_data.stderr.strip().splitlines()[-1].startswith("train: ")
    assert "Traceback" not in no_data.stderr
    other = config.read(NetworkConfig, tiny_config)
    changed = tmp_path / "changed.yaml"
    config.write(config.from_dict(NetworkConfig, config.to_dict(other) | {"input_size": 64}, "x"), changed)
    mixed = train(changed, faces_folder, finished_run)
    assert mixed.returncode == 1
    assert "another config" in mixed.stderr
    assert "Traceback" not in mixed.stderr


def test_a_damaged_checkpoint_is_refused(tiny_config, faces_folder, finished_run, tmp_path):
    from privzoo.errors import WeightsError
    from privzoo.training import release

    run = tmp_path / "run"
    run.mkdir()
    (run / "last.json").write_text((finished_run / "last.json").read_text())
    (run / json.loads((run / "last.json").read_text())["weights"]).write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="--restart"):
        release.trained_weights(config.read(NetworkConfig, tiny_config), run)


def test_augmentation_is_random_bounded_and_repeatable():
    from privzoo.training.augment import augment

    chip = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    first = augment(chip, 48, Augmentation(), np.random.default_rng(1))
    assert first.shape == (48, 48, 3)
    assert first.min() >= 0
    assert first.max() <= 255
    assert np.array_equal(first, augment(chip, 48, Augmentation(), np.random.default_rng(1)))
    assert not np.array_equal(first, augment(chip, 48, Augmentation(), np.random.default_rng(2)))
    still = Augmentation(minimum_crop=1.0, flip=False, grey=0.0, contrast=0.0, brightness=0.0)
    assert np.array_equal(augment(chip, 64, still, np.random.default_rng(3)), chip)


def test_the_learning_rate_makes_one_cycle():
    from privzoo.training.schedule import OneCycle

    rates = [float(OneCycle(0.1, 100, 0.2)(step)) for step in range(101)]
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 20
    assert rates[0] == pytest.approx(0.004)
    assert rates[-1] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("batch_size", [64, 7])
def test_batch_norms_statistics_are_those_of_the_training_images(batch_size):
    import keras

    from privzoo.architectures import graph
    from privzoo.training.statistics import TrainingStatistics

    chips = np.random.default_rng(0).integers(0, 256, (20, 60, 60, 3), dtype=np.uint8)
    network = graph.build("vgg_s", 2, input_size=48, batch_norm=True, probabilities=False)
    network.get_layer("conv2_bn").trainable = False
    before = {layer.name: [np.array(w) for w in layer.weights] for layer in network.layers}
    setting = TrainingStatistics(chips, 48, batch_size, seed=1)
    setting.set_model(network)
    for _ in range(2):  # what was there before has no part in it
        setting.on_test_begin()
    assert sorted(np.concatenate(setting.parts)) == list(range(20)) and len(setting.parts) == -(-20 // batch_size)
    images = np.stack([faces.resize(chip, 48) for chip in chips]).astype(np.float32)
    first = keras.Model(network.input, network.get_layer("conv1").output)
    parts = [np.array(first(images[part])) for part in setting.parts]
    norm = network.get_layer("conv1_bn")
    assert norm.momentum == 0.99
    np.testing.assert_allclose(norm.moving_mean, np.mean([x.mean((0, 1, 2)) for x in parts], 0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, np.mean([x.var((0, 1, 2)) for x in parts], 0), rtol=1e-3)
    for layer in network.layers:  # and nothing else is changed, nor a layer that is not trained
        for old, weight in zip(before[layer.name], layer.weights, strict=True):
            moving = weight.name.startswith("moving") and layer.trainable
            assert np.array_equal(old, weight) != moving, weight.path


def test_the_zoos_own_runs_are_long_ones():
    """Their recipe stays the one that they were released with."""
    from privzoo.training.batches import steps
    from privzoo.training.statistics import LONG_RUN

    seen = 0
    for name, path in config.networks().items():
        network = config.read(NetworkConfig, path)
        record = config.config_folder() / "weights" / f"{name}.json"
        if network.siamese or not record.exists():
            continue
        count = json.loads(record.read_text("utf-8"))["data"]["train"]
        epochs = sum(stage.epochs for stage in network.training.stages)
        assert epochs * steps(count, network.training.batch_size) >= LONG_RUN
        seen += 1
    assert seen


def test_validation_is_learnt_in_a_dozen_steps(tmp_path):
    """Two dozen images make one step an epoch, after which moving averages are mostly at their initial values."""
    from privzoo.data import folder
    from privzoo.training import primary

    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("unseen", 10)):
        for number, name in enumerate(("glasses", "none")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = (rng.integers(0, 150, (6, 6, 3)) + 60 * number).astype(np.uint8)
                Image.fromarray(pixels).resize((60, 60)).save(tmp_path / part / name / f"{i}.png")
    training = TrainingConfig("folder", (Stage(48, 13),), chip_size=56, precision="float32")
    network = NetworkConfig(
        name="tiny",
        architecture="vgg16",
        task="label",
        classes=("glasses", "none"),
        input_size=48,
        training=training,
        description="For tests.",
        licence="none",
    )
    primary.train(network, folder.load(tmp_path / "train"), folder.load(tmp_path / "unseen"), tmp_path / "run")
    last = json.loads((tmp_path / "run" / "record.json").read_text("utf-8"))["epochs"][-1]
    assert last["val_accuracy"] >= 0.9 and last["val_loss"] < 1


def test_stages_follow_each_other():
    from privzoo.training.batches import remaining_stages

    stages = (Stage(48, 2), Stage(96, 1))
    small, large = stages
    assert list(remaining_stages(stages, 0)) == [(small, 0, 2), (large, 2, 3)]
    assert list(remaining_stages(stages, 1)) == [(small, 1, 2), (large, 2, 3)]
    assert list(remaining_stages(stages, 2)) == [(large, 2, 3)]
    assert list(remaining_stages(stages, 3)) == []


def test_a_data_set_that_does_not_fit_the_config_is_refused(tiny_config, faces_folder):
    from privzoo.data import utkface
    from privzoo.errors import ConfigError
    from privzoo.training.opening import check_labels

    network = config.read(NetworkConfig, tiny_config)
    data = utkface.load(faces_folder)
    labels = dict.fromkeys(["gender", "age", "race"])
    check_labels(network, data, labels)
    with pytest.raises(ConfigError, match="learns 'age'"):
        check_labels(network, data, {"gender": None})
    swapped = config.from_dict(NetworkConfig, config.to_dict(network) | {"classes": ["female", "male"]}, "x")
    with pytest.raises(ConfigError, match="in this order"):
        check_labels(swapped, data, labels)


@pytest.mark.parametrize(("count", "batch_size", "expected"), [(60, 64, 1), (2, 64, 1), (64, 64, 1), (130, 64, 2)])
def test_batches_shrink_to_what_there_is(count, batch_size, expected):
    from privzoo.training.batches import TrainingBatches, steps

    chips = np.zeros((count, 8, 8, 3), np.uint8)
    batches = TrainingBatches(chips, {"fc8": np.arange(count)}, batch_size, 8, Augmentation(), 1)
    assert len(batches) == expected == steps(count, batch_size)
    images, labels = batches[0]
    assert len(images) == min(count, batch_size) == len(set(labels["fc8"]))


def test_one_image_is_too_few(tiny_config, faces_folder, tmp_path):
    import dataclasses

    from privzoo.data import splits
    from privzoo.errors import DataError
    from privzoo.training import primary

    parts = splits.load_splits("utkface", faces_folder)
    one = dataclasses.replace(parts[0], samples=parts[0].samples[:1])
    with pytest.raises(DataError, match="has one usable sample to train on; give 2 or more of each class"):
        primary.train(config.read(NetworkConfig, tiny_config), one, parts[1], tmp_path / "run")

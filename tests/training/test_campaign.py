"""Campaigns end to end on a processor's JAX, on tiny made-up data: packs, teachers, pairs, time limits, release."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privzoo import config, weights
from privzoo.config import CampaignConfig, NetworkConfig, SiameseConfig, Stage, TrainingConfig
from privzoo.errors import ConfigError
from privzoo.training import release

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
ON_JAX = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def campaign(*flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "campaign.py", *flags]
    return subprocess.run([str(part) for part in command], env=ON_JAX, capture_output=True, text=True, timeout=600)


def network(name: str, **more) -> NetworkConfig:
    training = {"dataset": "utkface", "batch_size": 16, "peak_learning_rate": 0.02, "precision": "float32"}
    training |= {"stages": (Stage(48, 2),)} | more.pop("training", {})
    settings = {"architecture": "vgg_s", "task": "gender", "classes": ("male", "female"), "input_size": 48}
    settings |= {"description": "A network for the tests.", "licence": "none", "training": TrainingConfig(**training)}
    return NetworkConfig(name=name, **settings | more)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A plan of a network with a teacher and of its Siamese child."""
    folder = tmp_path_factory.mktemp("plan")
    settings = CampaignConfig(balanced=("gender", "race"), rotation=10.0, erasing=0.5, mixup=0.2)
    settings = CampaignConfig(**{**vars(settings), "teachers": (7,), "distillation": 0.5})
    tiny = network("tiny", training={"auxiliary": {"age": 1.0, "race": 0.1}, "campaign": settings})
    pairs = SiameseConfig(cut="conv5", trained_from="conv5", contrastive=0.01, within=1.0, information=0.05)
    child = network("tiny_siamese_conv5", parent="tiny", siamese=pairs, training={"campaign": CampaignConfig()})
    for one in (tiny, child):
        config.write(one, folder / f"{one.name}.yaml")
    path = folder / "plan.yaml"
    path.write_text("networks:\n- {network: tiny, seconds: 200}\n- {network: tiny_siamese_conv5, seconds: 100}\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A pack of 96 random chips in UTKFace's layout; the men's are darker."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "UTKFace").mkdir()
    rng = np.random.default_rng(0)
    for i in range(96):
        pixels = rng.integers(0, 120, (64, 64, 3)) + 120 * (i % 2)
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(folder / "UTKFace" / f"{20 + i}_{i % 2}_{i % 5}_2017{i:04d}.jpg.chip.jpg")
    done = campaign("--pack=utkface", f"--data_dir={folder}", f"--out_dir={folder / 'packs'}", "--side=48")
    assert done.returncode == 0, done.stderr
    return folder / "packs"


@pytest.fixture(scope="module")
def results(plan, data, tmp_path_factory):
    """What the whole plan comes to."""
    out = tmp_path_factory.mktemp("out")
    done = campaign(f"--plan={plan}", f"--data_dir={data}", f"--out_dir={out}", "--whole", "--git=abc")
    assert done.returncode == 0, done.stderr
    return out


def test_every_network_is_written_with_its_record(results):
    for name in ("tiny", "tiny_siamese_conv5"):
        record = json.loads((results / name / "record.json").read_text())
        assert record["config"]["name"] == name and record["git"] == "abc" and record["backend"] == "jax"
        assert record["campaign"]["packs"].keys() == {"utkface"}
        assert abs(record["campaign"]["float_validation_accuracy"] - record["epochs"][-1]["val_accuracy"]) < 0.2
        assert all(row["images_per_second"] >= 0 for row in record["epochs"])
        assert all(np.isfinite(row["loss"]) for row in record["epochs"])
        assert all(np.isfinite(value).all() for value in weights.read(results / name / f"{name}.npz").values())
    taught = json.loads((results / "tiny" / "record.json").read_text())["epochs"]
    assert [(row["seed"], row["taught"]) for row in taught] == [(7, 0), (1, 1)]
    assert all(row["steps"] >= row["planned_steps"] for row in taught)


def test_it_learns_what_there_is_to_learn(results):
    rows = json.loads((results / "tiny" / "record.json").read_text())["epochs"]
    assert rows[0]["val_accuracy"] > 0.8


def test_a_child_keeps_its_parents_first_layers(results):
    parent = weights.read(results / "tiny" / "tiny.npz")
    child = weights.read(results / "tiny_siamese_conv5" / "tiny_siamese_conv5.npz")
    assert {key.rpartition("/")[0] for key in child} <= {"conv5", "fc8"} and child.keys() < parent.keys()
    assert not np.array_equal(child["conv5/kernel"], parent["conv5/kernel"])


def test_what_is_done_is_not_done_again(plan, data, results):
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    done = campaign(f"--plan={plan}", f"--data_dir={data}", f"--out_dir={results}", "--whole")
    assert done.returncode == 0, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in results.rglob("*")}


def test_a_campaign_that_was_killed_goes_on_with_the_teachers_it_has(plan, data, results, tmp_path):
    out = shutil.copytree(results, tmp_path / "out")
    (out / "tiny" / "tiny.npz").unlink()
    done = campaign(f"--plan={plan}", f"--data_dir={data}", f"--out_dir={out}", "--whole", "--seconds=120")
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "tiny" / "record.json").read_text())["epochs"]
    assert [(row["seed"], row["taught"]) for row in rows] == [(1, 1)]


def test_a_clock_ends_with_the_time_or_the_steps():
    code = (
        "import time; from privzoo.training.campaign import Clock; clock = Clock(10, 0.2); assert clock.share() == 0; "
        "time.sleep(0.19); clock.count(2); assert clock.share() >= 0.2; time.sleep(0.06); assert clock.share() == 1; "
        "other = Clock(10, 1e6); other.count(5); assert other.share() == 0.5; other.count(6); assert other.share() == 1"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ON_JAX, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_with_too_little_time_no_network_is_begun(plan, data, tmp_path):
    done = campaign(f"--plan={plan}", f"--data_dir={data}", f"--out_dir={tmp_path}", "--seconds=5")
    assert done.returncode == 0 and "left for the next time" in done.stderr
    assert not list(tmp_path.rglob("*.npz"))


def test_results_are_listed(results):
    done = campaign("--results", f"--out_dir={results}")
    assert done.returncode == 0, done.stderr
    assert "tiny: seed 7 at 48 px" in done.stdout and "taught: validation" in done.stdout


def test_results_are_released_as_they_are(plan, results, data, tmp_path, monkeypatch):
    from privzoo.data import utkface

    zoo = tmp_path / "zoo_configs"
    for folder in ("networks", "models", "weights"):
        (zoo / folder).mkdir(parents=True)
    monkeypatch.setattr(config, "config_folder", lambda: zoo)
    faces = utkface.load(data.parent, split="validation")
    run = shutil.copytree(results / "tiny", tmp_path / "run")
    tiny = config.read(NetworkConfig, plan.parent / "tiny.yaml")
    released = release.release(tiny, run, faces, tmp_path / "cache")
    found, wanted = weights.read(zoo / "weights" / "tiny.npz"), weights.read(run / "tiny.npz")
    assert released.weights and all(np.allclose(found[key], wanted[key], atol=1e-6) for key in wanted)
    other = network("tiny", training={"campaign": CampaignConfig(rotation=3.0)})
    with pytest.raises(ConfigError, match="of another config"):
        release.release(other, run, faces, tmp_path / "cache")
    config.networks.cache_clear()
    config.models.cache_clear()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--plan={plan}"], "Give --data_dir, and one of --plan, --pack and --results."),
        (["--plan={plan}", "--data_dir={empty}"], "cannot be read"),
        (["--plan={plan}", "--data_dir={data}", "--only=vgg"], "no network that begins with vgg; it has tiny, tiny_s"),
        (["--results"], "holds no network that a campaign has trained"),
        (["--pack=nothing", "--data_dir={data}"], "There is no data set 'nothing'"),
        (["--plan={empty}/none.yaml", "--data_dir={data}"], "none.yaml"),
    ],
)
def test_mistakes_are_named(flags, sentence, plan, data, tmp_path):
    given = [flag.format(plan=plan, data=data, empty=tmp_path) for flag in flags]
    done = campaign(*given, f"--out_dir={tmp_path / 'out'}", "--whole")
    assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr


def test_another_backend_is_refused(plan, data, tmp_path, monkeypatch):
    monkeypatch.setitem(ON_JAX, "KERAS_BACKEND", "tensorflow")
    done = campaign(f"--plan={plan}", f"--data_dir={data}", f"--out_dir={tmp_path}")
    assert done.returncode == 1 and "set KERAS_BACKEND=jax" in done.stderr


@pytest.mark.parametrize("wrong", [{"rotation": -1.0}, {"erasing": 1.5}, {"temperature": 0.0}, {"distillation": 0.5}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="campaign"):
        CampaignConfig(**wrong)


def test_changed_images_stay_images(tmp_path):
    code = (
        "import jax, numpy as np; from privzoo.training import accelerated as a; "
        "from privzoo.config import Augmentation, CampaignConfig; "
        "chips = np.random.default_rng(0).integers(0, 256, (8, 40, 40, 3)).astype(np.uint8); "
        "x = a.augmented(chips, 32, Augmentation(), CampaignConfig(rotation=20., erasing=1.), jax.random.key(0)); "
        "assert x.shape == (8, 32, 32, 3) and 0 <= x.min() and x.max() <= 255; "
        "still = Augmentation(minimum_crop=1.0, flip=False, grey=0.0, contrast=0.0, brightness=0.0); "
        "same = a.augmented(chips, 40, still, CampaignConfig(), jax.random.key(0)); "
        "assert np.abs(np.asarray(same) - chips).max() < 0.01"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ON_JAX, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("plan", ["better_networks", "better_emotion"])
def test_the_plans_of_the_zoo_fit_together(plan):
    pytest.importorskip("jax")
    from privzoo.training.campaign import Plan

    folder = config.config_folder() / "campaigns"
    entries = config.read(Plan, folder / f"{plan}.yaml").networks
    known = {entry.network: config.read(NetworkConfig, folder / f"{entry.network}.yaml") for entry in entries}
    for name, one in known.items():
        campaign = one.training.campaign
        assert one.name == name and campaign
        assert one.parent is None or one.parent in known
        assert campaign.taught_by is None or campaign.taught_by in known
    assert sum(entry.seconds for entry in entries) <= 2 * 600


def test_a_card_says_how_a_campaign_trained_its_network():
    from privzoo import card

    text = str(card.read("vgg_s_gender_simple_conv5"))
    assert "trained on utkface and celeba" in text and "weights stored as int5" in text
    assert "taught by the teachers of vgg16_gender, for" in text and "planned steps of 128" in text
    assert "taught by 3 of its kind" in str(card.read("vgg16_emotion_simple_conv5_3"))

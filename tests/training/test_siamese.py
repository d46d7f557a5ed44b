"""Pairs, the losses at the cut, and the Siamese recipe from the parent's weights to a released network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_zoo import CHILD, PARENT, tool

from privzoo import config, weights
from privzoo.config import Stage
from privzoo.errors import ConfigError, DataError
from privzoo.training.pairs import Pairs

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
sets = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), min_size=1, max_size=40).map(np.array)


@given(sets, st.integers(0, 2**32), st.integers(0, 99), st.floats(0, 1), st.booleans())
def test_pairs_never_hold_one_identity_twice(faces, seed, epoch, similar, known):
    classes, identities = faces.T
    if not known:
        identities = np.arange(len(faces))
    try:
        pairs = Pairs(classes, identities if known else None, seed)
    except DataError:
        alone = [len(set(identities[classes == c])) < 2 for c in set(classes)]
        others = [set(classes) - set(classes[identities != i]) for i in set(identities)]
        assert len(set(classes)) < 2 or any(alone) or any(others)
        return
    drawn = np.random.default_rng(seed).permutation(len(faces))
    partners, same = pairs.draw(drawn, similar, epoch)
    assert (identities[drawn] != identities[partners]).all()
    assert (same == (classes[drawn] == classes[partners])).all()
    again, _ = Pairs(classes, identities if known else None, seed).draw(drawn, similar, epoch)
    assert np.array_equal(partners, again)


def test_pairs_are_even_and_change_with_the_epoch():
    classes = np.repeat([0, 1, 2], [4000, 2000, 2000])
    pairs, faces = Pairs(classes, None, 1), np.arange(8000)
    partners, same = pairs.draw(faces, 0.5, 0)
    assert abs(same.mean() - 0.5) < 0.03
    other = np.bincount(classes[partners[(classes == 0) & ~same]], minlength=3)
    assert other[0] == 0 and abs(other[1] / other.sum() - 0.5) < 0.1
    assert len(set(partners)) > 4000
    assert not np.array_equal(partners, pairs.draw(faces, 0.5, 1)[0])
    assert pairs.draw(faces, 1.0, 0)[1].all() and not pairs.draw(faces, 0.0, 0)[1].any()


features = st.integers(2, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, 5), st.integers(0, 2**32)))


@settings(max_examples=30)
@given(features, st.floats(0.1, 5))
def test_the_contrastive_loss_is_equation_1(drawn, margin):
    from privzoo.training import losses

    pairs, width, seed = drawn
    rng = np.random.default_rng(seed)
    f, similar = rng.normal(size=(2 * pairs, width)).astype(np.float32), rng.integers(0, 2, pairs)
    target = np.stack([np.tile(similar, 2), rng.integers(0, 2, 2 * pairs)], 1).astype(np.float32)
    distances = np.linalg.norm(f[:pairs] - f[pairs:], axis=1)
    expected = np.where(similar, distances**2, np.maximum(0, margin - distances) ** 2)
    np.testing.assert_allclose(losses.contrastive(margin)(target, f), expected, rtol=1e-3, atol=1e-4)


@settings(max_examples=30)
@given(features, st.floats(0.2, 5))
def test_the_losses_within_classes_are_variance_and_capacity(drawn, noise):
    from privzoo.training import losses

    pairs, width, seed = drawn
    rng = np.random.default_rng(seed)
    f, classes = rng.normal(size=(2 * pairs, width)).astype(np.float32), rng.integers(0, 3, 2 * pairs)
    target = np.stack([np.zeros(2 * pairs), classes], 1).astype(np.float32)
    centred = np.stack([x - f[classes == c].mean(0) for x, c in zip(f, classes, strict=True)])
    share = np.square(centred).sum() / np.square(f - f.mean(0)).sum()
    np.testing.assert_allclose(losses.within(3)(target, f), share, rtol=1e-3, atol=1e-5)
    covariance = centred.T @ centred / len(f)
    capacity = np.linalg.slogdet(np.eye(width) + covariance / noise**2)[1] / 2
    np.testing.assert_allclose(losses.information(3, noise)(target, f), capacity, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        yield folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    from privzoo.data import utkface

    return utkface.load(tiny_zoo.write_faces(tmp_path_factory.mktemp("faces")), split="all")


def with_epochs(epochs: int):
    training = dataclasses.replace(CHILD.training, stages=(Stage(tiny_zoo.SIZE, epochs),))
    return dataclasses.replace(CHILD, training=training)


@pytest.fixture(scope="module")
def finished(zoo, faces, tmp_path_factory):
    """An unbroken run of three epochs."""
    from privzoo.training import siamese

    run = tmp_path_factory.mktemp("runs") / "whole"
    siamese.train(with_epochs(3), faces, faces, run)
    return run


def test_a_run_leaves_its_record_and_keeps_what_is_frozen(finished, faces):
    from privzoo.training import release

    record = json.loads((finished / "record.json").read_text())
    assert [row["epoch"] for row in record["epochs"]] == [0, 1, 2]
    assert record["config"]["siamese"]["trained_from"] == "conv5"
    assert record["data"]["train"] == len(faces)
    assert {"contrastive_loss", "within_loss", "information_loss", "val_fc8_accuracy"} <= set(record["epochs"][0])
    assert all(np.isfinite(list(row.values())).all() for row in record["epochs"])
    assert record["epochs"][-1]["val_contrastive_loss"] < record["epochs"][0]["contrastive_loss"]
    assert len(list((finished / "cache").glob("*.npy"))) == 3  # two copies, and the validation faces
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    before, after = weights.load(config.network(PARENT.name)), release.trained_weights(with_epochs(3), finished)
    assert before.keys() == after.keys()
    assert {key.partition("/")[0] for key in weights.differing(after, before)} == {"conv5", "fc8"}


def test_a_broken_run_resumes_and_ends_as_if_it_had_not_been(zoo, faces, finished, tmp_path, monkeypatch):
    from privzoo.training import checkpoint, release, siamese

    whole = checkpoint.Checkpoint.on_epoch_end

    def broken(self, epoch, logs=None):
        whole(self, epoch, logs)
        if epoch == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "on_epoch_end", broken)
    with pytest.raises(KeyboardInterrupt):
        siamese.train(with_epochs(3), faces, faces, tmp_path, finished / "cache")
    monkeypatch.undo()
    siamese.train(with_epochs(3), faces, faces, tmp_path, finished / "cache")
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["epochs_of_last_start"] == 2
    assert not (tmp_path / "cache").exists()
    unbroken, resumed = (release.trained_weights(with_epochs(3), run) for run in (finished, tmp_path))
    for key, value in unbroken.items():
        np.testing.assert_allclose(resumed[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def test_the_classifier_learns_faster(zoo):
    from privzoo.training import siamese

    changed = {}
    for multiplier in (1.0, 10.0):
        network = dataclasses.replace(
            CHILD, siamese=dataclasses.replace(CHILD.siamese, classifier_multiplier=multiplier, within=0, information=0)
        )
        _, trained = siamese.build(network)
        siamese.compile_network(trained, network, 10)
        before = trained.get_layer("fc8").get_weights()[1].copy()
        x = np.random.default_rng(0).normal(size=(8, *trained.input_shape[1:])).astype(np.float32)
        target = np.zeros((8, 2), np.float32)
        trained.train_on_batch(x, {"fc8": np.zeros(8, int), "contrastive": target})
        changed[multiplier] = np.abs(trained.get_layer("fc8").get_weights()[1] - before).max()
    assert changed[10.0] == pytest.approx(10 * changed[1.0], rel=0.5)  # dropout differs


@pytest.mark.parametrize(
    ("change", "siamese_change", "message"),
    [
        ({"parent": None}, {}, "no parent"),
        ({"input_size": 64}, {}, "differ in input_size"),
        ({}, {"trained_from": "pool5"}, "trained from 'pool5'"),
        ({}, {"trained_from": "conv9"}, "trained from 'conv9'"),
        ({}, {"copies": 0}, "1 copy"),
    ],
)
def test_configs_that_cannot_be_trained(zoo, change, siamese_change, message):
    from privzoo.training import siamese

    network = dataclasses.replace(CHILD, **change, siamese=dataclasses.replace(CHILD.siamese, **siamese_change))
    with pytest.raises(ConfigError, match=message):
        siamese.build(network)
    with pytest.raises(ConfigError, match="unknown entry 'margins'"):
        config.from_dict(config.SiameseConfig, {"cut": "conv5", "trained_from": "conv5", "margins": 1}, "it")


def test_a_config_with_pairs_survives_yaml(tmp_path):
    config.write(CHILD, tmp_path / "child.yaml")
    assert config.read(config.NetworkConfig, tmp_path / "child.yaml") == CHILD


def test_the_tools_train_fit_and_release(zoo, tmp_path):
    """Both tools, from planned configs to a registered advanced model that loads."""
    import privzoo

    planned = zoo / "planned"
    config.write(with_epochs(1), planned / "networks" / f"{CHILD.name}.yaml")
    for embedding in ("siamese", "advanced"):
        model = tiny_zoo.model(embedding)
        config.write(model, planned / "models" / f"{model.name}.yaml")
    data, runs = str(tiny_zoo.write_faces(tmp_path)), tmp_path / "runs"
    early = tool("fit.py", zoo, "--model=*advanced*", f"--data_dir={data}")
    assert early.returncode == 1 and "fit: None of these models" in early.stderr and "Traceback" not in early.stderr
    where = [f"--config={planned}/networks/{CHILD.name}.yaml", f"--run_dir={runs / 'child'}"]
    trained = tool("train.py", zoo, *where, f"--data_dir={data}", "--release")
    assert trained.returncode == 0, trained.stderr
    assert list((runs / "cache").glob("conv4_*.npy"))
    cache = f"--cache_dir={runs / 'features'}"
    fitted = tool("fit.py", zoo, "--model=vgg_s_tiny_*", f"--data_dir={data}", cache, "--release")
    assert fitted.returncode == 0, fitted.stderr
    assert not list(planned.glob("*/*"))
    tiny_zoo.forget()
    assert privzoo.list_models() == ["vgg_s_tiny_advanced_conv5", "vgg_s_tiny_siamese_conv5"]
    model = privzoo.load("vgg_s_tiny_advanced_conv5")
    assert model.predict(tiny_zoo.chips(2)[0], face="given").shape == (2, 2)
    assert model.card.to_dict()["start_weights"] == PARENT.name and "trained for 1 epochs" in str(model.card)
    own = np.load(zoo / "weights" / f"{CHILD.name}.npz")
    assert {key.partition("/")[0] for key in own.files} == {"conv5", "fc8"}
    record = json.loads((zoo / "weights" / "vgg_s_tiny_advanced_conv5.json").read_text())
    assert {"validation_accuracy", "share_clipped", "epsilon_at_delta_1e-5", "release"} <= set(record)


def test_settings_are_tried_and_attacked(zoo, data_dir, tmp_path):
    data = tiny_zoo.write_faces(tmp_path)
    (data / "lfw.zip").symlink_to(data_dir / "lfw.zip")
    path = tmp_path / "RESULTS.md"
    known = [f"--data_dir={data}", f"--cache_dir={tmp_path / 'cache'}", f"--results={path}"]
    quick = ["--attackers=lda", "--seeds=1"]
    for name, trials in (("noisy_reduced_simple", ("sigma=0.1", "sigma=1,clip=0.5")), ("simple", ("step=0.5",))):
        model = tiny_zoo.model(name)
        config.write(model, zoo / "planned" / "models" / f"{model.name}.yaml")
        tries = [f"--try={trial}" for trial in trials]
        done = tool("sweep.py", zoo, f"--model={model.name}", *known, *quick, *tries)
        assert done.returncode == 0, done.stderr
        rows = json.loads((zoo / "sweeps" / f"{model.name}.json").read_text())
        assert [row["trial"] for row in rows] == list(trials)
        assert all(0 <= row["accuracy"] <= 1 and row["git"] and row["date"] for row in rows)
        assert all(f["attacker"] == "lda" and 0 <= f["value"] <= 1 for row in rows for f in row["identity"].values())
        assert {row["people"] for row in rows} == {"lfw101to200-test"}  # not those who are measured
    assert "sigma=1, clip=0.5" in path.read_text() and "step=0.5" in path.read_text()
    wrong = tool("sweep.py", zoo, "--model=vgg_s_tiny_noisy*", *known, "--try=sigmas=1")
    assert wrong.returncode == 1 and "unknown entry 'sigmas'" in wrong.stderr and "Traceback" not in wrong.stderr


@pytest.mark.parametrize("count", [4, 6, 40])
def test_batches_of_pairs_shrink_to_what_there_is(count):
    from privzoo.training import siamese

    classes = np.arange(count) % 2
    batches = siamese.PairBatches(
        [np.zeros((count, 3), np.float32)], classes, Pairs(classes, None, 1), 0.5, ["pairs"], 64
    )
    assert len(batches) == 1 and len(batches[0][0]) == 2 * (count // 2)


def test_few_people_to_validate_on_make_pairs_of_any_faces():
    from privzoo.training import siamese

    classes, people = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])
    with pytest.raises(DataError, match="two classes with two people"):
        siamese._pairs(classes, people, 1, fixed=False)
    assert len(siamese._pairs(classes, people, 1, fixed=True).draw(np.arange(4), 0.5, 0)[0]) == 4

"""Slim heads: channels chosen, layers fitted, taught, released, and answered by the tail that is served already."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slim_fakes as fakes
import tiny_zoo

import privzoo
from privzoo import architectures, config, costs
from privzoo.errors import ConfigError, UnknownNameError, WeightsError
from privzoo.slim import distil, fit, patches, reconstruct, release, selection
from privzoo.slim.distil import Distillation
from privzoo.slim.fit import Pruning

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo with a small reduced model that has a slim head; its run's folder, and the images."""
    with fakes.installed(tmp_path_factory.mktemp("zoo")) as zoo:
        run, cache = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("cache")
        model = privzoo.load(fakes.NAME)
        record = fit.make(model, *fakes.faces(), run, cache, fakes.PRUNING, fakes.TRAINING)
        release.release(model, run)
        yield {"zoo": zoo, "run": run, "cache": cache, "record": record}


@pytest.mark.parametrize(
    ("kernel", "padding", "stride"), [(3, "same", 1), (5, "same", 1), (3, "valid", 2), (2, "valid", 1)]
)
def test_patches_are_what_a_convolution_sees(kernel, padding, stride):
    import keras

    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 9, 9, 4)).astype(np.float32)
    layer = keras.layers.Conv2D(5, kernel, stride, padding, bias_initializer="ones")
    expected = np.asarray(layer(values))
    shape = patches.output_shape(layer, (9, 9))
    assert shape == expected.shape[1:3]
    where = patches.positions(shape, 3, rng)
    found = patches.patches(values, layer, where) @ patches.kernel_matrix(np.asarray(layer.kernel)) + 1
    wanted = expected[np.arange(3)[:, None], where[..., 0], where[..., 1]].reshape(-1, 5)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_channels_that_say_the_same_go_first_and_cost_nothing():
    rng = np.random.default_rng(1)
    own = rng.normal(size=(4000, 9, 4))  # positions, channels
    mixed = own @ rng.normal(size=(4, 3))
    seen = np.concatenate([own, mixed], axis=2).reshape(4000, -1)  # three of seven channels say nothing new
    order = selection.eliminate(np.cov(seen.T, ddof=0), rng.normal(size=(63, 5)), 7, 1)
    assert sorted(order.kept) == list(range(7))
    assert order.lost[4] < 1e-3 < order.lost[3]
    assert order.lost[7] == 0
    assert (np.diff(order.lost[1:]) <= 1e-12).all()
    assert np.isinf(order.lost[0])


def test_channels_that_nobody_reads_go_first():
    rng = np.random.default_rng(2)
    seen, kernel = rng.normal(size=(2000, 6)), rng.normal(size=(6, 3))
    kernel[[1, 4]] = 0
    order = selection.eliminate(np.cov(seen.T, ddof=0), kernel, 6, 2)
    assert set(order.kept[-2:]) == {1, 4}
    assert order.lost[4] == pytest.approx(0, abs=1e-6)


def test_least_squares_are_exact_where_channels_are_redundant():
    rng = np.random.default_rng(3)
    kept = rng.normal(size=(500, 6)).astype(np.float32)
    whole = np.concatenate([kept, kept @ rng.normal(size=(6, 4)).astype(np.float32)], axis=1)
    kernel = rng.normal(size=(10, 3)).astype(np.float32)
    wanted = whole @ kernel + 2
    found, bias, left = reconstruct.solve(kept, wanted, kernel[:6].astype(np.float64))
    assert left < 1e-5
    np.testing.assert_allclose(kept @ found + bias, wanted, atol=0.02)


def test_widths_keep_the_budget_and_spare_what_matters():
    orders = {}
    for layer in architectures.layers("vgg16"):
        if isinstance(layer, architectures.Conv):
            lost = np.linspace(1, 0, layer.filters + 1) ** 2 * (100 if layer.name == "conv2_1" else 1)
            orders[layer.name] = selection.Order(np.arange(layer.filters), lost)
    whole = selection.head_multiply_adds("vgg16", "conv5_3", 96, 4, {})
    assert whole == costs.cost(fakes.vgg16_model(), config.network("vgg16_gender")).head_multiply_adds
    channels = selection.widths(orders, "vgg16", "conv5_3", 96, 4, 0.2 * whole)
    found = selection.head_multiply_adds("vgg16", "conv5_3", 96, 4, channels)
    assert 0.18 * whole < found <= 0.2 * whole
    assert all(count % selection.MULTIPLE == 0 for count in channels.values())
    assert channels["conv2_1"] > 2 * channels["conv2_2"] / 1.5
    with pytest.raises(ConfigError, match="the slimmest has"):
        selection.widths(orders, "vgg16", "conv5_3", 96, 4, 0.0001 * whole)


def test_the_head_has_its_channels_and_costs_what_it_says(made):
    model = privzoo.load(fakes.NAME, head="slim")
    full = privzoo.load(fakes.NAME)
    channels = full.config.slim.channels
    assert {c.convolution.name: c.convolution.filters for c in patches.stages(model.head)[:-1]} == channels
    assert model.head.output_shape == full.head.output_shape
    assert model.head.count_params() == model.card.cost.head_parameters
    adds = model.card.cost.head_multiply_adds
    assert adds == made["record"]["multiply_adds"] < fakes.PRUNING.budget * full.card.cost.network_multiply_adds
    assert model.card.cost.head_share == adds / full.card.cost.network_multiply_adds
    assert full.card.cost.head_share > 0.9
    assert 'head="slim"' in str(full.card) and "slim head" in str(model.card)
    assert model.card.to_dict()["heads"] == ["full", "slim"]


def test_it_learned_its_parents_feature(made):
    before, after = made["record"]["left"]["reduce"], made["record"]["validation"]
    assert after["error"] < 0.5 and before < 0.9
    assert after["agreement"] > 0.8


def test_the_released_head_is_the_trained_one_but_for_the_coding(made):
    model = privzoo.load(fakes.NAME, head="slim")
    record = json.loads((made["zoo"] / "weights" / f"{fakes.NAME}_slim.json").read_text())
    assert record["release"]["sha256"] == model.config.slim.weights.sha256
    np.testing.assert_allclose(release.golden(model.head, model.tail), record["golden_output"], atol=1e-4)
    assert record["release"]["validation"]["error"] == pytest.approx(record["validation"]["error"], abs=0.02)
    for entry in ("git", "date", "seconds", "pruning", "training", "data", "channels"):
        assert record[entry] is not None


def test_a_code_of_the_same_feature_has_the_slim_head_too(made):
    coded = config.model(fakes.CODED.name)
    assert coded.code.base == fakes.NAME and coded.slim == config.model(fakes.NAME).slim is not None
    slim, full = (costs.cost(coded, config.network(coded.network), head) for head in ("slim", "full"))
    assert slim.head_multiply_adds == made["record"]["multiply_adds"] < full.head_multiply_adds
    assert slim.network_multiply_adds == full.network_multiply_adds and slim.feature_bytes == 1


def test_the_served_tail_answers_both_heads(made, tmp_path):
    from privzoo.edge import Client, Head
    from privzoo.serving import Server

    full, slender = (privzoo.load(fakes.NAME, head=head) for head in config.HEADS)
    full.export_tail(tmp_path / "served")
    chips, _ = tiny_zoo.chips(8, seed=5)
    with Server(tmp_path / "served" / fakes.NAME, fakes.NAME) as server:
        for model in (full, slender):
            head = Head(model.export_head(tmp_path / f"{model.card.artefact}.tflite", "float32", chips))
            assert head.manifest["head"]["kind"] == model.card.head
            assert head.manifest["multiply_adds"]["head"] == model.card.cost.head_multiply_adds
            assert head.manifest["noise"]["clip"] == model.noise.clip
            with Client(head, server.url, timeout=60) as client:
                answers = client.predict(chips, face="given")
            assert [a.label for a in answers] == [model.classes[k] for k in _labels(model, chips)]
    assert full.manifest()["tail"] == slender.manifest()["tail"]
    assert full.manifest()["head"] != slender.manifest()["head"]


def test_it_stands_among_the_cheaper_heads(made, tmp_path):
    from optimising import heads

    from privzoo.edge import Head

    full, slender = (privzoo.load(fakes.NAME, head=head) for head in config.HEADS)
    chips, _ = tiny_zoo.chips()
    faces = heads.Faces(chips, np.asarray(full.head(chips.astype(np.float32))))
    whole = heads.make(full, heads.POST_TRAINING, faces, None, tmp_path)
    path = heads.make(slender, config.SLIM, faces, None, tmp_path)
    head = Head(path)
    assert (head.manifest["head"]["kind"], head.manifest["quantization"]) == ("slim", "int8")
    assert head.manifest["tail"] == Head(whole).manifest["tail"]
    assert path.stat().st_size < whole.stat().st_size


def _labels(model, chips):
    """Without noise: the fakes' noise is small."""
    return distil.answers(model, np.asarray(model.head(chips.astype(np.float32)))).argmax(1)


def test_a_broken_off_run_goes_on(made, tmp_path, monkeypatch):
    model, arguments = privzoo.load(fakes.NAME), (made["cache"], fakes.PRUNING, fakes.TRAINING)
    kept = distil.Checkpoint.on_epoch_end

    def breaks(self, epoch, logs=None):
        kept(self, epoch, logs)
        raise KeyboardInterrupt

    (tmp_path / "log.csv").write_text("")  # of a run that was killed within its first epoch
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distil.Checkpoint, "on_epoch_end", breaks)
        fit.make(model, *fakes.faces(), tmp_path, *arguments)
    assert not (tmp_path / fit.RECORD).exists()
    with pytest.raises(ConfigError, match="no finished slim head"):
        release.release(model, tmp_path)
    with monkeypatch.context() as patch:  # neither reads the data again, nor prunes again
        patch.setattr(distil, "teach", None)
        patch.setattr(selection, "orders", None)
        fit.make(model, *fakes.faces(), tmp_path, *arguments)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + fakes.EPOCHS
    first, second = (fit.read(run / fit.FINISHED) for run in (made["run"], tmp_path))
    for key, value in first.items():
        np.testing.assert_allclose(second[key], value, atol=1e-4)


def test_without_training_it_stays_as_it_was_fitted(made, tmp_path):
    for name in (fit.ORDERS, fit.START, fit.START_FACTS, fit.TRAIN, fit.VALIDATION):
        (tmp_path / name).write_bytes((made["run"] / name).read_bytes())
    untrained = dataclasses.replace(fakes.TRAINING, steps=0)
    record = fit.make(privzoo.load(fakes.NAME), *fakes.faces(), tmp_path, made["cache"], fakes.PRUNING, untrained)
    assert record["validation"] == record["before_training"] and not record["training_kept"]
    start, finished = (fit.read(tmp_path / name) for name in (fit.START, fit.FINISHED))
    assert all(np.array_equal(start[key], finished[key]) for key in start)


def test_it_is_made_under_jax(tmp_path):
    pytest.importorskip("jax")
    code = """
import pathlib, sys
import slim_fakes as fakes, privzoo
from privzoo.slim import fit
folder = pathlib.Path(sys.argv[1])
(folder / "zoo").mkdir()
with fakes.installed(folder / "zoo"):
    model = privzoo.load(fakes.NAME)
    record = fit.make(model, *fakes.faces(), folder / "run", folder / "cache", fakes.PRUNING, fakes.TRAINING)
print(record["backend"], record["validation"]["error"])
"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    backend, error = done.stdout.splitlines()[-1].split()
    assert backend == "jax" and float(error) < 0.5


def test_what_cannot_be_is_refused(made, tmp_path):
    model, cache = privzoo.load(fakes.NAME), made["cache"]
    with pytest.raises(UnknownNameError, match="no head 'slimmer'; it has full, slim"):
        privzoo.load(fakes.NAME, head="slimmer")
    with pytest.raises(ConfigError, match="is invalid; give a share"):
        Pruning(budget=1.2)
    with pytest.raises(ConfigError, match="not a whole number of epochs"):
        Distillation(steps=5, steps_per_epoch=2)
    with pytest.raises(ConfigError, match="a run of another config"):
        other = dataclasses.replace(fakes.TRAINING, peak_learning_rate=0.1)
        fit.make(model, *fakes.faces(), made["run"], cache, fakes.PRUNING, other)
    with pytest.raises(ConfigError, match="another --run_dir"):
        fit.make(model, *fakes.faces(), made["run"], cache, Pruning(0.5, 32), fakes.TRAINING)
    simple = privzoo.load(fakes.SIMPLE)
    with pytest.raises(ConfigError, match="sends an activation"):
        fit.make(simple, *fakes.faces(), tmp_path, cache, fakes.PRUNING, fakes.TRAINING)
    with pytest.raises(UnknownNameError, match="it has full"):
        privzoo.load(fakes.SIMPLE, head="slim")
    with pytest.raises(WeightsError, match="cannot be read"):
        (tmp_path / "bad.npz").write_bytes(b"PK")
        fit.read(tmp_path / "bad.npz")
    with pytest.raises(UnknownNameError, match="no convolution 'conv9'"):
        architectures.layers("vgg_s", {"conv9": 3})
    with pytest.raises(ConfigError, match="1 or more"):
        dataclasses.replace(model.config.slim, channels={"conv1": 0})

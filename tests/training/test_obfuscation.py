"""The game of obfuscator and deobfuscator: its losses, its course on a few faces, and a run that breaks off."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import tiny_zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_zoo import OBFUSCATED as CHILD
from tiny_zoo import PARENT, tool

from privzoo import config, weights
from privzoo.config import ObfuscationConfig, Stage
from privzoo.errors import ConfigError, DataError, FeatureError
from privzoo.measurement import Measurement

pytestmark = pytest.mark.training


def with_epochs(epochs: int, **changed):
    """The child, with so many epochs, and entries of its obfuscation changed."""
    training = dataclasses.replace(CHILD.training, stages=(Stage(tiny_zoo.SIZE, epochs),))
    return dataclasses.replace(CHILD, training=training, obfuscation=dataclasses.replace(CHILD.obfuscation, **changed))


RESTARTED = {"restart": 2}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        yield folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    from privzoo.data import utkface

    return utkface.load(tiny_zoo.write_faces(tmp_path_factory.mktemp("data")), split="all")


@pytest.fixture(scope="module")
def trained(zoo, faces, tmp_path_factory):
    """A run of three epochs, in the last of which a fresh deobfuscator took over; and the network that had to read."""
    from privzoo.training import obfuscation

    run, frozen, build = tmp_path_factory.mktemp("run"), [], obfuscation.classifier

    def kept(network, side):
        frozen.append(build(network, side))
        return frozen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obfuscation, "classifier", kept)
        obfuscation.train(with_epochs(3, **RESTARTED), faces, faces, run)
    (network,) = frozen
    return run, network


@pytest.fixture(scope="module")
def finished(trained):
    return trained[0]


def test_the_losses_have_known_values():
    from privzoo.training import losses

    images = np.array([[0.0, 0.0], [2.0, 4.0]], np.float32).reshape(2, 1, 1, 2)
    mean = np.broadcast_to(images.mean(0), images.shape)
    assert np.asarray(losses.unexplained(images, images)).tolist() == [0, 0]
    # Around its own mean the batch has variance (1 + 4 + 1 + 4) / 2 over N - 1 = 1, for 2 values each: 5.
    np.testing.assert_allclose(losses.unexplained(images, mean), [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(losses.unexplained(images, images + 5), [5, 5], rtol=1e-6)
    for shares, hidden, rebuilt in (([0.2, 0.4], 0.7, 0.3), ([1.5, 0.9], 0.0, 1.2), ([1.0, 1.0], 0.0, 1.0)):
        share = np.array(shares, np.float32)
        assert float(losses.exposed(None, share)) == pytest.approx(hidden, abs=1e-6)
        assert float(losses.rebuilding(None, share)) == pytest.approx(rebuilt)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(0, 2**32))
def test_the_mean_image_has_an_error_of_one_on_average(count, seed):
    """Exactly so if the batch is all there is, up to N / (N - 1): the estimate of the spread is the sample variance."""
    from privzoo.training import losses

    images = np.random.default_rng(seed).normal(size=(count, 3, 4, 3)).astype(np.float32)
    mean = np.broadcast_to(images.mean(0), images.shape)
    share = np.mean(np.asarray(losses.unexplained(images, mean)))
    assert share == pytest.approx((count - 1) / count, rel=1e-4)


def test_each_turn_moves_its_own_part_only(zoo):
    from privzoo.training import obfuscation

    players = obfuscation.build(CHILD)
    obfuscation.compile_players(players, CHILD, 10)
    images, labels = tiny_zoo.chips(16)[0].astype(np.float32), np.arange(16) % 2
    parts = {"obfuscator": players.obfuscator, "deobfuscator": players.deobfuscator}

    def learnt():
        return {name: [np.array(v) for v in part.trainable_variables] for name, part in parts.items()}

    def moved(before, after):
        return {name for name in parts if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))}

    start = learnt()
    players.rebuild(images)
    middle = learnt()
    assert moved(start, middle) == {"deobfuscator"}
    players.hide(images, labels)
    assert moved(middle, learnt()) == {"obfuscator"}


@pytest.mark.parametrize("perceptual", [{}, {"conv1": 2.0}])
def test_each_player_gets_what_it_wants(zoo, perceptual):
    """A deobfuscator that learns alone lowers L_r; an obfuscator that learns alone then raises it and lowers L_c."""
    from privzoo.training import obfuscation

    child = with_epochs(1, perceptual=perceptual, decoder_rate=0.005)
    child = dataclasses.replace(child, training=dataclasses.replace(child.training, peak_learning_rate=0.01))
    players = obfuscation.build(child)
    obfuscation.compile_players(players, child, 30)
    images, labels = tiny_zoo.chips(32)[0].astype(np.float32), np.arange(32) % 2
    errors = [players.rebuild(images) for _ in range(40)]
    assert errors[-1] < 0.9 < errors[0]
    logs = [players.hide(images, labels) for _ in range(25)]
    assert logs[-1]["reconstruction"] > logs[0]["reconstruction"] + 0.1
    assert logs[-1]["fc8_loss"] < logs[0]["fc8_loss"]


def test_the_classifier_does_not_change_by_a_bit(trained):
    from privzoo.architectures import graph

    read = graph.get_weights(trained[1])

    for key, value in weights.load(config.network(PARENT.name)).items():
        assert np.array_equal(read[key], value), key


def test_a_run_leaves_its_record_and_both_losses(finished, faces):
    record = json.loads((finished / "record.json").read_text())
    assert [row["epoch"] for row in record["epochs"]] == [0, 1, 2]
    assert record["config"]["obfuscation"]["restart"] == 2 and record["data"]["train"] == len(faces)
    both = {"loss", "fc8_loss", "fc8_accuracy", "reconstruction"}
    assert set(record["epochs"][0]) == both | {f"val_{name}" for name in both} | {"epoch", "deobfuscator_loss"}
    assert all(np.isfinite(list(row.values())).all() for row in record["epochs"])
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    with (finished / "log.csv").open() as file:
        assert [float(row["val_reconstruction"]) for row in csv.DictReader(file)] == [
            row["val_reconstruction"] for row in record["epochs"]
        ]


def test_a_fresh_decoder_takes_over_and_its_optimizer_starts_afresh(zoo):
    from privzoo.training import obfuscation

    players = obfuscation.build(CHILD)
    obfuscation.compile_players(players, CHILD, 10)
    images = tiny_zoo.chips(16)[0].astype(np.float32)
    start = [np.array(v) for v in players.decoder_optimizer.variables]
    for _ in range(2):
        players.rebuild(images)
    old = players.deobfuscator.get_weights()
    assert any((a != b).any() for a, b in zip(start, players.decoder_optimizer.variables, strict=True))
    players.replace_decoder(obfuscation.decoder(CHILD, 1))
    assert all(np.array_equal(a, b) for a, b in zip(start, players.decoder_optimizer.variables, strict=True))
    new = players.deobfuscator.get_weights()
    assert any((a != b).any() for a, b in zip(old, new, strict=True))
    first, again = obfuscation.decoder(CHILD).get_weights(), obfuscation.decoder(CHILD, 1).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(new, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(new, first, strict=True))


def test_a_killed_run_resumes_and_ends_as_if_it_had_not_been(zoo, faces, finished, tmp_path, monkeypatch):
    """Both networks and both optimizers; killed in the midst of the last epoch, in which a fresh decoder took over."""
    from privzoo.training import obfuscation, players, release

    child, whole = with_epochs(3, **RESTARTED), players.Players.hide
    steps, batches = [], tiny_zoo.FACES // child.training.batch_size

    def broken(self, images, labels):
        steps.append(1)
        if len(steps) == 2 * batches + 2:
            raise KeyboardInterrupt
        return whole(self, images, labels)

    monkeypatch.setattr(players.Players, "hide", broken)
    with pytest.raises(KeyboardInterrupt):
        obfuscation.train(child, faces, faces, tmp_path)
    monkeypatch.undo()
    obfuscation.train(child, faces, faces, tmp_path)
    assert json.loads((tmp_path / "record.json").read_text())["epochs_of_last_start"] == 1
    unbroken, resumed = (release.trained_weights(child, run) for run in (finished, tmp_path))
    assert any(key.startswith("deobfuscator") for key in unbroken)
    for key, value in unbroken.items():
        np.testing.assert_allclose(resumed[key], value, rtol=1e-3, atol=1e-4, err_msg=key)


def test_a_finished_run_is_left_as_it_is(zoo, faces, finished):
    from privzoo.training import obfuscation

    def kept():
        return {path.name: path.read_bytes().splitlines() for path in finished.iterdir()}

    before = kept()
    obfuscation.train(with_epochs(3, **RESTARTED), faces, faces, finished)
    assert before == kept()


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_tool_trains_on_any_backend_for_several_networks(zoo, tmp_path, backend):
    pytest.importorskip(backend)
    second = dataclasses.replace(config.network(PARENT.name), name="vgg_s_second")
    config.write(second, zoo / "networks" / "vgg_s_second.yaml")
    stages = (Stage(48, 1), Stage(64, 1))[: 1 if backend == "jax" else 2]  # JAX takes long to compile each
    training = dataclasses.replace(CHILD.training, stages=stages)
    found = dataclasses.replace(with_epochs(1, also=("vgg_s_second",)), training=training)
    config.write(found, tmp_path / "child.yaml")
    where = [f"--config={tmp_path / 'child.yaml'}", f"--run_dir={tmp_path / 'run'}"]
    done = tool("train.py", zoo, *where, f"--data_dir={tiny_zoo.write_faces(tmp_path)}", KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["backend"] == backend and len(record["epochs"]) == len(stages)
    assert {"fc8_loss", "fc8_1_loss", "val_fc8_1_accuracy"} <= set(record["epochs"][0])
    # The two read alike here, having the same weights.
    assert record["epochs"][0]["fc8_loss"] == pytest.approx(record["epochs"][0]["fc8_1_loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent": None}, "no parent"),
        ({"task": "emotion"}, "differ in task"),
        ({"obfuscation": None}, "has no obfuscator to be trained"),
        ({"training": dataclasses.replace(CHILD.training, auxiliary={"age": 1.0})}, "leaves its parent as it is"),
        ({"training": dataclasses.replace(CHILD.training, stages=(Stage(24, 1),))}, "24 px is too small"),
        ({"training": dataclasses.replace(CHILD.training, stages=(Stage(48, 1), Stage(50, 1)))}, "multiples of 8 px"),
        ({"obfuscation": ObfuscationConfig(perceptual={"conv9": 1.0})}, "layer 'conv9', which vgg_s_tiny lacks"),
        ({"obfuscation": ObfuscationConfig(also=("vgg_s_tiny",))}, "names one of vgg_s_tiny twice"),
    ],
)
def test_configs_that_cannot_be_trained(zoo, change, message):
    from privzoo.training import obfuscation

    with pytest.raises(ConfigError, match=message):
        obfuscation.build(dataclasses.replace(CHILD, **change))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"task": "emotion"}, "vgg_s_other tells emotion"),
        ({"classes": ("female", "male")}, r"vgg_s_other tells gender \(female, male\)"),
        ({"mixing": tiny_zoo.MIXED.mixing}, "was not trained on plain images"),
        ({"classifier": (8, 8), "input_size": 64}, "takes images of 64 px only"),
        (
            {"input": "speech", "input_size": None, "training": dataclasses.replace(PARENT.training, speech=True)},
            "takes a speech input",
        ),
    ],
)
def test_a_classifier_that_cannot_read_the_image(zoo, other, message, monkeypatch):
    from privzoo.training import obfuscation

    named = dataclasses.replace(PARENT, name="vgg_s_other", **other)
    known = config.network
    monkeypatch.setattr(config, "network", lambda name: named if name == named.name else known(name))
    with pytest.raises(ConfigError, match=message):
        obfuscation.check(with_epochs(1, also=("vgg_s_other",)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"width": 0.0}, "width=0"),
        ({"decoder_rate": -1.0}, "decoder_rate=-1"),
        ({"decoder_steps": 0}, "0 decoder steps"),
        ({"restart": -1}, "restarts after -1 epochs"),
        ({"perceptual": {"conv1": 0.0}}, "weight of conv1"),
    ],
)
def test_invalid_settings_are_refused(entries, message):
    with pytest.raises(ConfigError, match=message):
        config.from_dict(ObfuscationConfig, entries, "it")


def test_a_network_is_fine_tuned_in_one_way():
    with pytest.raises(ConfigError, match="both siamese and obfuscation"):
        dataclasses.replace(tiny_zoo.CHILD, obfuscation=CHILD.obfuscation)


def test_too_few_faces(zoo, faces, tmp_path):
    from privzoo.data import splits
    from privzoo.training import obfuscation

    with pytest.raises(DataError, match="an obfuscator needs 2 or more of each"):
        obfuscation.train(CHILD, splits.take(faces, 1), faces, tmp_path)


def test_the_settings_that_obfuscation_md_shows():
    import yaml
    from pages import blocks

    (shown,) = [block for block in blocks("docs/obfuscation.md") if block.language == "yaml"]
    entries = yaml.safe_load(shown.text)
    found = config.from_dict(ObfuscationConfig, entries["obfuscation"], "it")
    assert {"decoder_rate"} == config.to_dict(found).keys() - entries["obfuscation"].keys()  # all others are explained


def test_a_config_survives_yaml(tmp_path):
    child = with_epochs(1, perceptual={"conv1": 0.5}, also=("vgg_s_second",))
    config.write(child, tmp_path / "child.yaml")
    assert config.read(config.NetworkConfig, tmp_path / "child.yaml") == child


@pytest.fixture(scope="module")
def released(zoo, faces, finished):
    """The finished run as a registered model, whose image has whole numbers."""
    from privzoo.training import release

    settings = with_epochs(3, **RESTARTED)
    config.write(settings, zoo / "planned" / "networks" / f"{settings.name}.yaml")
    release.release(settings, finished, faces, finished / "cache")
    release.release_model(tiny_zoo.model("obfuscated", step=1.0), {}, {})
    tiny_zoo.forget()
    return zoo


NAME = f"{CHILD.name}_image"


def test_a_released_model_is_an_image_and_its_parent(released):
    import privzoo
    from privzoo.architectures import graph
    from privzoo.embeddings import obfuscated

    assert not list((released / "planned").glob("*/*"))
    stored = np.load(released / "weights" / f"{CHILD.name}.npz").files
    assert {name.partition("_")[0] for name in stored} == {"obfuscator", "deobfuscator"}
    model, chips = privzoo.load(NAME), tiny_zoo.chips()[0][:5]
    features = model.features(chips)
    assert features.shape == (5, *CHILD.input_shape) and features.min() >= 0 and features.max() <= 255
    assert np.array_equal(features, np.rint(features))
    answers = model.predict(chips, face="given")
    assert np.array_equal(answers, np.asarray(tiny_zoo.parent_network()(features)))
    for key, value in weights.load(config.network(PARENT.name)).items():
        assert np.array_equal(graph.get_weights(model.tail)[key], value), key
    with pytest.raises(FeatureError, match=r"The chips are uint8 of shape \(5, 40, 40, 3\)"):
        model.features(chips[:, :40, :40])
    network = config.network(CHILD.name)
    rebuilt = np.asarray(obfuscated.deobfuscator(network, weights.load(network))(features))
    assert rebuilt.shape == features.shape and 0 <= rebuilt.min() < rebuilt.max() <= 255


def measurement(metric: str) -> Measurement:
    facts = {"date": "2026-11-27", "git": "abc", "command": "tools/audit.py", "sha256": "0" * 64}
    return Measurement(metric, "float head, feature", "lfw100-test", 0.42, 0.40, 0.44, 500, (1,), **facts)


def test_a_card_says_what_is_unproved_and_what_it_costs(released):
    import privzoo

    card, model = privzoo.show(NAME), privzoo.load(NAME)
    assert "Rely on no figure but that of decoders that were trained afresh" in str(card)
    assert "by a network of 0.25 times the published width, for vgg_s_tiny" in str(card)
    assert "48x48x3 float32 image, 27,648 bytes, rounded to whole numbers" in str(card)
    lines = str(card).splitlines()
    assert lines[2].startswith("**Not proved, only attacked:** no decoder has been trained afresh on its images yet")
    measured = dataclasses.replace(card, measurements=(measurement("reconstruction attack, recognised"),))
    assert "a face recogniser names 42.0% (40.0 to 44.0) of the faces" in str(measured).splitlines()[2]
    assert card.to_dict()["obfuscation"]["width"] == 0.25 and card.epsilon() is None
    assert card.cost.head_parameters == model.head.count_params()
    assert card.cost.tail_parameters == model.tail.count_params()
    assert card.cost.feature_shape == model.head.output_shape[1:]


def test_models_and_networks_that_do_not_belong_together(released):
    from privzoo import costs

    parent, network = config.network(PARENT.name), config.network(CHILD.name)
    for model, of, message in (
        (tiny_zoo.model("obfuscated"), parent, "vgg_s_tiny has no obfuscator"),
        (tiny_zoo.model("simple"), network, "vgg_s_tiny_obfuscated has an obfuscator"),
    ):
        with pytest.raises(ConfigError, match=message):
            costs.cost(model, of)
    from privzoo.embeddings import obfuscated

    with pytest.raises(ConfigError, match="its cut must be image"):
        obfuscated.attach(None, None, {}, dataclasses.replace(tiny_zoo.model("obfuscated"), cut="conv5"))


def test_the_device_and_the_cloud_give_the_same_answers(released, tmp_path, monkeypatch, capsys):
    """int8 head, SavedModel tail, server and client, as the demo starts them."""
    from PIL import Image

    from privzoo import cli
    from privzoo.export import tflite

    # After twelve steps an obfuscator is still random, and enlarges rounding errors more than a trained one.
    monkeypatch.setitem(tflite.LEAST_AGREEMENT, "int8", 0.8)
    monkeypatch.setenv("PRIVZOO_HOME", str(tmp_path / "home"))
    Image.fromarray(tiny_zoo.chips()[0][0]).save(path := tmp_path / "0.png")
    assert cli.main(["predict", NAME, str(path), "--face", "given", "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["answers"]
    assert cli.main(["demo", "--model", NAME, "--image", str(path), "--face", "given", "--json"]) == 0
    demo = json.loads(capsys.readouterr().out)
    assert demo["answers"][0]["probabilities"] == pytest.approx(alone["probabilities"], abs=0.05)
    out = tmp_path / "exported"
    assert cli.main(["export", NAME, "--out", str(out), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (out / f"{NAME}_int8.tflite").exists() and written["tail"].endswith(f"{NAME}/1")
    assert cli.main(["list", NAME]) == 0 and cli.main(["show", NAME]) == 0


def test_the_audit_and_the_evaluation_see_its_image(released, tmp_path, monkeypatch):
    import sys

    import privzoo
    from privzoo.audit import features

    monkeypatch.syspath_prepend(str(tiny_zoo.ROOT / "tools"))
    sys.modules.pop("evaluating", None)
    from evaluating import accuracy

    model, chips = privzoo.load(NAME), tiny_zoo.chips()[0]
    faces = features.Faces("tiny", chips, {}, tuple(map(str, range(len(chips)))))
    found = features.float_view(model, tmp_path).extract(faces).read()
    assert np.array_equal(found, model.features(chips))
    whole, models = accuracy.float_answers([model], chips, tmp_path, progress=False)
    ((_, answers),) = models
    assert np.array_equal(answers["float head + tail"][0], model.predict(chips, face="given").argmax(1))
    assert np.mean(whole[0] == answers["float head + tail"][0]) > 0.9  # rounding apart

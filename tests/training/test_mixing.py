"""Mixing-aware training: its groups, its start from the parent, and a run that breaks off and resumes."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest
import tiny_zoo
from tiny_zoo import MIXED as CHILD
from tiny_zoo import PARENT, tool

from privzoo import config, weights
from privzoo.config import MixingConfig, Stage
from privzoo.errors import ConfigError, DataError

pytestmark = pytest.mark.training


def with_epochs(epochs: int, **changed):
    training = dataclasses.replace(CHILD.training, stages=(Stage(tiny_zoo.SIZE, epochs),))
    return dataclasses.replace(CHILD, training=training, **changed)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        yield folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    from privzoo.data import utkface

    return utkface.load(tiny_zoo.write_faces(tmp_path_factory.mktemp("data")), split="all")


@pytest.fixture(scope="module")
def finished(zoo, faces, tmp_path_factory):
    from privzoo.training import mixing

    run = tmp_path_factory.mktemp("run")
    mixing.train(with_epochs(3), faces, faces, run)
    return run


def test_groups_are_mixed_apart_from_each_other():
    from privzoo.training import mixing

    mixed, unmixed = mixing.blocks(CHILD.mixing, 12, random.Random(1))
    np.testing.assert_allclose(mixed @ unmixed, np.eye(12), atol=1e-5)
    inside = np.kron(np.eye(3), np.ones((4, 4))) > 0
    assert (mixed[inside] != 0).all() and not mixed[~inside].any()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_eased_coefficients_are_orthogonal_and_begin_with_single_faces(share):
    from privzoo.mechanisms.mixing import draw
    from privzoo.training import mixing

    drawn = mixing.eased(draw(8, rng=random.Random(1)), share, random.Random(2))
    np.testing.assert_allclose(drawn @ drawn.T, np.eye(8), atol=1e-6)
    largest = np.abs(drawn).max(1)
    assert (largest > 0.999).all() if share == 0 else (largest < 0.999).all()
    assert (drawn < -0.1).any() and (drawn > 0.1).any()


def test_batches_hold_whole_groups_and_repeat(zoo):
    from privzoo.training import mixing

    chips, classes = tiny_zoo.chips()
    settings = (CHILD.training.augmentation, 1, 2, CHILD.mixing, 3)
    first, again = (mixing.MixedBatches(chips, {"fc8": classes}, 18, tiny_zoo.SIZE, *settings) for _ in range(2))
    assert len(first) == len(chips) // 16
    (inputs, labels), (same, _) = first[1], again[1]
    assert len(inputs["image"]) == len(labels["fc8"]) == 16
    assert all(np.array_equal(inputs[name], same[name]) for name in inputs)
    assert not np.array_equal(inputs["coefficients"], first[0][0]["coefficients"])
    first.on_epoch_end()
    assert not np.array_equal(inputs["coefficients"], first[1][0]["coefficients"])
    plain = mixing.PlainMixedBatches(chips[:30], tiny_zoo.SIZE, 18, {"fc8": classes[:30]}, CHILD.mixing, 1)
    assert [len(plain[i][1]["fc8"]) for i in range(len(plain))] == [16, 12]
    assert sorted(plain.order) != list(plain.order) and len(set(plain.order)) == 28


@pytest.mark.parametrize(("count", "size"), [(36, 12), (37, 12), (20, 4), (32, 16), (4, 4), (2, 4)])
def test_validation_batches_are_of_one_size(count, size):
    from privzoo.training import mixing

    assert mixing.even_groups(18, count, CHILD.mixing) == size
    assert size == CHILD.mixing.group or count // CHILD.mixing.group * CHILD.mixing.group % size == 0


def test_training_validates_on_faces_that_fill_no_last_batch(zoo, faces, tmp_path):
    """Nine groups, in batches of four: Keras would refuse the last batch, whose coefficients are of another size."""
    from privzoo.data import splits
    from privzoo.training import mixing

    network = mixing.train(with_epochs(1), faces, splits.take(faces, 37), tmp_path)
    assert network.output_names and (tmp_path / "log.csv").read_text().count("\n") == 2


def test_training_starts_as_the_parent(zoo):
    """With coefficients that mix nothing, the network gives the parent's logits: batch norm is there, and changes
    nothing."""
    from privzoo.architectures import graph
    from privzoo.training import mixing

    chips = tiny_zoo.chips()[0]
    network = mixing.build(CHILD)
    mixing.start(network, CHILD, chips)
    parent = tiny_zoo.parent_network()
    before, _, after = graph.split3(parent, 1)
    assert [layer.name for layer in graph.layers(before)][-1] == "pool1"
    images, alone = chips[:8].astype(np.float32), np.eye(8, dtype=np.float32)
    found = network({"image": images, "coefficients": alone, "inverse": alone}, training=False)["fc8"]
    logits = np.log(np.asarray(parent(images)))
    found = np.asarray(found)
    np.testing.assert_allclose(found - found.mean(1, keepdims=True), logits - logits.mean(1, keepdims=True), atol=2e-3)
    own, folded = weights.load(config.network(PARENT.name)), graph.fold_batch_norm(graph.get_weights(network))
    for key, value in own.items():
        np.testing.assert_allclose(folded[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


def test_the_network_in_training_is_the_three_parts_around_mixtures(zoo, finished):
    from privzoo.architectures import graph
    from privzoo.training import mixing, primary, release
    from privzoo.training.checkpoint import Checkpoint
    from privzoo.training.record import fingerprint

    settings = with_epochs(3)
    trained = mixing.build(settings)
    primary.compile_network(trained, settings, 1)
    Checkpoint(finished, fingerprint(settings)).resume(trained)
    chips, network = tiny_zoo.chips()[0], graph.inference_network(settings, release.trained_weights(settings, finished))
    batches = mixing.PlainMixedBatches(chips, tiny_zoo.SIZE, 64, None, settings.mixing, 5)
    logits = np.asarray(trained(batches[0], training=False)["fc8"])
    probabilities, order = mixing.answers(network, settings.mixing, chips, tiny_zoo.SIZE, 5)
    assert np.array_equal(order, batches.order)
    expected = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(1, keepdims=True), atol=2e-3)


def test_a_run_leaves_its_record(finished, faces):
    from privzoo.training import release

    record = json.loads((finished / "record.json").read_text())
    assert [row["epoch"] for row in record["epochs"]] == [0, 1, 2]
    assert record["config"]["mixing"] == config.to_dict(CHILD.mixing)
    assert record["data"]["train"] == len(faces)
    assert all(np.isfinite(list(row.values())).all() for row in record["epochs"])
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    before, after = weights.load(config.network(PARENT.name)), release.trained_weights(with_epochs(3), finished)
    assert before.keys() == after.keys()
    layers = {key.partition("/")[0] for key in weights.differing(after, before)}
    assert layers == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc8"}  # all three parts, as in the paper


def test_a_broken_run_resumes_and_ends_as_if_it_had_not_been(zoo, faces, finished, tmp_path, monkeypatch):
    from privzoo.training import checkpoint, mixing, release

    whole = checkpoint.Checkpoint.on_epoch_end

    def broken(self, epoch, logs=None):
        whole(self, epoch, logs)
        if epoch == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "on_epoch_end", broken)
    with pytest.raises(KeyboardInterrupt):
        mixing.train(with_epochs(3), faces, faces, tmp_path)
    monkeypatch.undo()
    mixing.train(with_epochs(3), faces, faces, tmp_path)
    assert json.loads((tmp_path / "record.json").read_text())["epochs_of_last_start"] == 2
    unbroken, resumed = (release.trained_weights(with_epochs(3), run) for run in (finished, tmp_path))
    for key, value in unbroken.items():
        np.testing.assert_allclose(resumed[key], value, rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_tool_trains_at_two_sizes_with_auxiliary_labels_on_any_backend(zoo, tmp_path, backend):
    pytest.importorskip(backend)
    stages = (Stage(48, 1), Stage(64, 1))[: 1 if backend == "jax" else 2]  # JAX takes long to compile each
    training = dataclasses.replace(CHILD.training, stages=stages, auxiliary={"age": 1.0, "race": 0.1})
    settings = dataclasses.replace(CHILD.mixing, easing=0.5)
    config.write(dataclasses.replace(CHILD, training=training, mixing=settings), tmp_path / "child.yaml")
    where = [f"--config={tmp_path / 'child.yaml'}", f"--run_dir={tmp_path / 'run'}"]
    done = tool("train.py", zoo, *where, f"--data_dir={tiny_zoo.write_faces(tmp_path)}", KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["backend"] == backend and len(record["epochs"]) == len(stages)
    assert all(np.isfinite(list(row.values())).all() for row in record["epochs"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent": None}, "no parent"),
        ({"task": "emotion"}, "differ in task"),
        ({"mixing": MixingConfig(blocks=5)}, "give 1 to 4"),
        ({"mixing": None}, "is not trained on mixtures"),
        ({"training": dataclasses.replace(CHILD.training, start="faces.npz")}, "starts from its parent"),
    ],
)
def test_configs_that_cannot_be_trained(zoo, change, message):
    from privzoo.training import mixing

    with pytest.raises(ConfigError, match=message):
        mixing.build(dataclasses.replace(CHILD, **change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, "0 blocks and groups of 8"),
        ({"blocks": 1, "group": 1}, "groups of 1"),
        ({"blocks": 1, "coefficients": "uniform"}, "choose one of 'orthogonal'"),
        ({"blocks": 1, "easing": 2.0}, "easing=2.0"),
        ({"blocks": 1, "easing": 0.5, "coefficients": "gaussian"}, "unless they are orthogonal"),
    ],
)
def test_invalid_mixing_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        config.from_dict(MixingConfig, settings, "it")


def test_a_network_is_fine_tuned_in_one_way():
    with pytest.raises(ConfigError, match="both siamese and mixing"):
        dataclasses.replace(tiny_zoo.CHILD, mixing=MixingConfig(blocks=1))


def test_too_few_faces_for_a_group(zoo, faces, tmp_path):
    from privzoo.data import splits
    from privzoo.training import mixing

    with pytest.raises(DataError, match="a group of 4 needs as many"):
        mixing.train(CHILD, splits.take(faces, 3), faces, tmp_path)


def test_a_config_with_mixing_survives_yaml(tmp_path):
    config.write(CHILD, tmp_path / "child.yaml")
    assert config.read(config.NetworkConfig, tmp_path / "child.yaml") == CHILD


@pytest.fixture(scope="module")
def released(zoo, faces, finished):
    """The finished run as a registered model."""
    from privzoo.training import release

    settings = with_epochs(3)
    config.write(settings, zoo / "planned" / "networks" / f"{settings.name}.yaml")
    release.release(settings, finished, faces, finished / "cache")
    release.release_model(tiny_zoo.model("datamix"), {}, {})
    tiny_zoo.forget()
    return zoo


def test_a_release_says_how_well_it_answers_by_way_of_mixtures(released):
    from privzoo.architectures import graph
    from privzoo.training import mixing

    record = json.loads((released / "weights" / f"{CHILD.name}.json").read_text())["release"]
    assert record["validation_faces"] == tiny_zoo.FACES
    settings = config.network(CHILD.name)
    network = graph.inference_network(settings, weights.load(settings))
    chips, classes = tiny_zoo.chips()
    assert (released / "networks" / f"{CHILD.name}.yaml").exists()
    assert not list((released / "planned").glob("*/*"))
    assert len(mixing.answers(network, settings.mixing, chips[:30], tiny_zoo.SIZE)[0]) == 28


def test_a_released_model_loads_and_answers(released, tmp_path):
    import privzoo
    from privzoo.errors import FeatureError

    model = privzoo.load(CHILD.name)
    assert repr(model.mixing) == "Mixing(group=4, coefficients='orthogonal', output='class')"
    chips = tiny_zoo.chips()[0][:5]
    answers = model.predict(chips, face="given")
    assert answers.shape == (5, 2) and np.allclose(answers.sum(1), 1, atol=1e-5)
    assert model.features(chips).shape == (8, *model.card.cost.feature_shape)
    assert not np.array_equal(model.features(chips), model.features(chips))
    assert [one.label in model.classes for one in model.explain(list(chips), face="given")] == [True] * 5
    with pytest.raises(ConfigError, match="can be read with their key alone"):
        model.classify(model.features(chips))
    with pytest.raises(ConfigError, match="needs permanent answers"):
        model.predict(chips, face="given", slot="Anna")
    with pytest.raises(FeatureError, match="The chips are"):
        model.answers(chips[:3, :20, :20])
    same = [model.answers(chips[:4], random.Random(3)) for _ in range(2)]
    assert np.array_equal(*same)
    pre, main, post = model.head, model.tail, model.mixing
    alone = post.answers(np.asarray(main(pre(chips[:4].astype(np.float32)))))
    np.testing.assert_allclose(alone, np.asarray(model.network(chips[:4].astype(np.float32))), atol=1e-5)


def test_a_card_says_what_is_broken_and_what_it_costs(released):
    import privzoo

    card = privzoo.show(CHILD.name)
    assert "Never rely on it: mixing is no encryption" in str(card) and "in groups of 4" in str(card)
    assert card.to_dict()["mixing"]["group"] == 4 and card.epsilon() is None
    cost, model = card.cost, privzoo.load(CHILD.name)
    assert cost.feature_shape == model.head.output_shape[1:]
    assert cost.head_parameters == model.head.count_params() + 512 * 2 + 2
    assert cost.tail_parameters == model.tail.count_params()


def test_covers_come_from_a_folder_once(released, tmp_path):
    from PIL import Image

    import privzoo

    for index, chip in enumerate(tiny_zoo.chips()[0][10:15]):
        Image.fromarray(chip).save(tmp_path / f"{index}.png")
    with pytest.raises(ConfigError, match="shows a face"):
        privzoo.load(CHILD.name, covers=tmp_path)
    simple = tiny_zoo.model("simple")
    config.write(simple, released / "models" / f"{simple.name}.yaml")
    tiny_zoo.forget()
    with pytest.raises(ConfigError, match="mixes no faces"):
        privzoo.load(simple.name, covers=tmp_path)


def test_the_command_line_and_the_demo_treat_it_as_the_rest(released, tmp_path, monkeypatch, capsys):
    from PIL import Image

    from privzoo import cli

    monkeypatch.setenv("PRIVZOO_HOME", str(tmp_path / "home"))
    paths = []
    for index, chip in enumerate(tiny_zoo.chips()[0][:2]):
        Image.fromarray(chip).save(path := tmp_path / f"{index}.png")
        paths.append(str(path))
    assert cli.main(["predict", CHILD.name, *paths, "--face", "given"]) == 0
    assert "mixtures of 4 faces under a fresh key" in capsys.readouterr().out
    assert cli.main(["demo", "--model", CHILD.name, "--image", *paths, "--face", "given"]) == 0
    assert "mixtures of 4 features" in capsys.readouterr().out
    out = tmp_path / "exported"
    assert cli.main(["export", CHILD.name, "--out", str(out), "--quantization", "float32", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (out / f"{CHILD.name}_float32.tflite").exists() and written["tail"].endswith(f"{CHILD.name}/1")
    assert cli.main(["list", CHILD.name]) == 0

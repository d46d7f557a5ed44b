"""Planned networks and models: what waits for its weights already fits together."""

from __future__ import annotations

import json

import pytest

from privzoo import architectures, cli, config, costs, embeddings
from privzoo.architectures import obfuscator
from privzoo.config import ModelConfig, NetworkConfig

pytestmark = pytest.mark.training

PLANNED = config.config_folder() / "planned"
NETWORKS = {path.stem: path for path in (PLANNED / "networks").glob("*.yaml")}
MODELS = {path.stem: path for path in (PLANNED / "models").glob("*.yaml")}
DIMENSIONS = {"conv5_1": 8, "conv5_2": 6, "conv5_3": 4, "conv5": 10}  # Osia et al. 2017, sections VI.A and VI.B
DIMENSIONS |= {
    "block1": 64,
    "block2": 64,
    "block3": 48,
    "block4": 40,
}  # one for each of 40 keywords, more at earlier cuts


def network(name: str) -> NetworkConfig:
    return config.read(NetworkConfig, NETWORKS.get(name) or config.networks()[name])


def test_nothing_is_both_planned_and_released():
    assert not NETWORKS.keys() & config.networks().keys()
    assert not MODELS.keys() & config.models().keys()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_planned_network_can_start(name):
    planned = network(name)
    assert planned.name == name and planned.weights is None
    if planned.siamese:
        parent = network(planned.parent)
        for field in ("architecture", "task", "classes", "input", "input_size", "classifier", "lrn"):
            assert getattr(parent, field) == getattr(planned, field)
        assert name.removesuffix("_long") == f"{parent.name}_siamese_{planned.siamese.cut}"
        layers = [layer.name for layer in architectures.layers(planned.architecture)]
        assert layers.index(planned.siamese.trained_from) <= layers.index(planned.siamese.cut)
    elif planned.parent and not planned.mixing:  # transfer: another task on the parent's layers
        parent = network(planned.parent)
        for field in ("architecture", "input", "classifier", "lrn"):
            assert getattr(parent, field) == getattr(planned, field)
        assert not planned.training.start and not planned.training.auxiliary
    if planned.output == "attributes":
        assert planned.task == "attributes" and len(planned.classes) == 40


@pytest.mark.parametrize("name", [name for name in sorted(NETWORKS) if network(name).mixing])
def test_a_planned_network_for_mixtures_can_start(name, monkeypatch):
    from privzoo.training import mixing

    known = config.networks() | NETWORKS  # its parent may be planned too
    monkeypatch.setattr(config, "networks", lambda: known)
    planned = network(name)
    settings, parent = mixing.check(planned)
    group = "" if settings.group == 8 else f"_group{settings.group}"
    assert name == f"{parent.name}_datamix_block{settings.blocks}{group}"
    assert architectures.block_cut(planned.architecture, settings.blocks)


@pytest.mark.parametrize("name", [name for name in sorted(NETWORKS) if network(name).obfuscation])
def test_a_planned_network_behind_an_obfuscator_can_start(name):
    from privzoo.training import obfuscation

    planned = network(name)
    settings, (parent, *others) = obfuscation.check(planned)
    assert name == f"{parent.name}_obfuscated" + ("_ensemble" if others else "")
    assert [stage.input_size for stage in planned.training.stages] == [parent.input_size] == [planned.input_size]
    published = architectures.costs("vgg16", planned.input_size, 2)
    own = obfuscator.costs(planned.input_shape, settings.width)
    assert sum(x.multiply_adds for x in own) < 0.05 * sum(x.multiply_adds for x in published)


def test_the_command_line_lists_planned_networks_and_models(capsys):
    assert cli.main(["list", "--planned", "--json"]) == 0
    listed = {(one["kind"], one["name"]): one for one in json.loads(capsys.readouterr().out)}
    assert {name for kind, name in listed if kind == "network"} == NETWORKS.keys()
    assert {name for kind, name in listed if kind == "model"} >= MODELS.keys()
    assert all(
        one["cut"] is None and "training" in one["missing"] for (kind, _), one in listed.items() if kind[0] == "n"
    )
    assert cli.main(["list", "vgg16_attributes", "--planned"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == [
        "network",
        "vgg16_attributes",
        "vgg16_attributes",
        "-",
    ]


def test_planned_models_have_their_networks():
    """All in one: there may be none."""
    for name, file in MODELS.items():
        planned = config.read(ModelConfig, file)
        assert planned.name == name and planned.weights is None
        assert f"_{planned.embedding}_{planned.cut}" in name
        of = network(planned.network)
        if planned.embedding == "datamix":
            assert of.name == name and planned.cut == f"block{of.mixing.blocks}"
            assert 0 < costs.cost(planned, of).head_share < 0.3
            continue
        if planned.embedding == "obfuscated":
            assert name.removesuffix("_ensemble") == f"{of.parent}_obfuscated_image" and planned.step == 1
            cost = costs.cost(planned, of)
            assert cost.feature_shape == of.input_shape and 0 < cost.head_share < 0.2
            continue
        assert name.endswith(f"_{planned.embedding}_{planned.cut}")
        siamese = ("siamese", "reduced_siamese", "advanced")  # a code may stand on either kind of network
        assert planned.code or ("siamese" in of.name) == (planned.embedding in siamese)
        assert planned.dimensions == (None if planned.embedding in ("simple", "siamese") else DIMENSIONS[planned.cut])
        assert (planned.noise is not None) == (embeddings.EMBEDDINGS[planned.embedding] == "noisy")
        cost = costs.cost(planned, of)
        assert 0 < cost.head_share < 1 or planned.code  # whose tail has no work before it is fitted
        if planned.code:
            assert cost.feature_shape == (2,) and cost.feature_bytes == 1
        elif planned.dimensions:
            assert cost.feature_shape == (planned.dimensions,) and cost.feature_bytes == 4 * planned.dimensions

"""Config dataclasses: round trip, and one clear sentence for each kind of mistake."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import privzoo
from privzoo import cli, config
from privzoo.config import ModelConfig, NetworkConfig, Stage, TrainingConfig, WeightsFile
from privzoo.errors import ConfigError, RenamedWarning, UnknownNameError
from privzoo.training import record

text = st.text("abcdefgh_ :#'\"\n", min_size=1, max_size=20)
trainings = st.builds(
    TrainingConfig,
    dataset=text,
    stages=st.lists(st.builds(Stage, st.integers(48, 256), st.integers(1, 9)), min_size=1, max_size=3).map(tuple),
    start=st.none() | text,
    auxiliary=st.dictionaries(st.sampled_from(["age", "race"]), st.floats(0, 9)),
    peak_learning_rate=st.floats(1e-6, 1),
)
networks = st.builds(
    NetworkConfig,
    name=text,
    architecture=st.sampled_from(["vgg16", "vgg_s"]),
    task=text,
    classes=st.lists(text, min_size=2, max_size=7, unique=True).map(tuple),
    input_size=st.integers(48, 256),
    training=trainings,
    description=text,
    licence=text,
    classifier=st.lists(st.integers(1, 4096), max_size=2).map(tuple),
    weights=st.none() | st.builds(WeightsFile, text, text, st.integers(1, 10**8)),
)


@given(networks)
def test_a_config_survives_yaml(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("config") / "network.yaml"
    config.write(network, path)
    assert config.read(NetworkConfig, path) == network


@given(networks)
def test_the_fingerprint_changes_with_what_decides_a_run_only(network):
    described = dataclasses.replace(network, description="other", weights=None)
    assert record.fingerprint(described) == record.fingerprint(network)
    reseeded = dataclasses.replace(network.training, seed=network.training.seed + 1)
    assert record.fingerprint(dataclasses.replace(network, training=reseeded)) != record.fingerprint(network)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutt": "conv5_1"}, "unknown entry 'cutt'"),
        ({"cut": 5}, "cut is 5, which is not of type str"),
        ({"version": True}, "version is True, which is not of type int"),
    ],
)
def test_a_wrong_entry_is_named(change, message):
    right = {"name": "n", "network": "w", "cut": "conv5_1", "embedding": "simple"}
    with pytest.raises(ConfigError, match=message):
        config.from_dict(ModelConfig, right | change, "file.yaml")


def test_missing_entries_and_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="lacks the entry 'network'"):
        config.from_dict(ModelConfig, {"name": "n"}, "file.yaml")
    with pytest.raises(ConfigError, match="must be a mapping"):
        config.from_dict(ModelConfig, ["n"], "file.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.read(ModelConfig, tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1,")
    with pytest.raises(ConfigError, match="not valid YAML"):
        config.read(ModelConfig, tmp_path / "bad.yaml")


def test_an_unknown_model_gets_the_closest_names():
    with pytest.raises(UnknownNameError, match=r"vgg16_gender_simple_conv5_3.*list_models") as caught:
        config.model("vgg16_gender_simpel_conv5_3")
    assert isinstance(caught.value, ValueError)


def test_a_former_name_loads_todays_model_with_a_warning(tmp_path, monkeypatch, capsys):
    """Programs on devices outlive the names of models: the old one works on, and says what to write instead."""
    folder = tmp_path / "zoo_configs"
    shutil.copytree(config.config_folder(), folder, ignore=shutil.ignore_patterns("*.npz"))
    (folder / "renamed.yaml").write_text("networks: {}\nmodels: {gender_small: vgg16_gender_simple_conv5_3}\n")
    monkeypatch.setattr(config, "config_folder", lambda: folder)
    for function in (config.networks, config.models, config.renamed):
        function.cache_clear()
    try:
        with pytest.warns(RenamedWarning, match="gender_small is called vgg16_gender_simple_conv5_3 now"):
            card = privzoo.show("gender_small")
        assert card.model.name == "vgg16_gender_simple_conv5_3"
        assert card.measurements == privzoo.show("vgg16_gender_simple_conv5_3").measurements != ()
        assert cli.main(["show", "gender_small", "--json"]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out)["name"] == "vgg16_gender_simple_conv5_3"
        assert told.err.startswith("privzoo: The model gender_small is called") and told.err.count("\n") == 1
        (folder / "renamed.yaml").write_text("networks: {}\nmodels: {gender_small: none}\n")
        config.renamed.cache_clear()
        with pytest.raises(ConfigError, match="gender_small is listed as renamed to none"):
            privzoo.show("gender_small")
    finally:
        monkeypatch.undo()
        for function in (config.networks, config.models, config.renamed):
            function.cache_clear()

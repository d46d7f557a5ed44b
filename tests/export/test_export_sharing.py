"""Weights files that leave their kernels in the released heads, and are whole again while heads are written."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from helpers import tiny_zoo

from privzoo import config, weights
from privzoo.errors import WeightsError
from privzoo.export import sharing
from privzoo.provenance import write_json

LAYERS = ("conv0", "conv1", "conv2")


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A parent and its child, which has a last layer of its own: their folder and their values."""
    rng = np.random.default_rng(0)
    for name in ("networks", "weights", "tflite"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(config, "config_folder", lambda: tmp_path)
    monkeypatch.setattr(config, "heads_folder", lambda: tmp_path / "tflite")
    monkeypatch.setenv("PRIVZOO_HOME", str(tmp_path / "cache"))
    for name, layers, parent in (("parent", LAYERS, None), ("child", LAYERS[-1:], "parent")):
        values = {f"{layer}/kernel": rng.normal(size=(3, 3, 8, 16)).astype(np.float32) for layer in layers}
        entry = weights.save(values, tmp_path / "weights" / f"{name}.npz")
        write_json(tmp_path / "weights" / f"{name}.json", {"release": {"bytes": entry.bytes, "sha256": entry.sha256}})
        network = dataclasses.replace(tiny_zoo.PARENT, name=name, parent=parent, weights=entry)
        config.write(network, tmp_path / "networks" / f"{name}.yaml")
    tiny_zoo.forget()
    yield tmp_path, {name: weights.load(config.network(name)) for name in ("parent", "child")}
    tiny_zoo.forget()


def write_head(zoo, name: str, *kernels: tuple[str, str]):
    """A head with kernels of networks, as LiteRT stores them."""
    path = zoo[0] / "tflite" / f"{name}_int8.tflite"
    codes = [weights.encode({"k/kernel": zoo[1][network][f"{layer}/kernel"]})["k/kernel"] for network, layer in kernels]
    path.write_bytes(b"flatbuffer".join([b"", *(np.moveaxis(one, -1, 0).tobytes() for one in codes), b""]))
    return path


def check(zoo) -> dict[str, str | None]:
    """Network -> the head that holds some of its kernels, after a look at files, records and values."""
    found = {}
    for name, wanted in zoo[1].items():
        entry, values = config.network(name).weights, weights.load(config.network(name))
        assert all(np.array_equal(values[key], wanted[key]) for key in wanted) and values.keys() == wanted.keys()
        assert (zoo[0] / "weights" / entry.file).stat().st_size == entry.bytes
        record = json.loads((zoo[0] / "weights" / f"{name}.json").read_text())["release"]
        assert record == {"bytes": entry.bytes, "sha256": entry.sha256}
        found[name] = entry.kernels_in.file if entry.kernels_in else None
    return found


def test_each_network_uses_the_head_that_holds_most_of_it(zoo):
    small = write_head(zoo, "small", ("parent", "conv0"))
    large = write_head(zoo, "large", ("parent", "conv0"), ("parent", "conv1"), ("child", "conv2"))
    saved = sharing.share([small, large])
    assert saved.keys() == {"parent", "child"} and min(saved.values()) > 500
    assert check(zoo) == {"parent": large.name, "child": large.name}
    assert sharing.share([small, large]) == {}  # as it was


def test_a_head_that_holds_nothing_changes_nothing(zoo):
    before = {path.name: path.read_bytes() for path in (zoo[0] / "weights").iterdir()}
    assert sharing.share([write_head(zoo, "other")]) == {} == sharing.share([])
    assert {path.name: path.read_bytes() for path in (zoo[0] / "weights").iterdir()} == before


def test_heads_are_replaced_while_the_files_are_whole(zoo):
    head = write_head(zoo, "head", ("parent", "conv0"), ("child", "conv2"))
    sharing.share([head])
    sharing.unshare()
    assert check(zoo) == {"parent": None, "child": None}
    head.write_bytes(b"another")
    assert sharing.share([head]) == {}
    assert check(zoo) == {"parent": None, "child": None}


def test_a_head_that_was_replaced_all_the_same_is_named(zoo):
    head = write_head(zoo, "head", ("parent", "conv0"))
    sharing.share([head])
    head.write_bytes(b"another")
    for action in (sharing.unshare, lambda: sharing.share([head]), lambda: weights.load(config.network("child"))):
        with pytest.raises(WeightsError, match="head_int8.tflite is damaged"):
            action()

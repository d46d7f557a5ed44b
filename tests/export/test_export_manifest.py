"""The manifest and the canonical hash of weights."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from export_fakes import manifest_of, pair

from privzoo.errors import ConfigError
from privzoo.export.manifests import append_manifest, model_sha256, weights_sha256


def test_hash_is_canonical():
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    known = weights_sha256({"a": a, "b": b})
    assert weights_sha256({"b": b, "a": a}) == known
    assert weights_sha256({"a": a.astype(np.float64), "b": b.astype(np.float16)}) == known
    assert weights_sha256({"a": np.asfortranarray(a), "b": b}) == known
    assert weights_sha256({"a": a.astype(">f4"), "b": b}) == known
    for other in ({"a": a.reshape(3, 2), "b": b}, {"a": a, "c": b}, {"a": a, "b": b + 1e-6}, {"a": a}):
        assert weights_sha256(other) != known


def test_hash_of_a_model_is_of_its_weights_alone():
    import keras

    head, tail, _ = pair()
    assert model_sha256(head) != model_sha256(tail)
    before = model_sha256(tail)
    tail(np.ones((2, 12, 12, 16), np.float32), training=True)  # moves the dropout's seed state
    assert model_sha256(tail) == before
    again = keras.models.clone_model(tail)
    again.set_weights(tail.get_weights())
    assert model_sha256(again) == before


def test_halves_that_do_not_fit_are_refused():
    head, tail, network = pair()
    with pytest.raises(ConfigError, match="pair cut at the same layer"):
        manifest_of(head, network)
    with pytest.raises(ConfigError, match="3 classes"):
        manifest_of(head, tail, classes=("a", "b", "c"))


def test_append_leaves_the_flatbuffer_in_front():
    head, tail, _ = pair()
    content = append_manifest(b"0000TFL3rest", manifest_of(head, tail))
    assert content.startswith(b"0000TFL3rest") and content == append_manifest(b"0000TFL3rest", manifest_of(head, tail))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert json.loads(archive.read("privzoo.json"))["head"]["bytes"] == 12


def test_manifest_of_a_registered_model():
    """`build` takes all it says from the model's card."""
    from types import SimpleNamespace

    from privzoo.export.manifests import build

    head, tail, _ = pair()
    card = SimpleNamespace(
        model=SimpleNamespace(
            name="m", version=2, network="n", cut="conv2_1", embedding="simple", noise=None, step=None
        ),
        network=SimpleNamespace(task="gender", classes=("male", "female"), input_size=24, licence="l", output="class"),
        cost=SimpleNamespace(head_multiply_adds=5, tail_multiply_adds=1),
        head="full",
    )
    built = build(card, head, tail)
    assert built == manifest_of(
        head, tail, model="m", version=2, network="n", multiply_adds=(5, 1), licence="l", input_size=24
    )


def test_the_output_is_named_where_it_is_attributes():
    head, tail, _ = pair()
    assert "output" not in manifest_of(head, tail)  # as earlier versions wrote it
    assert manifest_of(head, tail, output="attributes")["output"] == "attributes"

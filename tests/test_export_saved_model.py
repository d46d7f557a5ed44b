"""Tails as SavedModels in TF Serving's layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
from export_fakes import NAME, chips, manifest_of, pair, served

from privzoo.errors import ConfigError, WeightsError
from privzoo.export import saved_model


def test_layout_and_signatures():
    import tensorflow as tf

    head, tail, network = pair()
    folder = served() / NAME / "3"
    assert {"saved_model.pb", "variables", "assets.extra"} <= {p.name for p in folder.iterdir()}
    manifest = json.loads((folder / "assets.extra" / "privzoo.json").read_text())
    assert manifest["tail"] == manifest_of(head, tail)["tail"]
    loaded = tf.saved_model.load(str(folder))
    assert set(loaded.signatures) == {"serving_default", manifest["tail"]["signature"]}
    features = np.asarray(head(chips().astype(np.float32)))
    expected = np.asarray(network(chips().astype(np.float32)))
    for signature in loaded.signatures.values():
        _, inputs = signature.structured_input_signature
        assert inputs["features"].shape.as_list() == [None, 12, 12, 16]
        for count in (1, len(features)):
            outputs = signature(features=tf.constant(features[:count]))
            assert list(outputs) == ["probabilities"]
            np.testing.assert_allclose(outputs["probabilities"], expected[:count], atol=1e-6)


def test_never_overwrites_unasked(tmp_path):
    head, tail, _ = pair()
    manifest = manifest_of(head, tail)
    folder = saved_model.export_tail(tail, tmp_path, "m", 1, manifest)
    (folder / "mine").touch()
    with pytest.raises(ConfigError, match="overwrite=True"):
        saved_model.export_tail(tail, tmp_path, "m", 1, manifest)
    assert (folder / "mine").exists()
    saved_model.export_tail(tail, tmp_path, "m", 1, manifest, overwrite=True)
    assert not (folder / "mine").exists()
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["1"]


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    head, tail, _ = pair()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_model, "to_json", full_disk)
    with pytest.raises(WeightsError, match="No space left"):
        saved_model.export_tail(tail, tmp_path, "m", 1, manifest_of(head, tail))
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "version", "sentence"),
    [("m", 0, "version=0"), ("m", True, "version=True"), ("../m", 1, "name"), ("", 1, "name"), (".m", 1, "name")],
)
def test_bad_places(tmp_path, name, version, sentence):
    head, tail, _ = pair()
    with pytest.raises(ConfigError, match=sentence):
        saved_model.export_tail(tail, tmp_path, name, version, manifest_of(head, tail))


def test_a_manifest_of_another_tail_is_refused(tmp_path):
    import keras

    head, tail, _ = pair()
    other = keras.models.clone_model(tail)
    with pytest.raises(ConfigError, match="other weights"):
        saved_model.export_tail(other, tmp_path, "m", 1, manifest_of(head, tail))

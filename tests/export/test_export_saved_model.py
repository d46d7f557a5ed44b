"""Tails as SavedModels in TF Serving's layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
from export_fakes import NAME, chips, manifest_of, pair, served

from privzoo.errors import ConfigError, WeightsError
from privzoo.export import saved_model

pytestmark = pytest.mark.all_models


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


def test_warm_up_requests_are_in_it_before_it_has_its_name(tmp_path, monkeypatch):
    """Replayed at load by the server, and read by the official protos."""
    import os

    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from privzoo.serving import Models
    from privzoo.serving.models.config import ServedModel
    from privzoo.serving.models.manager import Manager
    from privzoo.serving.models.saved_model import SavedModel

    head, tail, _ = pair()
    manifest, seen, rename = manifest_of(head, tail), [], os.rename

    def watched(source, target):
        seen.append((os.path.basename(target), sorted(os.listdir(os.path.join(source, "assets.extra")))))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    folder = saved_model.export_tail(tail, tmp_path, "m", 1, manifest)
    assert seen == [("1", ["privzoo.json", "tf_serving_warmup_requests"])]
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests")).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    signatures = ["serving_default", manifest["tail"]["signature"]]
    assert [request.model_spec.signature_name for request in requests] == signatures
    assert all(tf.make_ndarray(r.inputs["features"]).shape == (1, 12, 12, 16) for r in requests)
    ran, run = [], SavedModel.run
    monkeypatch.setattr(SavedModel, "run", lambda self, s, i: ran.append(s.name) or run(self, s, i))
    manager = Manager(Models())
    manager.apply([ServedModel("m", tmp_path / "m")])
    assert ran == signatures
    manager.models.close()


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
    other.set_weights([weights + 1 for weights in other.get_weights()])  # a clone may be given the very same
    with pytest.raises(ConfigError, match="other weights"):
        saved_model.export_tail(other, tmp_path, "m", 1, manifest_of(head, tail))

"""Heads as TFLite files: all quantizations compute the head, and nothing wrong is ever kept."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from export_fakes import NAME, SIZE, chips, exported, manifest_of, pair

from privzoo.edge import Head, read_manifest
from privzoo.errors import ConfigError, ImageError, WeightsError
from privzoo.export import tflite
from privzoo.export.manifests import QUANTIZATIONS

pytestmark = pytest.mark.all_models


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_file_computes_the_head(quantization):
    head, _, _ = pair()
    path = exported(quantization)
    expected = np.asarray(head(chips().astype(np.float32)))
    features = Head(path).features(chips())
    assert features.dtype == np.float32 and features.shape == expected.shape
    assert tflite.agreement(features, expected) >= tflite.LEAST_AGREEMENT[quantization]
    stated = read_manifest(path)["head"]["agreement"]
    assert stated == pytest.approx(tflite.agreement(features[:8], expected[:8]), abs=1e-4)
    if quantization == "float32":
        np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_one_artefact_for_every_runtime(quantization):
    """LiteRT.js refuses int8 inputs and dynamic batches; ends and batch are the same in every file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported(quantization)))
    interpreter.allocate_tensors()
    [entry], [end] = interpreter.get_input_details(), interpreter.get_output_details()
    assert (entry["dtype"], end["dtype"]) == (np.float32, np.float32)
    assert entry["shape"].tolist() == entry["shape_signature"].tolist() == [1, SIZE, SIZE, 3]
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["features"]}}
    kernels = [t["dtype"] for t in interpreter.get_tensor_details() if t["shape"].tolist() == [16, 3, 3, 8]]
    stored = {"float32": np.float32, "float16": np.float16, "dynamic": np.int8, "int8": np.int8}
    assert stored[quantization] in kernels


def test_int8_input_is_exact_and_inside_is_int8():
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported("int8")))
    interpreter.allocate_tensors()
    details = interpreter.get_tensor_details()
    images = [t for t in details if t["shape"].tolist() == [1, SIZE, SIZE, 3] and t["dtype"] == np.int8]
    assert (1.0, -128) in [t["quantization"] for t in images]  # int8 value = pixel - 128
    convolved = [t["dtype"] for t in details if t["shape"].tolist() == [1, SIZE, SIZE, 8]]
    assert convolved and set(convolved) == {np.int8}


def test_sizes_shrink():
    sizes = {q: read_manifest(exported(q))["head"]["bytes"] for q in QUANTIZATIONS}
    assert sizes["float32"] > sizes["float16"]
    assert sizes["float32"] > sizes["dynamic"]


def test_equal_heads_are_equal_files(tmp_path):
    head, tail, _ = pair()
    again = tflite.export_head(head, tmp_path / "again.tflite", "float32", manifest_of(head, tail), chips())
    assert again.read_bytes() == exported("float32").read_bytes()


def test_manifest_survives():
    head, tail, _ = pair()
    manifest = read_manifest(exported("int8"))
    for key, value in manifest_of(head, tail).items():
        assert manifest[key] == (manifest[key] | value if key == "head" else value)
    flatbuffer = exported("int8").read_bytes()[: manifest["head"]["bytes"]]
    assert manifest["head"]["sha256"] == hashlib.sha256(flatbuffer).hexdigest()
    assert (manifest["model"], manifest["version"], manifest["quantization"]) == (NAME, 3, "int8")
    feature = {"name": "features", "shape": [12, 12, 16], "dtype": "float32", "bytes": 9216, "rounded": False}
    assert manifest["feature"] == feature
    assert manifest["input"]["range"] == [0, 255] and manifest["input"]["size"] == SIZE


def test_a_layer_without_int8_kernel_stays_float(tmp_path):
    """VGG-S's local response norm has a power in it, which TFLite has in float only."""
    import keras

    from privzoo.architectures.graph import LocalResponseNormalization

    _, tail, _ = pair()
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="normalize")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv1")(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv2")(x)
    head = keras.Model(image, x)
    written = tflite.export_head(head, tmp_path / "lrn.tflite", "int8", manifest_of(head, tail), chips())
    assert read_manifest(written)["head"]["agreement"] > tflite.LEAST_AGREEMENT["int8"]


def test_a_wrong_file_is_refused_and_not_kept(tmp_path, monkeypatch):
    head, tail, _ = pair()
    path = tmp_path / "head.tflite"
    path.write_bytes(b"the one before")
    right = exported("float32")
    wrong = right.read_bytes()[: read_manifest(right)["head"]["bytes"]]
    import keras

    other = keras.models.clone_model(head)  # same layers, fresh weights
    monkeypatch.setattr(tflite, "convert", lambda *_: wrong)
    with pytest.raises(WeightsError, match="does not compute its head"):
        tflite.export_head(other, path, "float32", manifest_of(other, tail), chips())
    assert path.read_bytes() == b"the one before"
    assert [p.name for p in tmp_path.iterdir()] == ["head.tflite"]


def test_agreement_is_mean_centred():
    rng = np.random.default_rng(0)
    base, noise = 100.0, rng.normal(size=(2, 50, 20))
    expected = base + noise[0]
    assert tflite.agreement(expected, expected) == 1
    assert tflite.agreement(base + noise[1], expected) < 0  # though the raw cosine is over 0.999
    assert tflite.agreement(2 * expected, expected) < 0
    assert not tflite.agreement(np.full((4, 3), np.nan), expected[:4, :3]) >= 0
    assert not tflite.agreement(np.ones((4, 3)), np.ones((4, 3))) >= 0  # says nothing of the chips


def test_bad_arguments(tmp_path):
    head, tail, _ = pair()
    manifest = manifest_of(head, tail)
    path = tmp_path / "head.tflite"
    with pytest.raises(ConfigError, match="int4.*float32, float16, dynamic, int8"):
        tflite.export_head(head, path, "int4", manifest, chips())
    with pytest.raises(ConfigError, match="other weights"):
        tflite.export_head(head, path, "int8", {**manifest, "head": {"weights_sha256": "0" * 64}}, chips())
    with pytest.raises(ImageError, match="shape"):
        tflite.export_head(head, path, "int8", manifest, np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match="too few"):
        tflite.export_head(head, path, "int8", manifest, chips()[:1])
    with pytest.raises(WeightsError, match="cannot be written"):
        tflite.export_head(head, tmp_path / "no" / "head.tflite", "float32", manifest, chips())
    assert list(tmp_path.iterdir()) == []


def test_a_half_precision_head_is_refused(tmp_path):
    import keras

    _, tail, _ = pair()
    image = keras.Input((SIZE, SIZE, 3), name="image")
    conv = keras.layers.Conv2D(16, 3, strides=2, padding="same", name="conv", dtype="mixed_bfloat16")
    head = keras.Model(image, conv(image))
    with pytest.raises(ConfigError, match="bfloat16"):
        tflite.export_head(head, tmp_path / "head.tflite", "float32", manifest_of(head, tail), chips())


def test_an_operator_that_tflite_lacks_is_refused(tmp_path):
    import keras

    class Singular(keras.layers.Layer):
        def call(self, x):
            return x + keras.ops.svd(x, compute_uv=False)[..., :1, None]

    _, tail, _ = pair()
    image = keras.Input((SIZE, SIZE, 3), name="image")
    conv = keras.layers.Conv2D(16, 3, strides=2, padding="same", name="conv")
    head = keras.Model(image, conv(Singular()(image)))
    with pytest.raises(ConfigError, match="TFLite cannot express"):
        tflite.export_head(head, tmp_path / "head.tflite", "float32", manifest_of(head, tail), chips())
    assert list(tmp_path.iterdir()) == []

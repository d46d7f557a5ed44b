"""The process that trains heads on tf_keras; `process.run` starts it with the folder of a job.

The folder holds `job.json` (see `process.Job`), `weights.npz`, `chips.npy`, `features.npy`, `calibration.npy` and
`expected.npy`. The process leaves `trained.npz`, `trained.tflite` and, last, `result.json`. It resumes after the last
finished epoch, if it was killed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.errors import ConfigError, MissingExtraError, PrivzooError, WeightsError
from privzoo.files import replacing, write_arrays, write_bytes
from privzoo.provenance import write_json

SAME = 1e-4  # largest difference from the Keras 3 head, as a share of the largest feature
PREDICTED = 64  # chips per batch
RANGE_BATCHES = 4  # of chips, from which activations' ranges are taken before training
PRUNED_BY = 0.6  # share of the steps after which the last weight is pruned
MASKS = 50  # how often, at most, masks are made again until then
PACKAGES = ("tensorflow-model-optimization", "tf_keras")


def require() -> tuple[Any, Any, Any]:
    """TensorFlow, tf_keras and tensorflow-model-optimization, with TensorFlow switched to tf_keras for good.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
        import tensorflow_model_optimization as tfmot
        import tf_keras
    except ImportError as error:
        raise MissingExtraError(
            f"Training heads for the device needs tensorflow-model-optimization and tf_keras ({error}); run: "
            "pip install 'privzoo[optimise]'"
        ) from None
    return tf, tf_keras, tfmot


def build(keras: Any, layers: list[dict[str, Any]], size: int, weights: dict[str, np.ndarray]) -> Any:
    """The head in tf_keras.

    A rescaling becomes a depthwise convolution of one pixel: the same numbers, and a layer that quantization knows.
    Rounding is left out: it has no gradient, and the device rounds anyway.

    Args:
        keras: tf_keras.
        layers: of `tf_keras_copy.describe`.
        size: side of the input in pixels.
        weights: `<layer>/<variable>` -> array.

    Returns:
        `image` float32 (N, size, size, 3) -> features.
    """
    x = image = keras.Input((size, size, 3), name="image")
    for entry in layers:
        options = {key: value for key, value in entry.items() if key != "kind"}
        kind, name = entry["kind"], entry["name"]
        if kind == "Round":
            continue
        if kind == "Rescaling":
            layer = keras.layers.DepthwiseConv2D(1, name=name)
            x = layer(x)
            channels = x.shape[-1]
            layer.set_weights([np.full((1, 1, channels, 1), entry["scale"]), np.full(channels, entry["offset"])])
            layer.trainable = False
            continue
        if kind == "Reshape":
            options["target_shape"] = tuple(options["target_shape"])
        layer = getattr(keras.layers, kind)(**options)
        x = layer(x)
        for variable in layer.weights:
            variable.assign(weights[f"{name}/{variable.name.rpartition('/')[2].partition(':')[0]}"])
    return keras.Model(image, x, name="head")


def trained_weights(model: Any, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Weights of a trained model.

    Args:
        model: of a method's `finish`.
        names: `<layer>/<variable>`, as they came.

    Returns:
        The same names -> array, without the wrappers' own.
    """
    layers = {getattr(layer, "layer", layer).name: layer for layer in model.layers}
    found = {}
    for name in names:
        owner, _, part = name.rpartition("/")
        layer = layers[owner]
        # A quantizing wrapper keeps the variable and puts a rounded tensor into its place in the layer; a stripped
        # layer has the variable in its place, under another name.
        kept = [variable for variable in layer.weights if variable.name.partition(":")[0] == name]
        found[name] = (kept[0] if kept else getattr(layer, part)).numpy()
    return found


def check_same(model: Any, chips: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference from what the Keras 3 head gives, as a share of its largest value.

    Raises:
        WeightsError: it is more than `SAME`.
    """
    found = model.predict(chips, batch_size=PREDICTED, verbose=0)
    apart = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not apart <= SAME:  # written so that NaN is refused too
        raise WeightsError(
            f"The head converted to tf_keras gives different features (by {apart:.2g} of the largest; usual: {SAME}); "
            "check that tf_keras and TensorFlow have the same version."
        )
    return apart


class Quantized:
    """Quantization-aware training: the network is trained with weights and activations rounded as on the device.

    Args:
        model: of `build`.
        chips: float32 (N, S, S, 3), from which the first ranges of activations are taken: the library starts all at
            -6 to 6, and moves them by a thousandth at each step.
    """

    calibrated, per_channel = False, True

    def __init__(self, tfmot: Any, keras: Any, model: Any, job: dict[str, Any], chips: np.ndarray):
        self.model = tfmot.quantization.keras.quantize_model(model)
        self.callbacks: list[Any] = []
        self.ranges = _ranges(keras, model, chips, job["batch"])
        self.exact = {layer.name for layer in model.layers if not layer.trainable}
        for layer in self.model.layers:
            layer.trainable = getattr(layer, "layer", layer).name not in self.exact
        # The first pass in training mode measures the kernels' ranges.
        self.model(chips[: job["batch"]], training=True)
        self._set(self.ranges)

    def _set(self, ranges: dict[str, tuple[float, float]]) -> None:
        for layer in self.model.layers:
            name = getattr(layer, "layer", layer).name
            for variable in layer.weights:
                part = variable.name.rpartition("/")[2].partition(":")[0]
                if part in ("quantize_layer_min", "quantize_layer_max"):
                    variable.assign(0.0 if part.endswith("min") else 255.0)
                elif part in ("post_activation_min", "post_activation_max") and name in ranges:
                    variable.assign(ranges[name][part.endswith("max")])

    def finish(self, chips: np.ndarray) -> Any:
        """Measures the kernels' ranges after the last step, and puts back those of the image, which are known."""
        self.model(chips, training=True)
        self._set({name: found for name, found in self.ranges.items() if name in self.exact})
        return self.model


def _ranges(keras: Any, model: Any, chips: np.ndarray, batch: int) -> dict[str, tuple[float, float]]:
    """Layer -> least and largest value of its output, as converters take them; that of an image is exact.

    The library itself moves towards the mean over batches, which cuts off the largest values.
    """
    layers = [layer for layer in model.layers if "Conv2D" in type(layer).__name__]
    outputs = keras.Model(model.input, [layer.output for layer in layers])
    found: dict[str, list[tuple[float, float]]] = {layer.name: [] for layer in layers}
    for start in range(0, min(len(chips), RANGE_BATCHES * batch), batch):
        values = outputs(chips[start : start + batch], training=False)
        for layer, value in zip(layers, values if len(layers) > 1 else [values], strict=True):
            found[layer.name].append((float(value.numpy().min()), float(value.numpy().max())))
    ranges = {name: (min(low for low, _ in pairs), max(high for _, high in pairs)) for name, pairs in found.items()}
    first = layers[0]
    if not first.trainable:
        scale, offset = (float(w.ravel()[0]) for w in first.get_weights())
        ranges[first.name] = (offset, 255 * scale + offset)
    # Zero has to be among a range's values.
    return {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in ranges.items()}


def _convolutions(keras: Any, model: Any) -> set[str]:
    """Names of the convolutions with an activation; the last one, a reduction, carries the feature and is small."""
    return {
        layer.name
        for layer in model.layers
        if type(layer) is keras.layers.Conv2D and layer.activation is not keras.activations.linear
    }


class Pruned:
    """Magnitude pruning: more and more of the smallest weights become zero, while the others are trained."""

    calibrated, per_channel = True, True

    def __init__(self, tfmot: Any, keras: Any, model: Any, job: dict[str, Any], chips: np.ndarray):
        sparsity, self.tfmot = tfmot.sparsity.keras, tfmot
        end = max(1, int(PRUNED_BY * job["steps"]))
        schedule = sparsity.PolynomialDecay(0.0, job["sparsity"], 0, end, frequency=max(1, end // MASKS))
        names = _convolutions(keras, model)
        self.model = keras.models.clone_model(
            model,
            clone_function=lambda layer: (
                sparsity.prune_low_magnitude(layer, schedule) if layer.name in names else layer
            ),
        )
        self.callbacks = [sparsity.UpdatePruningStep()]

    def finish(self, chips: np.ndarray) -> Any:
        """The head with zeros in place of what was pruned."""
        return self.tfmot.sparsity.keras.strip_pruning(self.model)


class Clustered:
    """Weight clustering: each layer's weights take few values, which are trained."""

    # One scale for the whole kernel: its few values stay few bytes, the same ones in each channel.
    calibrated, per_channel = True, False

    def __init__(self, tfmot: Any, keras: Any, model: Any, job: dict[str, Any], chips: np.ndarray):
        clustering, self.tfmot = tfmot.clustering.keras, tfmot
        names = _convolutions(keras, model)
        options = {
            "number_of_clusters": job["clusters"],
            "cluster_centroids_init": clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
        }
        self.model = keras.models.clone_model(
            model,
            clone_function=lambda layer: clustering.cluster_weights(layer, **options) if layer.name in names else layer,
        )
        self.callbacks: list[Any] = []

    def finish(self, chips: np.ndarray) -> Any:
        """The head with each weight at its cluster's value."""
        return self.tfmot.clustering.keras.strip_clustering(self.model)


Method = Quantized | Pruned | Clustered
METHODS: dict[str, type[Method]] = {"qat": Quantized, "pruned": Pruned, "clustered": Clustered}


def variance_of(features: np.ndarray) -> float:
    """Mean variance of features over faces, in which losses are counted."""
    return max(float(features.var(axis=0).mean()), 1e-12)


def loss_of(model: Any, chips: np.ndarray, features: np.ndarray, variance: float) -> float:
    """Squared error of a model's features as a share of their variance."""
    found = model.predict(chips, batch_size=PREDICTED, verbose=0)
    return round(float(np.square(found - features).mean()) / variance, 6)


def train(tf: Any, keras: Any, method: Any, job: dict[str, Any], data: dict[str, np.ndarray], folder: Path) -> list:
    """Trains towards the float head's features, and saves each finished epoch.

    Args:
        tf: TensorFlow.
        keras: tf_keras.
        method: one of `METHODS`, made.
        job: see `process.Job`.
        data: `chips` uint8 (N, S, S, 3) and `features` float32 (N, ...) of the float head.
        folder: of the job.

    Returns:
        Mean loss of each epoch: the squared error as a share of the features' variance.
    """
    chips, features, batch, steps = data["chips"], data["features"], job["batch"], job["steps"]
    variance = variance_of(features)
    per_epoch = max(1, min(job["epoch_steps"], steps))
    epochs = -(-steps // per_epoch)
    order = np.random.default_rng(job["seed"])
    rows = np.concatenate([order.permutation(len(chips)) for _ in range(-(-epochs * per_epoch * batch // len(chips)))])

    class Batches(keras.utils.Sequence):
        """Batches of one epoch after the other, the same ones however often the run was interrupted."""

        epoch = 0

        def __len__(self) -> int:
            return per_epoch

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            start = (self.epoch * per_epoch + index) * batch
            some = rows[start : start + batch]
            return chips[some].astype(np.float32), features[some]

    model = method.model
    rate = keras.optimizers.schedules.CosineDecay(job["learning_rate"], max(1, epochs * per_epoch))
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, loss=lambda wanted, found: tf.reduce_mean(tf.square(wanted - found)) / variance)
    log, batches = folder / "log.json", Batches()
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model, optimizer=optimizer), folder / "checkpoints", max_to_keep=1
    )
    losses: list[float] = json.loads(log.read_text()) if log.exists() else []
    done = 0
    if manager.latest_checkpoint:
        done = int(manager.latest_checkpoint.rpartition("-")[2])
        optimizer.build(model.trainable_variables)
        manager.checkpoint.restore(manager.latest_checkpoint).expect_partial()
    losses = losses[:done]
    for epoch in range(done, epochs):
        batches.epoch, began = epoch, time.monotonic()
        history = model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=method.callbacks)
        losses.append(round(float(history.history["loss"][0]), 6))
        write_json(log, losses)
        manager.save(checkpoint_number=epoch + 1)
        spent = time.monotonic() - began
        print(f"{job['method']}: epoch {epoch + 1} of {epochs}, loss {losses[-1]:.4f}, {spent:.0f} s", flush=True)
    return losses


def convert(tf: Any, model: Any, size: int, calibration: np.ndarray | None, per_channel: bool) -> bytes:
    """Makes an int8 TFLite flatbuffer with float input and output and fixed batch 1.

    Args:
        tf: TensorFlow.
        model: tf_keras model, trained with quantization or not.
        size: side of the input in pixels.
        calibration: float32 chips (N, size, size, 3) that set the ranges of activations; None: the model has them.
        per_channel: each channel of a kernel has its own scale.

    Raises:
        ConfigError: the converter refuses the model.
    """
    module = tf.Module()
    module.model = model
    spec = tf.TensorSpec((1, size, size, 3), tf.float32, name="image")
    module.serve = tf.function(lambda image: {"features": model(image, training=False)}, input_signature=[spec])
    with tempfile.TemporaryDirectory(prefix="privzoo-") as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if not per_channel:
            converter._experimental_disable_per_channel = True
        if calibration is not None:
            converter.representative_dataset = lambda: ([chip[None]] for chip in calibration)
        try:
            return converter.convert()
        except Exception as error:  # the converter raises whatever its passes raise
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError(f"TFLite cannot express the trained head as int8 ({reason}); change the head.") from error


def run(folder: Path) -> None:
    """Runs the job in a folder."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    names = ("chips", "features", "calibration", "expected")
    data = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    with np.load(folder / "weights.npz") as file:
        weights = {name: file[name] for name in file.files}
    tf, keras, tfmot = require()
    keras.utils.set_random_seed(job["seed"])
    began = time.monotonic()
    calibration = np.asarray(data["calibration"], np.float32)
    model = build(keras, job["layers"], job["size"], weights)
    apart = check_same(model, calibration, data["expected"])
    first = np.asarray(data["chips"][: RANGE_BATCHES * job["batch"]], np.float32)
    method = METHODS[job["method"]](tfmot, keras, model, job, first)
    some, variance = data["features"][: len(first)], variance_of(data["features"])
    before = loss_of(method.model, first, some, variance)
    losses = train(tf, keras, method, job, data, folder)
    trained = method.finish(first[: job["batch"]])
    flatbuffer = convert(tf, trained, job["size"], calibration if method.calibrated else None, method.per_channel)
    found = trained_weights(trained, weights)
    kernels = [found[f"{name}/kernel"] for name in sorted(_convolutions(keras, model))]
    with replacing(folder / "trained.npz", suffix=".npz") as temporary:
        write_arrays(temporary, found)
    write_bytes(folder / "trained.tflite", flatbuffer)
    write_json(
        folder / "result.json",
        {
            "loss_before": before,
            "losses": losses,
            "loss_after": loss_of(trained, first, some, variance),
            "apart_before": apart,
            "zeros": round(sum(int((k == 0).sum()) for k in kernels) / sum(k.size for k in kernels), 4),
            "values_per_kernel": max(len(np.unique(kernel)) for kernel in kernels),
            "seconds_of_last_start": round(time.monotonic() - began, 1),
            "packages": {name: metadata.version(name) for name in PACKAGES} | {"tensorflow": tf.__version__},
        },
    )


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]))
    except PrivzooError as error:
        sys.exit(f"privzoo: {type(error).__name__}: {error}")

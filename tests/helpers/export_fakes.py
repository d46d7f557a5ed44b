"""A small head and tail, their exports, and a small TF Serving, made once for all tests of export and edge."""

from __future__ import annotations

import functools
import json
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

SIZE = 24
NAME = "vgg16_gender_simple_conv2_1"
CLASSES = ("male", "female")


@functools.cache
def folder() -> Path:
    folder.kept = tempfile.TemporaryDirectory(prefix="privzoo-tests-")  # deleted when the process ends
    return Path(folder.kept.name)


@functools.cache
def pair():
    """A VGG-like head, its tail, and the network of both."""
    import keras

    keras.utils.set_random_seed(7)
    image = x = keras.Input((SIZE, SIZE, 3), name="image")
    layers = [
        keras.layers.Rescaling(1 / 64, offset=-2.0, name="normalize"),
        keras.layers.Conv2D(8, 3, padding="same", activation="relu", kernel_initializer="he_normal", name="conv1_1"),
        keras.layers.MaxPooling2D(name="pool1"),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu", kernel_initializer="he_normal", name="conv2_1"),
    ]
    for layer in layers:
        x = layer(x)
    features = y = keras.Input(x.shape[1:], name="features")
    layers = [
        keras.layers.MaxPooling2D(name="pool2"),
        keras.layers.GlobalAveragePooling2D(name="average"),
        keras.layers.Dropout(0.3, name="drop"),
        keras.layers.Dense(2, name="fc8"),
        keras.layers.Softmax(name="probabilities"),
    ]
    for layer in layers:
        y = layer(y)
    head, tail = keras.Model(image, x, name="head"), keras.Model(features, y, name="tail")
    return head, tail, keras.Model(image, tail(x))


def manifest_of(head, tail, **changed):
    from privzoo.export import manifests

    fields = {
        "model": NAME,
        "version": 3,
        "task": "gender",
        "classes": CLASSES,
        "network": "vgg16_gender",
        "cut": "conv2_1",
        "embedding": "simple",
        "input_size": SIZE,
        "multiply_adds": (1000, 10),
        "licence": "test only",
    }
    return manifests.build_manifest(head, tail, **{**fields, **changed})


@functools.cache
def chips() -> np.ndarray:
    """Smooth random pictures: uint8 (16, SIZE, SIZE, 3)."""
    from PIL import Image

    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (16, 5, 5, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(chip).resize((SIZE, SIZE))) for chip in small])


@functools.cache
def exported(quantization: str) -> Path:
    """The head of `pair` as it was exported."""
    from privzoo.export import tflite

    head, tail, _ = pair()
    path = folder() / f"{quantization}.tflite"
    return tflite.export_head(head, path, quantization, manifest_of(head, tail), chips())


@functools.cache
def served() -> Path:
    """Folder of a server's models with the tail of `pair` in version 3."""
    from privzoo.export import saved_model

    head, tail, _ = pair()
    saved_model.export_tail(tail, folder() / "served", NAME, 3, manifest_of(head, tail))
    return folder() / "served"


class FakeServing(BaseHTTPRequestHandler):
    """TF Serving's REST predict on a SavedModel, with its own words for what it refuses."""

    protocol_version = "HTTP/1.1"
    bodies: list[bytes] = []
    connections: set[tuple] = set()
    forced: tuple[int, bytes] | None = None
    gone: threading.Event

    @staticmethod
    @functools.cache
    def model():
        import tensorflow as tf

        return tf.saved_model.load(str(served() / NAME / "3"))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.gone.is_set():  # a process that ends takes its open connections with it
            self.close_connection = True
            return
        type(self).bodies.append(body)
        type(self).connections.add(self.client_address)
        status, answer = self.forced or self.predict(json.loads(body))
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def predict(self, request):
        import tensorflow as tf

        known = [f"/v1/models/{NAME}:predict", f"/v1/models/{NAME}/versions/3:predict"]
        if self.path not in known:
            return 404, json.dumps({"error": f"Servable not found for request: {self.path}"}).encode()
        signatures = self.model().signatures
        if request["signature_name"] not in signatures:
            text = f'Serving signature name: "{request["signature_name"]}" not found in signature def'
            return 400, json.dumps({"error": text}).encode()
        features = tf.constant(np.asarray(request["instances"], np.float32))
        outputs = signatures[request["signature_name"]](features=features)
        return 200, json.dumps({"predictions": outputs["probabilities"].numpy().tolist()}).encode()

    def log_message(self, *_):
        pass


@contextmanager
def serving(forced: tuple[int, bytes] | None = None, port: int = 0):
    """Starts a server on a free or the given loopback port; gives its address, and its handler with what it saw."""
    state = {"bodies": [], "connections": set(), "forced": forced, "gone": threading.Event()}
    handler = type("Handler", (FakeServing,), state)
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        handler.gone.set()

"""Tiny SavedModels in TF Serving's layout, for the tests of the server."""

from __future__ import annotations

import json
from pathlib import Path

TAIL = "tail_0123456789ab"
FEATURE = (2, 2, 3)
TYPES = ("float32", "float64", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "bool", "string")


def build(folder: Path) -> Path:
    """Writes the models, once for all tests of a session.

    Args:
        folder: in which each model gets its base path.

    Returns:
        The folder.
    """
    if folder.exists():
        return folder
    import tensorflow as tf

    def spec(shape, dtype, name):
        return tf.TensorSpec(shape, dtype, name=name)

    def save(name, version, function, specs, names=("serving_default",), weights=None):
        module = tf.Module()
        module.w = tf.Variable(0.0 if weights is None else weights)
        module.f = tf.function(lambda *a: function(module.w, *a), input_signature=specs)
        tf.saved_model.save(module, str(folder / name / version), signatures=dict.fromkeys(names, module.f))
        return folder / name / version

    for version in ("1", "2", "0000010"):
        save("half", version, lambda w, x: {"y": x / 2 + w}, [spec([None], tf.float32, "x")], weights=float(version))
    (folder / "half" / "notes").mkdir()
    save(
        "several",
        "1",
        lambda w, a, n, tag: {
            "total": tf.reduce_sum(a, axis=1) + tf.cast(n, tf.float32),
            "tag": tf.strings.upper(tag),
            "tag_bytes": tf.strings.join([tag, b"\xff"]),
            "odd": tf.equal(n % 2, 1),
        },
        [spec([None, 2], tf.float32, "a"), spec([None], tf.int64, "n"), spec([None], tf.string, "tag")],
    )
    save("ragged", "1", lambda w, x: {"one": x, "two": x[:1]}, [spec([None], tf.float32, "x")])
    save("scalar", "1", lambda w, x: {"y": x * 2}, [spec([], tf.float32, "x")])
    save("complex", "1", lambda w, x: {"y": tf.complex(x, x)}, [spec([None], tf.float32, "x")])
    save("halves", "1", lambda w, x: {"y": x}, [spec([None], tf.float16, "x")])
    save("dense", "1", lambda w, x: {"y": x @ tf.ones([4, 1])}, [spec([None, 4], tf.float32, "x")])
    save(
        "slow",
        "1",
        lambda w, n: {"y": tf.while_loop(lambda i, n: tf.reduce_any(i < n), lambda i, n: (i + 1, n), [n * 0, n])[0]},
        [spec([None], tf.int64, "n")],
    )
    for dtype in TYPES:
        save(f"same_{dtype}", "1", lambda w, x: {"y": tf.identity(x)}, [spec(None, getattr(tf, dtype), "x")])
    version = save(
        "tail",
        "3",
        lambda w, features: {"probabilities": tf.nn.softmax(tf.reshape(features, [-1, 12]) @ w)},
        [spec([None, *FEATURE], tf.float32, "features")],
        ("serving_default", TAIL),
        [[0.1 * i, -0.1 * i] for i in range(12)],
    )
    (version / "assets.extra").mkdir()
    manifest = {"format": 1, "feature": {"name": "features", "shape": FEATURE}, "tail": {"signature": TAIL}}
    (version / "assets.extra" / "privzoo.json").write_text(json.dumps(manifest))
    _half_plus_three(folder / "half_plus_three" / "00000123")
    return folder


def _half_plus_three(folder: Path) -> None:
    """The model of TF Serving's documentation, in TensorFlow 1's way; its input is declared as a matrix."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        y = x * v1.get_variable("a", initializer=0.5) + v1.get_variable("b", initializer=3.0)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder), inputs={"x": x}, outputs={"y": y})

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
    _examples(folder / "examples" / "1")
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


def _examples(folder: Path) -> None:
    """Signatures for classify and regress, right ones and wrong ones, on examples with the feature "x": two numbers."""
    import tensorflow as tf

    v1 = tf.compat.v1
    classify, regress = "tensorflow/serving/classify", "tensorflow/serving/regress"
    with tf.Graph().as_default(), v1.Session() as session:
        text = v1.placeholder(tf.string, [None], name="examples")
        features = {"x": v1.FixedLenFeature([2], tf.float32), "bias": v1.FixedLenFeature([1], tf.float32, [0.0])}
        parsed = v1.parse_example(text, features)
        scores = parsed["x"] + parsed["bias"]
        classes = tf.tile([["low", "high"]], [tf.shape(scores)[0], 1])
        total = tf.reduce_sum(scores, axis=1)
        signatures = {
            "serving_default": (classify, {"inputs": text}, {"classes": classes, "scores": scores}),
            "only_scores": (classify, {"inputs": text}, {"scores": scores}),
            "only_classes": (classify, {"inputs": text}, {"classes": classes}),
            "regress": (regress, {"inputs": text}, {"outputs": total}),
            "regress_column": (regress, {"inputs": text}, {"outputs": total[:, None]}),
            "predict": ("tensorflow/serving/predict", {"inputs": text}, {"y": scores}),
            "other_input": (classify, {"text": text}, {"scores": scores}),
            "two_inputs": (classify, {"inputs": text, "more": text}, {"scores": scores}),
            "three_outputs": (classify, {"inputs": text}, {"scores": scores, "a": scores, "b": scores}),
            "other_output": (classify, {"inputs": text}, {"y": scores}),
            "flat_scores": (classify, {"inputs": text}, {"scores": total}),
            "double_scores": (classify, {"inputs": text}, {"scores": tf.cast(scores, tf.float64)}),
            "number_classes": (classify, {"inputs": text}, {"classes": scores}),
            "one_score": (classify, {"inputs": text}, {"classes": classes, "scores": scores[:, :1]}),
            "first_scores": (classify, {"inputs": text}, {"scores": scores[:1]}),
            "regress_other_input": (regress, {"text": text}, {"outputs": total}),
            "regress_other_output": (regress, {"inputs": text}, {"y": total}),
            "regress_two_outputs": (regress, {"inputs": text}, {"outputs": total, "y": total}),
            "regress_two_inputs": (regress, {"inputs": text, "more": text}, {"outputs": total}),
            "regress_matrix": (regress, {"inputs": text}, {"outputs": scores}),
            "regress_first": (regress, {"inputs": text}, {"outputs": total[:1]}),
            "regress_double": (regress, {"inputs": text}, {"outputs": tf.cast(total, tf.float64)}),
        }
        info = v1.saved_model.build_tensor_info
        definitions = {
            name: v1.saved_model.build_signature_def(
                {key: info(tensor) for key, tensor in inputs.items()},
                {key: info(tensor) for key, tensor in outputs.items()},
                method,
            )
            for name, (method, inputs, outputs) in signatures.items()
        }
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=definitions)
        builder.save()

"""Networks of Caffe: the imported ones answer as an independent forward pass in Caffe's own conventions does."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privzoo import config, weights
from privzoo.architectures import graph
from privzoo.config import ModelConfig, NetworkConfig, TrainingConfig
from privzoo.data import Dataset, Sample
from privzoo.errors import ConfigError, PrivzooError, WeightsError
from privzoo.training import caffe, caffe_import
from privzoo.training.caffe import Pixels
from privzoo.training.fitting import Fitter

ROOT = Path(__file__).resolve().parents[2]
VGG16, VGG_S = 64, 112  # pixels: the least with features of 2 x 2 and, by rounding up, 3 x 3
WIDTHS, CLASSES = (24, 16), ("female", "male")
PIXEL = Pixels((93.5, 104.75, 129.25), 0.5)
GREY = Pixels((128.0, 128.0, 128.0))
OLD = {"Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Dropout": 6, "Softmax": 20}
OLD_NAMES = {
    **{"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT", "LRN": "LRN", "Pooling": "POOLING"},
    **{"ReLU": "RELU", "Dropout": "DROPOUT", "Softmax": "SOFTMAX"},
}

# A layer: name, type, the text of its parameters, its weights.
Layer = tuple[str, str, str, list[np.ndarray]]


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def entry(number: int, content: bytes | str | int) -> bytes:
    """A field on the wire, written here by hand so that it is not the reader's own idea of the format."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(values: np.ndarray, old: bool) -> bytes:
    if old:
        shape = (1,) * (4 - values.ndim) + values.shape
        head = b"".join(entry(i, side) for i, side in enumerate(shape, start=1))
    else:
        head = entry(7, entry(1, b"".join(varint(side) for side in values.shape)))
    return head + entry(5, values.astype("<f4").tobytes())


def caffemodel(layers: list[Layer], old: bool) -> bytes:
    found = entry(1, "net")
    for name, kind, _, blobs in layers:
        if old:
            content = entry(4, name) + entry(5, OLD[kind]) + b"".join(entry(6, blob(b, True)) for b in blobs)
        else:
            content = entry(1, name) + entry(2, kind) + b"".join(entry(7, blob(b, False)) for b in blobs)
        found += entry(2 if old else 100, content)
    return found


def prototxt(layers: list[Layer], old: bool, side: int) -> str:
    text = f'name: "net"\ninput: "data"\ninput_dim: 1 input_dim: 3 input_dim: {side} input_dim: {side}\n'
    bottom = "data"
    for name, kind, parameters, _ in layers:
        top = bottom if kind in ("ReLU", "Dropout") else name
        word, quoted = ("layers", OLD_NAMES[kind]) if old else ("layer", f'"{kind}"')
        text += f'{word} {{ name: "{name}" type: {quoted} bottom: "{bottom}" top: "{top}" {parameters} }}\n'
        bottom = top
    return text


def convolution(rng, name: str, into: int, out: int, kernel: int, rest: str = "", groups: int = 1) -> list[Layer]:
    fan = into // groups * kernel**2
    blobs = [rng.normal(0, math.sqrt(2 / fan), (out, into // groups, kernel, kernel)), rng.normal(0, 0.1, out)]
    settings = f"convolution_param {{ num_output: {out} kernel_size: {kernel} group: {groups} {rest} }}"
    # What the importer does not know is skipped, as for learning.
    settings += " param { lr_mult: 1 decay_mult: 1 }" if groups == 1 else ""
    return [(name, "Convolution", settings, [b.astype(np.float32) for b in blobs]), (f"relu_{name}", "ReLU", "", [])]


def pool(name: str, size: int, stride: int) -> Layer:
    return name, "Pooling", f"pooling_param {{ pool: MAX kernel_size: {size} stride: {stride} }}", []


def classifier(rng, into: int) -> list[Layer]:
    found: list[Layer] = []
    for i, units in enumerate((*WIDTHS, len(CLASSES))):
        blobs = [rng.normal(0, math.sqrt(2 / into), (units, into)), rng.normal(0, 0.1, units)]
        settings = f"inner_product_param {{ num_output: {units} }}"
        name = f"fc{6 + i}" if i < 2 else "fc8-2"
        found.append((name, "InnerProduct", settings, [b.astype(np.float32) for b in blobs]))
        if i < 2:
            found += [
                (f"relu{6 + i}", "ReLU", "", []),
                (f"drop{6 + i}", "Dropout", "dropout_param { dropout_ratio: 0.5 }", []),
            ]
        into = units
    return [*found, ("prob", "Softmax", "", [])]


def vgg16() -> list[Layer]:
    rng, layers, into = np.random.default_rng(0), [], 3
    for block, (out, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for i in range(count):
            layers += convolution(rng, f"conv{block}_{i + 1}", into, out, 3, "pad: 1")
            into = out
        layers.append(pool(f"pool{block}", 2, 2))
    layers = scaled(layers)
    return layers + classifier(rng, 512 * (VGG16 // 32) ** 2)


def scaled(layers: list[Layer]) -> list[Layer]:
    """The first layer's weights for inputs of some hundred grey levels, so that answers are not all 0 or 1."""
    layers[0][3][0] /= 64
    return layers


LRN = "lrn_param { local_size: 5 alpha: 0.0005 beta: 0.75 k: 2 }"


def vgg_s() -> list[Layer]:
    rng = np.random.default_rng(1)
    layers = [*convolution(rng, "conv1", 3, 96, 7, "stride: 2"), ("norm1", "LRN", LRN, []), pool("pool1", 3, 3)]
    layers += [*convolution(rng, "conv2", 96, 256, 5, groups=2), pool("pool2", 2, 2)]
    layers += [*convolution(rng, "conv3", 256, 512, 3, "pad: 1"), *convolution(rng, "conv4", 512, 512, 3, "pad: 1")]
    layers += [*convolution(rng, "conv5", 512, 512, 3, "pad: 1", groups=4), pool("pool5", 3, 3)]
    return scaled(layers) + classifier(rng, 512 * 9)


def number(settings: str, name: str, default: int) -> int:
    words = settings.replace("{", " ").split()
    return int(words[words.index(f"{name}:") + 1]) if f"{name}:" in words else default


def windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]


def forward(layers: list[Layer], rgb: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Caffe's forward pass of one image: uint8 RGB (side, side, 3) -> probabilities."""
    x = (rgb[..., ::-1].astype(np.float64) - pixels.mean).transpose(2, 0, 1) * pixels.scale
    for _, kind, text, blobs in layers:
        size, stride = number(text, "kernel_size", 0), number(text, "stride", 1)
        if kind == "Convolution":
            pad, groups = number(text, "pad", 0), number(text, "group", 1)
            seen = windows(np.pad(x, [(0, 0), (pad, pad), (pad, pad)]), size, stride)
            parts = zip(np.split(seen, groups), np.split(blobs[0], groups), strict=True)
            x = np.concatenate([np.tensordot(k, s, ([1, 2, 3], [0, 3, 4])) for s, k in parts]) + blobs[1][:, None, None]
        elif kind == "Pooling":
            out = math.ceil((x.shape[1] - size) / stride) + 1
            more = (out - 1) * stride + size - x.shape[1]
            x = windows(np.pad(x, [(0, 0), (0, more), (0, more)], constant_values=-np.inf), size, stride).max((3, 4))
        elif kind == "LRN":
            sums = [(x[max(0, c - 2) : c + 3] ** 2).sum(0) for c in range(len(x))]
            x = x / (2 + 0.0005 / 5 * np.array(sums)) ** 0.75
        elif kind == "InnerProduct":
            x = blobs[0] @ x.ravel() + blobs[1]
        elif kind == "ReLU":
            x = np.maximum(x, 0)
        elif kind == "Softmax":
            x = np.exp(x - x.max())
            x /= x.sum()
    return x


def chip(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def described(architecture: str, side: int, name: str = "imported") -> NetworkConfig:
    return NetworkConfig(
        name=name,
        architecture=architecture,
        task="gender",
        classes=CLASSES,
        input_size=side,
        training=TrainingConfig(dataset="folder", stages=()),
        description="A network for the tests.",
        licence="none",
        classifier=WIDTHS,
        lrn=architecture == "vgg_s",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both networks in files: VGG-16 in the old form, VGG-S in the new one."""
    folder, found = tmp_path_factory.mktemp("caffe"), {}
    for name, layers, old, side in (("vgg16", vgg16(), True, VGG16), ("vgg_s", vgg_s(), False, VGG_S)):
        model, text = folder / f"{name}.caffemodel", folder / f"{name}.prototxt"
        model.write_bytes(caffemodel(layers, old))
        text.write_text(prototxt(layers, old, side))
        found[name] = (layers, model, text, caffe.read(model, text))
    return found


def answers(architecture: str, side: int, imported: caffe_import.Imported) -> tuple[keras.Model, np.ndarray]:
    network = graph.inference_network(described(architecture, side), imported.weights)
    return network, np.asarray(network(chip(side)[None].astype(np.float32)))[0]


def test_vgg_s_is_exact_with_any_mean_and_scale(made):
    layers, _, _, network = made["vgg_s"]
    imported = caffe_import.fit(network, "vgg_s", PIXEL)
    assert (imported.classifier, imported.lrn, imported.input_size, imported.outputs) == (WIDTHS, True, VGG_S, 2)
    built, found = answers("vgg_s", VGG_S, imported)
    wanted = forward(layers, chip(VGG_S), PIXEL)
    assert 0.01 < wanted.min() and found == pytest.approx(wanted, abs=1e-4)
    assert caffe_import.border(built, PIXEL) is None


def test_vgg16_is_exact_where_padding_is_the_mean_pixel(made):
    layers, _, _, network = made["vgg16"]
    imported = caffe_import.fit(network, "vgg16", GREY)
    assert (imported.classifier, imported.lrn, imported.input_size, imported.outputs) == (WIDTHS, False, VGG16, 2)
    built, found = answers("vgg16", VGG16, imported)
    wanted = forward(layers, chip(VGG16), GREY)
    assert 0.001 < wanted.min() and found == pytest.approx(wanted, abs=1e-4)
    assert caffe_import.border(built, GREY) is None


@pytest.mark.slow
def test_vgg16_differs_by_its_border_alone(made):
    layers, _, _, network = made["vgg16"]
    built, found = answers("vgg16", VGG16, caffe_import.fit(network, "vgg16", PIXEL))
    first = keras.Model(built.input, built.get_layer("conv1_1").output)
    seen = np.asarray(first(chip(VGG16)[None].astype(np.float32)))[0]
    wanted = forward(layers[:2], chip(VGG16), PIXEL).transpose(1, 2, 0)
    assert seen[1:-1, 1:-1] == pytest.approx(wanted[1:-1, 1:-1], abs=1e-4)
    assert np.abs(seen - wanted).max() > 1e-3
    changed = caffe_import.border(built, PIXEL)
    faces = caffe_import.images(VGG16)
    exact = np.array([forward(layers, face, PIXEL) for face in faces[:1]])
    here = np.abs(exact - np.asarray(built(faces[:1]))).max()
    assert 0 < here <= changed["largest_probability_change"] + 1e-4


def test_outputs_are_put_in_the_order_of_the_data_set(made):
    imported = caffe_import.fit(made["vgg_s"][3], "vgg_s", PIXEL)
    turned = caffe_import.ordered(imported, ("female", "male"), ("male", "female"))
    assert (turned.weights["fc8/kernel"] == imported.weights["fc8/kernel"][:, ::-1]).all()
    assert (turned.weights["fc8/bias"] == imported.weights["fc8/bias"][::-1]).all()
    with pytest.raises(ConfigError, match="the data set has male, female"):
        caffe_import.ordered(imported, ("girl", "boy"), ("male", "female"))


@pytest.mark.training
def test_an_embedding_is_fitted(made, tmp_path):
    """As of any network of the zoo."""
    network, faces = described("vgg_s", VGG_S), 12
    samples = [Sample(f"{i}", lambda i=i: chip(VGG_S, i), {"gender": i % 2}) for i in range(faces)]
    data = Dataset("faces", samples, {"gender": CLASSES})
    built, _ = answers("vgg_s", VGG_S, caffe_import.fit(made["vgg_s"][3], "vgg_s", PIXEL))
    fitter = Fitter(network, built, ["conv5"], data, data, tmp_path / "cache")
    model = ModelConfig("imported_reduced_simple_conv5", "imported", "conv5", "reduced_simple", dimensions=3)
    arrays, facts = fitter.fit(model)
    assert arrays["reduce/kernel"].shape[-1] == 3 and facts["training_faces"] == faces


def test_a_group_is_the_same_as_zeros():
    kernel = np.arange(2 * 2 * 4).reshape(4, 2, 2, 1).astype(np.float32)
    dense = caffe.ungrouped(kernel, 2)
    assert dense.shape == (4, 4, 2, 1)
    assert (dense[:2, :2] == kernel[:2]).all() and (dense[2:, 2:] == kernel[2:]).all()
    assert not dense[:2, 2:].any() and not dense[2:, :2].any()


def run(*words: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "import_caffe.py", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def flags(made, folder: Path, name: str) -> list[str]:
    _, model, text, _ = made[name]
    return [
        *(f"--model={model}", f"--prototxt={text}", f"--architecture={name}", "--name=mine", "--task=gender"),
        *("--classes=female,male", "--dataset=utkface", "--licence=mine", f"--out_dir={folder}"),
    ]


@pytest.mark.slow
def test_the_tool_writes_what_the_zoo_reads(made, tmp_path, monkeypatch):
    layers = made["vgg_s"][0]
    done = run(*flags(made, tmp_path, "vgg_s"), "--mean_pixel=93.5,104.75,129.25", "--scale=0.5")
    assert done.returncode == 0, done.stderr
    assert "padding of the first layer changes nothing" in done.stdout
    entered = config.read(NetworkConfig, tmp_path / "networks" / "mine.yaml")
    assert (entered.classifier, entered.lrn, entered.input_size, entered.classes) == (
        WIDTHS,
        True,
        VGG_S,
        ("male", "female"),
    )
    record = json.loads((tmp_path / "weights" / "mine.caffe.json").read_text())
    assert record["border"] is None and record["coding"]["labels_changed"] == 0 and len(record["files"]) == 2
    monkeypatch.setattr(config, "config_folder", lambda: tmp_path)
    network = graph.inference_network(entered, weights.load(entered))
    found = np.asarray(network(chip(VGG_S)[None].astype(np.float32)))[0]
    assert found == pytest.approx(
        forward(layers, chip(VGG_S), PIXEL)[::-1], abs=0.03
    )  # in UTKFace's order, coded in eight bits
    head, tail = graph.split(network, "conv5")
    assert np.asarray(tail(head(chip(VGG_S)[None].astype(np.float32))))[0] == pytest.approx(found, abs=1e-6)


@pytest.mark.slow
def test_the_tool_says_what_is_missing_in_one_line(made, tmp_path):
    done = run(*flags(made, tmp_path / "out", "vgg_s"))
    assert done.returncode == 1 and "--mean_pixel" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_nothing_half_written(made, tmp_path, monkeypatch):
    imported = caffe_import.fit(made["vgg_s"][3], "vgg_s", PIXEL)
    entered = described("vgg_s", VGG_S)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config, "write", full)
    with pytest.raises(ConfigError, match="No space left"):
        caffe_import.write(entered, imported, PIXEL, tmp_path, {})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(ConfigError, match="2 outputs, but 3 classes"):
        three = NetworkConfig(**{**vars(entered), "classes": ("a", "b", "c")})
        caffe_import.write(three, imported, PIXEL, tmp_path, {})
    (tmp_path / "weights" / "imported.npz").write_bytes(b"of another")
    with pytest.raises(ConfigError, match="exists"):
        caffe_import.write(entered, imported, PIXEL, tmp_path, {})
    assert (tmp_path / "weights" / "imported.npz").read_bytes() == b"of another"


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("kernel_size: 7", "kernel_size: 7 dilation: 2", "'conv1'.*without dilation"),
        ("k: 2 }", "k: 1 }", "'norm1'.*k 1; expected is .*k 2"),
        ("local_size: 5", "local_size: 5 norm_region: WITHIN_CHANNEL", "'norm1'.*across channels"),
        ("pool: MAX", "pool: AVE", "'pool1'.*max pooling"),
        ('"ReLU"', '"PReLU"', "'relu_conv1'.*not PReLU"),
        ("kernel_size: 3 stride: 3", "kernel_size: 2 stride: 3", "'pool1'.*kernel 2.*has a pool layer, kernel 3"),
        ("input_dim: 112 input_dim: 112", "input_dim: 111 input_dim: 112", "square image"),
        ("input_dim: 112 input_dim: 112", "input_dim: 12 input_dim: 12", "a larger input|too small"),
        ('bottom: "conv1"', 'bottom: "conv1" bottom: "data"', "one that reads 'conv1' alone"),
        ("num_output: 96", "num_output: 95", "'conv1'.*shape .96, 3, 7, 7."),
        ("num_output: 24 }", "num_output: 24 transpose: true }", "'fc6'.*not transposed"),
        ('input: "data"\ninput_dim: 1 input_dim: 3 input_dim: 112 input_dim: 112', "", "how large the input is"),
    ],
)
def test_what_does_not_fit_is_named(made, tmp_path, old, new, message):
    _, model, text, _ = made["vgg_s"]
    changed = text.read_text().replace(old, new, 1)
    assert changed != text.read_text()
    path = tmp_path / "changed.prototxt"
    path.write_text(changed)
    with pytest.raises(ConfigError, match=message):
        caffe_import.fit(caffe.read(model, path), "vgg_s", PIXEL)


def test_another_architecture_is_named(made):
    with pytest.raises(ConfigError, match=r"'conv1'.*kernel 7.*vgg16 has a convolution layer, kernel 3"):
        caffe_import.fit(made["vgg_s"][3], "vgg16", PIXEL)


def test_pools_that_round_otherwise_are_named(made):
    """At 80 px, Caffe rounds VGG-16's last pool up and the zoo's down."""
    network = made["vgg16"][3]
    shapes = {"pool5": (512, 3, 3), "pool4": (512, 5, 5)}
    steps = tuple(
        caffe.Step(s.kind, s.name, shapes.get(s.name, s.shape), s.numbers, s.kernel, s.bias) for s in network.steps
    )
    with pytest.raises(ConfigError, match="'pool4' gives 512 x 5 x 5"):
        caffe_import.fit(caffe.CaffeNetwork(network.shape, steps, None, (), None), "vgg16", GREY)


def test_a_training_prototxt_has_mean_and_scale(tmp_path):
    layers = small()
    text = prototxt(layers, False, 8).split("\n", 2)[2]
    head = """
    layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
            transform_param { mirror: true crop_size: 9 mean_value: 1 } }
    layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
            transform_param { crop_size: 8 scale: 0.25 mean_value: 104 mean_value: 117 mean_value: 123 } }
    """
    (tmp_path / "t").write_text(head + text + 'layer { name: "a" type: "Accuracy" bottom: "fc" bottom: "label" }')
    (tmp_path / "m").write_bytes(caffemodel(layers, True))
    network = caffe.read(tmp_path / "m", tmp_path / "t")
    assert (network.shape, network.scale, network.mean) == ((3, 8, 8), 0.25, (104, 117, 123))
    assert [step.kind for step in network.steps] == ["convolution", "relu", "dense"]


def small() -> list[Layer]:
    rng = np.random.default_rng(2)
    dense = [rng.normal(size=(2, 144)).astype(np.float32), np.zeros(2, np.float32)]
    return [
        *convolution(rng, "conv", 3, 4, 3),
        ("fc", "InnerProduct", "inner_product_param { num_output: 2 }", dense),
    ]


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    folder = tmp_path_factory.mktemp("little")
    (folder / "small.prototxt").write_text(prototxt(small(), False, 8))
    return folder


@pytest.mark.parametrize("old", [False, True])
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_files_are_refused(little, old, share):
    whole = caffemodel(small(), old)
    path = little / "cut.caffemodel"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError) as refused:
        caffe.read(path, little / "small.prototxt")
    assert "\n" not in str(refused.value)


@given(content=st.binary(max_size=200))
def test_other_files_are_refused(little, content):
    path = little / "other"
    path.write_bytes(content)
    for read in (
        lambda: caffe.read(path, little / "small.prototxt"),
        lambda: caffe.read(path, path),
        lambda: caffe.read_mean(path),
    ):
        with pytest.raises(PrivzooError):
            read()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"layer {", b"a {" * 100_000, b"", b'name: "x"', b"layer { name: 3 }"]
)
def test_texts_that_are_no_prototxt_are_refused(little, tmp_path, content):
    (tmp_path / "text").write_bytes(content)
    (tmp_path / "model").write_bytes(caffemodel(small(), True))
    with pytest.raises(WeightsError, match="is not a prototxt") as refused:
        caffe.read(tmp_path / "model", tmp_path / "text")
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_one_sentence(tmp_path, little):
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        caffe.read(tmp_path / "none", little / "small.prototxt")
    with pytest.raises(WeightsError, match="cannot be read: Is a directory"):
        caffe.read(tmp_path, little / "small.prototxt")


def test_a_mean_image_is_reduced_only_if_allowed(tmp_path):
    image = np.random.default_rng(0).uniform(90, 130, (3, 5, 4)).astype(np.float32)
    (tmp_path / "mean").write_bytes(blob(image, True))
    found = caffe.read_mean(tmp_path / "mean")
    assert (found == image).all()
    with pytest.raises(ConfigError, match="--reduce_mean"):
        caffe.reduced(found, allowed=False)
    assert caffe.reduced(found, allowed=True) == pytest.approx(image.mean((1, 2)), rel=1e-6)
    flat = np.broadcast_to(np.float32([1, 2, 3])[:, None, None], (3, 5, 4))
    assert caffe.reduced(flat, allowed=False) == (1, 2, 3)

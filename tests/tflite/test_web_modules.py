"""The page's JavaScript under node: chip arithmetic, noise, wire."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privzoo.edge import rest
from privzoo.faces import blazeface, detection, search
from privzoo.faces.search import Landmarks
from privzoo.faces.views import View
from privzoo.mechanisms import gaussian as noise

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "chips"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def node(**given) -> dict:
    """What the modules give for these cases."""
    command = ["node", str(TESTS / "web" / "modules.mjs")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_golden_chips():
    golden = json.loads((GOLDEN / "cases.json").read_text())
    photograph = Image.open(GOLDEN / golden["source"]).convert("RGBA")
    rgba = base64.b64encode(photograph.tobytes()).decode()
    cases = golden["cases"]
    found = node(chips={"width": photograph.width, "height": photograph.height, "rgba": rgba, "cases": cases})
    assert found["chips"] == [case["rgb_sha256"] for case in cases]


def test_eyes_set_the_box_as_the_specification_says():
    assert node(eyes=[{"x": 100, "y": 80}, {"x": 140, "y": 80}])["eyes"] == {"x": 71, "y": 53, "size": 98}


def test_blazeface_is_read_as_in_python(astronaut):
    """The raw output of the network on a face and on noise, decoded and merged by both."""
    rng = np.random.default_rng(0)
    pictures = [View(256, 256, 512 * share, turn).picture(astronaut, 128) for share, turn in ((1, 0), (0.6, 30))]
    raw = []
    interpreter, _ = blazeface._open(os.getpid())
    for picture in [*pictures, rng.integers(0, 256, (128, 128, 3), np.uint8)]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None] / np.float32(127.5) - 1)
        interpreter.invoke()
        outputs = [interpreter.get_tensor(tensor["index"])[0] for tensor in interpreter.get_output_details()]
        raw.append(sorted(outputs, key=lambda tensor: tensor.shape[-1]))
    raw.append((rng.normal(0.5, 1, (896, 1)), rng.normal(0, 20, (896, 16))))  # many boxes that overlap
    found = node(decode=[{"scores": s.ravel().tolist(), "numbers": n.ravel().tolist()} for s, n in raw])["decode"]
    for (scores, numbers), rows in zip(raw, found, strict=True):
        scores, numbers = np.float32(scores), np.float32(numbers)
        likely = np.flatnonzero(scores[:, 0] > 0)
        expected = blazeface.merge(blazeface.decode(numbers[likely], scores[likely, 0], likely))
        flat = [[r["score"], *r["low"], *r["high"], *np.ravel(r["points"])] for r in rows]
        np.testing.assert_allclose(np.reshape(flat, (-1, 17)), expected, atol=1e-6)
    assert [len(rows) > 0 for rows in found] == [True, True, False, True]


def test_boxes_of_landmarks_are_pythons():
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 300, (100, 6, 2))
    found = node(landmarks=points.tolist())["landmarks"]
    for one, box in zip(points, found, strict=True):
        expected = detection.frame(Landmarks(0.0, one))
        assert (box["x"], box["y"], box["size"]) == (expected.x, expected.y, expected.size)
        assert box["angle"] == pytest.approx(expected.angle, abs=1e-9)


@pytest.mark.parametrize("size", [(640, 480), (100, 90), (1600, 1200), (300, 2000)])
def test_the_page_looks_where_python_looks(size, monkeypatch):
    """Where no face is seen: all looks, in their order."""
    width, height = size
    asked = []
    monkeypatch.setattr(
        search.View, "picture", lambda view, *_: asked.append(view) or np.zeros((128, 128, 3), np.uint8)
    )
    monkeypatch.setattr(search, "find", lambda picture: [])
    assert search.search(np.zeros((height, width, 3), np.uint8)) == []
    found = node(search={"width": width, "height": height, "views": []})["search"]
    np.testing.assert_allclose(found, [(view.x, view.y, view.side, view.angle) for view in asked], rtol=1e-12)


def test_clip_and_round_are_pythons():
    rng = np.random.default_rng(0)
    features = [rng.normal(0, scale, 4).astype(np.float32).tolist() for scale in (0.1, 1, 10, 1e30)] + [[0.0] * 4]
    found = node(clip=[[feature, 1.5] for feature in features], round=[-1.5, -0.5, 0.5, 1.5, 2.5, 2.4, -2.6, 7.0])
    np.testing.assert_allclose(found["clip"], noise.clip(np.asarray(features, np.float32), 1.5), rtol=1e-12)
    assert found["round"] == [-2, 0, 0, 2, 2, 2, -3, 7]


def test_draws_are_standard_normal_and_fresh():
    from scipy import stats

    draws = [node(draws=20_000)["draws"] for _ in range(2)]
    assert not set(draws[0]) & set(draws[1])
    for drawn in draws:
        assert stats.kstest(drawn, "norm").pvalue > 1e-6


def test_what_may_leave_the_device():
    plain = {"feature": {"rounded": False}, "noise": None}
    gaussian = {"kind": "gaussian", "sigma": 0.5, "clip": 1.0}
    cases = [
        {"output": [0.5, -2.0], "manifest": plain},
        {"output": [0.4, -1.6], "manifest": plain | {"feature": {"rounded": True}}},
        {"output": [30.0, 40.0], "manifest": plain | {"noise": gaussian}},
        {"output": [30.0, "NaN"], "manifest": plain | {"noise": gaussian}},
        {"output": [1.0, 1.0], "manifest": plain | {"noise": gaussian | {"kind": "laplace"}}},
        {"output": [1.0, 1.0], "manifest": plain | {"noise": gaussian | {"sigma": 0}}},
        {"output": [1.0, 1.0], "manifest": plain | {"noise": gaussian | {"clip": None}}},
    ]
    as_is, rounded, noisy, *refused = node(protect=cases)["protect"]
    assert as_is == [0.5, -2.0] and rounded == [0.0, -2.0]
    assert np.abs(np.subtract(noisy, [0.6, 0.8])).max() < 4 and noisy != pytest.approx([0.6, 0.8])
    assert "not finite" in refused[0]
    assert all("noise that the page cannot draw" in sentence for sentence in refused[1:])


def test_numbers_on_the_wire_are_the_very_float32():
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, 500, dtype=np.uint32)
    values = bits.view(np.float32)
    bits, values = bits[np.isfinite(values)], values[np.isfinite(values)]
    found = np.asarray(node(shortest=bits.tolist())["shortest"])
    assert np.array_equal(found.astype(np.float32), values)


def test_body_is_the_python_clients():
    feature = np.asarray([0.1, -2.5, 1e-7, 3.4e8, 7.0, -0.2], np.float32)
    manifest = {"feature": {"shape": [2, 1, 3]}, "tail": {"signature": "tail_0123456789ab"}}
    found = json.loads(node(encode={"feature": feature.tolist(), "manifest": manifest})["encode"])
    assert found == json.loads(rest.encode(feature.reshape(1, 2, 1, 3), "tail_0123456789ab"))


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (0, "", "cannot be reached"),
        (404, '{"error": "Servable not found"}', "has no model gender; start it with --model_name gender"),
        (400, '{"error": "no signature tail_0123456789ab here"}', "not the tail of this head"),
        (503, "busy", r"refused the request \(503\)"),
        (200, "no JSON", "something else than 2 probabilities"),
        (200, '{"predictions": [[0.5]]}', "something else than 2 probabilities"),
        (200, '{"predictions": [[0.5, null]]}', "something else than 2 probabilities"),
    ],
)
def test_refusals_are_one_sentence(status, body, sentence):
    [found] = node(replies=[{"status": status, "body": body}])["replies"]
    assert isinstance(found, str) and re.search(sentence, found) and found.endswith(".")


def test_an_answer():
    [found] = node(replies=[{"status": 200, "body": '{"predictions": [[0.25, 0.75]]}'}])["replies"]
    assert found == {"label": "female", "probabilities": {"male": 0.25, "female": 0.75}}

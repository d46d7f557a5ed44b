"""The page's JavaScript under node: chip arithmetic, noise, codes, wire."""

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
from looks import SEARCHED, Looks, placed, recorded
from PIL import Image

from privzoo.edge import rest
from privzoo.faces import blazeface, detection, search
from privzoo.faces.search import Landmarks
from privzoo.faces.views import View
from privzoo.mechanisms import gaussian as noise
from privzoo.mechanisms.bounds import bounds
from privzoo.mechanisms.codebook import Codebook, levels
from privzoo.mechanisms.permanent import PermanentResponse
from privzoo.mechanisms.randomized_response import LEAST_EPSILON, MOST_EPSILON, RandomizedResponse

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "chips"
CODES = TESTS / "golden" / "codes.json"
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


def as_the_page(photograph: np.ndarray, monkeypatch) -> Looks:
    """A search by Python, after the page's, given what Python's looks saw, looked at the same and found the same."""
    ours = recorded(photograph, monkeypatch)
    height, width = photograph.shape[:2]
    found = node(search={"width": width, "height": height, "looks": ours.rows})["search"]
    np.testing.assert_allclose(found["asked"], ours.views, rtol=1e-9, atol=1e-9)
    boxes = [tuple(box[name] for name in ("x", "y", "size", "angle", "score")) for box in found["boxes"]]
    expected = [(box.x, box.y, box.size, box.angle, box.score) for box in ours.boxes]
    np.testing.assert_allclose(np.reshape(boxes, (-1, 5)), np.reshape(expected, (-1, 5)), rtol=1e-9, atol=1e-9)
    return ours


@pytest.mark.parametrize("size", [(640, 480), (100, 90), (1600, 1200), (300, 2000)])
def test_the_page_looks_where_python_looks(size, monkeypatch):
    """Where no face is seen: all looks, in their order."""
    monkeypatch.setattr(search, "find", lambda picture: np.zeros((0, 17)))
    width, height = size
    assert as_the_page(np.zeros((height, width, 3), np.uint8), monkeypatch).boxes == []


@pytest.mark.parametrize("case", range(len(SEARCHED)))
def test_the_page_finds_what_python_finds(case, astronaut, monkeypatch):
    """First looks that are wrong about size and angle, doubtful faces, turned ones: step by step."""
    assert as_the_page(placed(astronaut, **SEARCHED[case])[0], monkeypatch).boxes


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
        {"output": [1.0, 1.0], "manifest": plain, "options": {"epsilon": 3}},
        {"output": [1.0, 1.0], "manifest": plain | {"noise": gaussian}, "options": {"epsilon": 3}},
    ]
    as_is, rounded, noisy, *refused, uncoded, normal = node(protect=cases)["protect"]
    assert "has no code" in uncoded and "has no code" in normal
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


def test_golden_draws_and_permanent_answers_of_codes():
    listed = json.loads(CODES.read_text())
    found = node(golden=listed["draws"], permanent=listed["permanent"])
    assert found["golden"] == [{"lie": case["lie"], "sent": case["sent"]} for case in listed["draws"]]
    assert found["permanent"] == [case["answers"] for case in listed["permanent"]]


def test_lies_of_any_budget_are_pythons():
    rng = np.random.default_rng(2)
    budgets = [float(2 ** rng.uniform(-16, np.log2(20))) for _ in range(60)]
    budgets += [LEAST_EPSILON, 0.1, 1 / 3, 1 + 2**-52, float(np.nextafter(3, 0)), MOST_EPSILON]
    cases = [(int(rng.integers(2, 257)), budget) for budget in budgets]
    assert node(lies=cases)["lies"] == [RandomizedResponse(k, budget)._lie for k, budget in cases]


def books(rng) -> list[Codebook]:
    """Levels, nearest codewords, and regions that tie."""
    codewords = rng.normal(0, 1, (5, 3))
    nearest = Codebook(
        tuple(map(tuple, (2 * codewords.T).tolist())), tuple((-(codewords**2).sum(1)).tolist()), (0, 1, 2, 3, 1)
    )
    ties = Codebook(((0.1, 0.1, 0.3), (0.2, 0.2, 0.1), (0.0, 0.0, 0.2)), (0.0, 0.0, 0.0), (2, 1, 0))
    return [levels(np.array([1.0, 0.5, -0.25]), 0.1, np.array([-1.0, 0.0, 0.5])), nearest, ties]


def test_the_symbol_of_a_feature_is_pythons():
    rng = np.random.default_rng(4)
    features = np.float32(np.concatenate([rng.normal(0, 1, (200, 3)), np.zeros((1, 3)), [[3.4e38, -3.4e38, 3.4e38]]]))
    known = books(rng)
    cases = [{"features": features.tolist(), "codebook": book.describe()} for book in known]
    assert node(symbols=cases)["symbols"] == [book.encode(features).tolist() for book in known]


def coded(book: Codebook, epsilon: float = 3.0) -> dict:
    """The part of a coded head's manifest that the page uses."""
    feature = {"name": "symbol", "budget": "epsilon", "rounded": False, "shape": [len(book.kernel)], "bytes": 1}
    noise = {**RandomizedResponse(book.k, epsilon).describe(), "codebook": book.describe()}
    return {"feature": feature, "noise": noise, "tail": {"signature": "tail_0123456789ab"}}


def test_what_may_leave_a_coded_head():
    manifest = coded(levels(np.array([1.0]), 0.0, np.array([0.0])))
    sent = np.array(node(sent={"output": [2.0], "manifest": manifest, "epsilon": 1, "times": 2000})["sent"])
    assert set(sent[:, 0]) == {0, 1} and (sent[:, 1] == 1).all()
    same = float(RandomizedResponse(2, 1.0).probability_same)
    assert abs(sent[:, 0].mean() - same) < 6 * np.sqrt(same * (1 - same) / 2000)
    again = {"output": [2.0], "manifest": manifest, "secret": "07" * 32, "slot": "anna", "times": 50}
    (answer,) = {tuple(row) for row in node(repeated=again)["repeated"]}
    permanent = PermanentResponse(RandomizedResponse(2, 3.0), b"\7" * 32, "anna", manifest["noise"]["codebook"]["name"])
    assert answer == (permanent.send([1])[0], 3)


def test_codes_and_budgets_that_cannot_be_are_refused():
    good = coded(levels(np.array([1.0]), 0.0, np.array([0.0])))

    def changed(**codebook):
        return good | {"noise": good["noise"] | {"codebook": good["noise"]["codebook"] | codebook}}

    wrong = [
        changed(k=3),
        changed(kernel=[[1.0]]),
        changed(kernel=[[1.0, None]]),
        changed(bias=[0.0]),
        changed(symbols=[0, 0]),
        changed(symbols=[0, 2]),
        changed(symbols=None),
        good | {"feature": good["feature"] | {"shape": [2]}},
        good | {"noise": {"kind": "randomized_response", "k": 2, "epsilon": 3.0}},
    ]
    cases = [{"output": [1.0], "manifest": manifest} for manifest in wrong]
    assert all("code is unreadable" in sentence for sentence in node(protect=cases)["protect"])
    budgets = [0, -1, 21, "3", "NaN", 1e-9]
    cases = [{"output": [1.0], "manifest": good, "options": {"epsilon": epsilon}} for epsilon in budgets]
    cases.append({"output": ["NaN"], "manifest": good})
    *refused, infinite = node(protect=cases)["protect"]
    assert all("is not a budget for a code" in sentence for sentence in refused) and "not finite" in infinite
    slots = ["", "\ud800", 3]
    again = [{"output": [2.0], "manifest": good, "secret": "07" * 32, "slot": slot, "times": 1} for slot in slots]
    assert all("slot cannot be empty" in node(repeated=case)["repeated"][0] for case in again)


def test_body_of_a_code_is_the_python_clients():
    manifest = coded(levels(np.array([1.0]), 0.0, np.array([0.0])))
    for epsilon in (3.0, 0.1):
        feature = np.float32([1, epsilon])
        found = json.loads(node(encode={"feature": feature.tolist(), "manifest": manifest})["encode"])
        assert found == json.loads(rest.encode(feature[None], "tail_0123456789ab", ("symbol", "epsilon")))


def test_the_page_says_what_a_budget_promises():
    """By the figures of the mechanism's bounds."""
    manifest = coded(levels(np.array([1.0]), 0.0, np.array([0.0])))
    words = node(words={"manifest": manifest, "feature": [1, 3], "k": 2, "epsilon": 3})["words"]
    promise, repeat, noise, sent, attack = words
    top1 = f"{100 * bounds(RandomizedResponse(2, 3.0)).top1():.2f}%"
    assert "Epsilon 3 guarantees" in promise and "20.1 times as likely" in promise and f"more than {top1} of" in promise
    assert "sent in 95.26% of the draws" in promise and noise == promise
    assert "at most epsilon 6" in repeat and "one device" in repeat
    assert sent == "One of 2 symbols, 1 byte, and its epsilon; 87 bytes as JSON"
    assert attack.startswith(f"at most {top1} of 100 people") and attack.endswith("alone; no attack was measured yet.")


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (0, "", "cannot be reached"),
        (404, '{"error": "Servable not found"}', "has no model gender; start it with --model_name gender"),
        (400, '{"error": "no signature tail_0123456789ab here"}', "not the tail of this head"),
        (503, "busy", r"refused the request \(503\)"),
        (200, "no JSON", "something other than 2 probabilities"),
        (200, '{"predictions": [[0.5]]}', "something other than 2 probabilities"),
        (200, '{"predictions": [[0.5, null]]}', "something other than 2 probabilities"),
    ],
)
def test_refusals_are_one_sentence(status, body, sentence):
    [found] = node(replies=[{"status": status, "body": body}])["replies"]
    assert isinstance(found, str) and re.search(sentence, found) and found.endswith(".")


def test_an_answer():
    [found] = node(replies=[{"status": 200, "body": '{"predictions": [[0.25, 0.75]]}'}])["replies"]
    assert found == {"label": "female", "probabilities": {"male": 0.25, "female": 0.75}}


@pytest.mark.parametrize(
    ("row", "label"),
    [([0.75, 0.625], "male, female"), ([0.25, 0.75], "female"), ([0.5, 0.25], "no attribute")],
)
def test_an_answer_about_attributes(row, label):
    """Each is present or not, as the manifest says."""
    body = json.dumps({"predictions": [row]})
    [found] = node(replies=[{"status": 200, "body": body, "output": "attributes"}])["replies"]
    assert found == {"label": label, "probabilities": dict(zip(("male", "female"), row, strict=True))}

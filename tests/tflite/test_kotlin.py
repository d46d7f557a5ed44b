"""The Kotlin of tflite/README.md, compiled and run: chips and codes to the bit, noise, a real server's answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from looks import SEARCHED, placed, recorded
from PIL import Image
from released_fakes import CODED, EPSILON, NOISE, PLAIN, coded, coded_heads, heads, models

from privzoo.edge import golden
from privzoo.faces import blazeface, detection, search
from privzoo.faces.search import Landmarks
from privzoo.faces.views import View
from privzoo.mechanisms import gaussian
from privzoo.mechanisms.codebook import Codebook
from privzoo.mechanisms.permanent import PermanentResponse
from privzoo.mechanisms.randomized_response import RandomizedResponse
from privzoo.serving import Server

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "chips"
README = TESTS.parent / "tflite" / "README.md"
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        not (shutil.which("kotlinc") and shutil.which("java")), reason="kotlinc or java is not installed"
    ),
]
DRAWS = 2000


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The README's Kotlin as it stands, with stand-ins for Android and LiteRT, and something to call it."""
    (code,) = re.findall(r"^```kotlin\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    folder = tmp_path_factory.mktemp("kotlin")
    (folder / "Readme.kt").write_text(code, encoding="utf-8")
    sources = [folder / "Readme.kt", *sorted((TESTS / "kotlin").glob("*.kt"))]
    command = ["kotlinc", *map(str, sources), "-include-runtime", "-d", str(folder / "program.jar")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return folder / "program.jar"


def flat(value, path: str = ""):
    """`path<TAB>value` lines, for the stand-in of org.json."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [line for key, entry in pairs for line in flat(entry, f"{path}.{key}" if path else str(key))]
    return [f"{path}\t{value if isinstance(value, str) else json.dumps(value)}"]


def put(released: Path, folder: Path) -> Path:
    """What the application would have: the list of heads, and in place of each head its golden chip and output."""
    listed = golden.read_list(released)
    (folder / "manifest.json").write_text("\n".join(flat(listed)))
    photograph = Image.open(released / listed["photograph"]["file"]).convert("RGBA")
    (folder / "photograph.rgba").write_bytes(photograph.tobytes())
    (folder / "photograph.size").write_text(f"{photograph.width} {photograph.height}")
    for entry in listed["heads"]:
        chip = np.asarray(Image.open(released / entry["golden"]["chip"]).convert("RGB"))
        lines = (entry["golden"]["features"], chip.ravel().tolist())
        (folder / f"{entry['file']}.golden").write_text("\n".join(" ".join(map(str, line)) for line in lines))
    return folder


@pytest.fixture
def assets(tmp_path) -> Path:
    """Of a head without noise, and one with."""
    return put(heads(), tmp_path)


@pytest.fixture
def coded_assets(tmp_path) -> Path:
    """Of a coded head."""
    return put(coded_heads(), tmp_path)


def run(program: Path, assets: Path, *commands: str) -> list[str]:
    """One line of output for each command."""
    command = ["java", "-cp", str(program), "MainKt", str(assets)]
    done = subprocess.run(command, input="\n".join(commands), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_golden_chips(program, assets):
    listed = json.loads((GOLDEN / "cases.json").read_text())
    with Image.open(GOLDEN / listed["source"]) as photograph:
        (assets / "photograph.rgba").write_bytes(photograph.convert("RGBA").tobytes())
        (assets / "photograph.size").write_text(f"{photograph.width} {photograph.height}")
    cases = listed["cases"]
    commands = [
        "chip {x} {y} {size} ".format(**case["box"]) + f"{case['size']} {case['box'].get('angle', 0)}" for case in cases
    ]
    assert run(program, assets, *commands) == [case["rgb_sha256"] for case in cases]


def floats(line: str) -> list[list[float]]:
    return [[float(value) for value in part.split(",")] for part in line.split(";")] if line else []


def test_the_detector_reads_and_frames_as_python(program, assets):
    rng = np.random.default_rng(0)
    scores, numbers = np.float32(rng.normal(0.5, 1, (896, 1))), np.float32(rng.normal(0, 20, (896, 16)))
    points = rng.uniform(0, 300, (5, 6, 2))
    view = View(95.0, 90.0, 150.0, 30.0)
    commands = ["decode " + " ".join(map(str, [*scores.ravel(), *numbers.ravel()]))]
    commands += ["landmarks " + " ".join(map(str, one.ravel())) for one in points]
    commands += ["view 95 90 150 30"]
    decoded, *boxes, seen = run(program, assets, *commands)
    likely = np.flatnonzero(scores[:, 0] > 0)
    expected = blazeface.merge(blazeface.decode(numbers[likely], scores[likely, 0], likely))
    np.testing.assert_allclose(floats(decoded), expected, atol=1e-6)
    for one, box in zip(points, boxes, strict=True):
        framed = detection.frame(Landmarks(0.0, one))
        np.testing.assert_allclose(floats(box)[0], [framed.x, framed.y, framed.size, framed.angle], atol=1e-9)
    with Image.open(heads() / golden.read_list(heads())["photograph"]["file"]) as photograph:
        picture = view.picture(np.asarray(photograph.convert("RGB")), 128)
    assert np.abs((np.float32(floats(seen)[0]) + 1) * 127.5 - picture.ravel()).mean() < 5


def test_the_search_is_pythons(program, assets, monkeypatch, astronaut):
    """Given what Python's looks saw, it looks at the same and finds the same, step by step."""
    photographs = [placed(astronaut, **case)[0] for case in SEARCHED]
    searches = [(photograph, recorded(photograph, monkeypatch)) for photograph in photographs]
    monkeypatch.setattr(search, "find", lambda picture: np.zeros((0, 17)))
    for width, height in ((1600, 1200), (300, 2000)):
        photograph = np.zeros((height, width, 3), np.uint8)
        searches.append((photograph, recorded(photograph, monkeypatch)))
    commands = []
    for photograph, ours in searches:
        looks = "|".join(";".join(",".join(map(str, row)) for row in rows) for rows in ours.rows)
        commands.append(f"search {photograph.shape[1]} {photograph.shape[0]} {looks}")
    for (_, ours), line in zip(searches, run(program, assets, *commands), strict=True):
        views, boxes = map(floats, line.split("|"))
        np.testing.assert_allclose(views, ours.views, rtol=1e-9, atol=1e-9)
        expected = [(box.x, box.y, box.size, box.angle) for box in ours.boxes]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), np.reshape(expected, (-1, 4)), rtol=1e-9, atol=1e-9)


def test_feature_is_the_heads_with_its_noise(program, assets):
    plain, noisy = golden.read_list(heads())["heads"]
    box = "{x} {y} {size}".format(**plain["golden"]["box"])
    found = run(program, assets, f"feature {box} 0 1", f"feature {box} 1 {DRAWS}", "feature 0 0 40 0 1")
    expected = np.float32(plain["golden"]["features"])
    assert np.float32(found[0].split(",")).tolist() == expected.tolist()
    drawn = np.array([[float(value) for value in draw.split(",")] for draw in found[1].split(";")])
    assert noisy["manifest"]["noise"]["sigma"] == NOISE.sigma and len(np.unique(drawn, axis=0)) == DRAWS
    clipped = expected * NOISE.clip / max(np.linalg.norm(expected), NOISE.clip)
    noise = (drawn - clipped) / NOISE.sigma
    assert np.abs(noise.mean(0)).max() < 6 / np.sqrt(DRAWS) and abs(noise.std() - 1) < 6 / np.sqrt(2 * noise.size)
    # Off this grid the last bits of a sum would tell which feature it comes from.
    steps = np.float64(np.float32(drawn)) / gaussian.grid(NOISE.sigma)  # what is sent is float32
    assert np.abs(noise).max() < 8 and (steps == np.rint(steps)).all()
    assert found[2] == "The head gave values that are not finite."
    (refused,) = run(program, assets, f"coded {box} 1 3.0 - -")
    assert refused == "This head has no code, and takes no epsilon or slot."


def joined(values) -> str:
    return ",".join(map(str, values))


def test_golden_draws_and_permanent_answers_of_codes(program, assets):
    listed = json.loads((TESTS / "golden" / "codes.json").read_text())
    commands = [f"draw {one['k']} {one['epsilon']} {joined(one['symbols'])}" for one in listed["draws"]]
    for one in listed["permanent"]:
        slot, book = (one[key].encode().hex() for key in ("slot", "book"))
        commands.append(f"permanent {one['k']} {one['epsilon']} {one['secret']} {slot} {book}")
    rng = np.random.default_rng(2)
    others = [(int(rng.integers(2, 257)), float(2 ** rng.uniform(-16, np.log2(20)))) for _ in range(40)]
    commands += [f"draw {k} {budget!r} 0" for k, budget in others]
    found = run(program, assets, *commands)
    drawn, answered = found[: len(listed["draws"])], found[len(listed["draws"]) :]
    assert drawn == [f"{one['lie']};{joined(one['sent'])}" for one in listed["draws"]]
    assert answered[: len(listed["permanent"])] == [joined(one["answers"]) for one in listed["permanent"]]
    lies = [int(line.split(";")[0]) for line in answered[len(listed["permanent"]) :]]
    assert lies == [RandomizedResponse(k, budget)._lie for k, budget in others]


def test_the_symbol_of_a_feature_is_pythons(program, assets):
    rng = np.random.default_rng(4)
    words = rng.normal(0, 1, (5, 3))
    kernel = tuple(map(tuple, (2 * words.T).tolist()))
    book = Codebook(kernel, tuple((-(words**2).sum(1)).tolist()), (0, 1, 2, 3, 1))
    (assets / "codebook.json").write_text("\n".join(flat(book.describe())))
    features = np.float32(rng.normal(0, 1, (200, 3)))
    (found,) = run(program, assets, "symbols " + ";".join(joined(row.tolist()) for row in features))
    assert found == joined(book.encode(features).tolist())


def test_a_coded_head_sends_symbols_under_its_budget(program, coded_assets, tmp_path):
    (entry,) = golden.read_list(coded_heads())["heads"]
    box = "{x} {y} {size}".format(**entry["golden"]["box"])
    (true,) = coded().book.encode(np.float32([entry["golden"]["features"]])).tolist()
    secret, slot = "07" * 32, "Ångström"
    commands = [f"coded {box} 200 20.0 - -", f"coded {box} 2000 - - -"]
    commands += [f"coded {box} 20 1.0 {secret} {slot.encode().hex()}", f"coded {box} 1 0.0 - -", "coded 0 0 40 1 - - -"]
    commands += [f"coded {box} 1 1.0 {secret} ", f"coded {box} 1 NaN - -"]
    sure, default, again, *refused = run(program, coded_assets, *commands)
    assert floats(sure) == [[true, 20]] * 200  # a lie has a chance of 2e-9
    default = np.array(floats(default))
    same = float(RandomizedResponse(2, EPSILON).probability_same)
    assert (default[:, 1] == EPSILON).all()
    assert abs((default[:, 0] == true).mean() - same) < 6 * np.sqrt(same * (1 - same) / 2000)
    permanent = PermanentResponse(RandomizedResponse(2, 1.0), bytes.fromhex(secret), slot, coded().book.name)
    assert floats(again) == [[permanent.send([true])[0], 1]] * 20
    budget, infinite, empty, nan = refused
    assert "is not a budget for a code" in budget and "is not a budget for a code" in nan
    assert infinite == "The head gave values that are not finite." and empty == "A slot cannot be empty."


def test_a_code_is_answered_by_the_server(program, coded_assets, tmp_path):
    coded().export_tail(tmp_path / "served")
    with Server(tmp_path / "served" / CODED, CODED, timeout=300) as server:
        answers = run(program, coded_assets, *(f"ask 0 {server.url} {symbol}.0,0.5" for symbol in (0, 1)))
    found = [json.loads(answer)["predictions"][0] for answer in answers]
    np.testing.assert_allclose(found, coded().classify(np.float32([[0, 0.5], [1, 0.5]])), atol=1e-6)


def test_question_is_answered_by_the_server(program, assets, tmp_path):
    model = models()[0]
    model.export_tail(tmp_path / "served")
    feature = np.float32(golden.read_list(heads())["heads"][0]["golden"]["features"])
    with Server(tmp_path / "served" / PLAIN, PLAIN, timeout=300) as server:
        (answer,) = run(program, assets, f"ask 0 {server.url} {','.join(map(str, feature.tolist()))}")
    np.testing.assert_allclose(json.loads(answer)["predictions"], model.classify(feature[None]), atol=1e-6)

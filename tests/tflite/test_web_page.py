"""The demo page end to end: a real server, headless Chromium, LiteRT.js."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from released_fakes import CODED, EPSILON, JOINT, NOISE, NOISY, PLAIN, WEB, coded, coded_heads, heads, models

import privzoo
from privzoo import faces
from privzoo.edge import golden
from privzoo.errors import ConfigError, WeightsError
from privzoo.mechanisms.budget import rounded_up
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.serving import Server
from privzoo.serving.front.demo_page import RUNTIME, check_folder

pytestmark = pytest.mark.server

TESTS = Path(__file__).resolve().parents[1]
RELEASED = WEB.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [
    what
    for what, there in (
        ("Chromium", CHROMIUM),
        ("node", shutil.which("node")),
        ("LiteRT.js and playwright-core (npm ci --prefix tflite/web)", (WEB / "node_modules/playwright-core").is_dir()),
    )
    if not there
]
needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def visit(url: str, folder: Path, photograph: Path, turned: Path, faceless: Path) -> dict:
    """What tests/web/page.mjs saw on the page."""
    command = ["node", TESTS / "web" / "page.mjs", f"{url}/demo/web/", CHROMIUM, WEB / "package.json"]
    command += [photograph, turned, faceless, folder / "page.png"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with the page; its tail is that of the first head."""
    folder = tmp_path_factory.mktemp("served")
    models()[0].export_tail(folder)
    with Server(folder / PLAIN, PLAIN, flags=["--demo_page", str(heads())], timeout=300) as started:
        yield started


@pytest.fixture(scope="module")
def seen(server, tmp_path_factory, astronaut):
    folder = tmp_path_factory.mktemp("page")
    Image.fromarray(astronaut).save(folder / "photo.jpg", quality=95)
    turned(astronaut).save(folder / "turned.jpg", quality=95)
    Image.new("RGB", (300, 200), "teal").save(folder / "faceless.png")
    pictures = (folder / name for name in ("photo.jpg", "turned.jpg", "faceless.png"))
    return visit(server.url, folder, *pictures) | {"url": server.url}


def turned(astronaut) -> Image.Image:
    """The portrait on its side, of another size."""
    return Image.fromarray(astronaut).rotate(-90).resize((500, 500))


@needs_browser
def test_faces_are_found_where_python_finds_them(seen, astronaut):
    assert seen["detector"] == "blazeface"
    assert seen["faceless"]["said"].startswith("No face was found")
    assert seen["cameraFramed"]["said"].startswith("No face was found")  # Chromium's camera shows a moving dial
    for found, photograph in (
        (seen["framed"], astronaut),
        (seen["framedTurned"], np.asarray(turned(astronaut))),
    ):
        assert found["said"] == "A face was found."
        box, expected = found["box"], faces.detect(photograph)[0]
        assert abs(box["size"] - expected.size) < 0.05 * expected.size
        assert max(abs(box["x"] - expected.x), abs(box["y"] - expected.y)) < 0.05 * expected.size
        assert abs(box["angle"] - expected.angle) < 5


@needs_browser
def test_same_label_and_numbers_as_python_on_the_golden_photograph(seen):
    entry = golden.read_list(heads())["heads"][0]
    assert seen["golden"] <= 1
    assert seen["example"]["label"] == entry["golden"]["label"]
    sent = json.loads(seen["example"]["body"])
    assert set(sent) == {"signature_name", "instances"}
    assert sent["signature_name"] == entry["manifest"]["tail"]["signature"]
    assert np.abs(np.subtract(sent["instances"][0], entry["golden"]["features"])).max() <= entry["golden"]["tolerance"]
    assert [float(text) for text in seen["example"]["sent"]] == sent["instances"][0]
    assert f"{len(seen['example']['body'])} bytes as JSON" in seen["example"]["sentBytes"]


@needs_browser
@pytest.mark.skipif(not (RELEASED / "manifest.json").is_file(), reason="tflite/manifest.json is not released yet")
def test_every_released_head_gives_its_golden_output(tmp_path):
    """The heads that visitors get, not small ones made for the tests."""
    models()[0].export_tail(tmp_path)
    with Server(tmp_path / PLAIN, PLAIN, flags=["--demo_page", str(RELEASED)], timeout=300) as started:
        command = ["node", TESTS / "web" / "released.mjs", f"{started.url}/demo/web/", CHROMIUM, WEB / "package.json"]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    shares = json.loads(done.stdout)
    assert len(shares) == len(golden.read_list(RELEASED)["heads"]) and max(shares) <= 1


@needs_browser
@pytest.mark.skipif(not (RELEASED / "manifest.json").is_file(), reason="tflite/manifest.json is not released yet")
def test_a_picture_of_the_page_with_the_recommended_model(tmp_path):
    """Writes `docs/demo_page.png` anew where PRIVZOO_PICTURE names it."""
    picture = Path(os.environ.get("PRIVZOO_PICTURE") or tmp_path / "page.png").absolute()
    name = golden.read_list(RELEASED)["heads"][0]["manifest"]["model"]
    privzoo.load(name).export_tail(tmp_path)
    with Server(tmp_path / name, name, flags=["--demo_page", str(RELEASED)], timeout=300) as started:
        command = ["node", TESTS / "web" / "picture.mjs", f"{started.url}/demo/web/", CHROMIUM, WEB / "package.json"]
        command += [RELEASED / golden.read_list(RELEASED)["photograph"]["file"], picture]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "blazeface"
    with Image.open(picture) as taken, Image.open(RELEASED.parent / "docs" / "demo_page.png") as shown:
        assert taken.width == shown.width == 390
        assert abs(taken.height - shown.height) < 100, "the page has changed: take docs/demo_page.png again"


@needs_browser
def test_shows_what_a_cloud_would_get_otherwise(seen):
    size = (heads() / golden.read_list(heads())["photograph"]["file"]).stat().st_size
    assert f"the photograph, {size:,} bytes" in seen["example"]["pictureBytes"]
    assert f"{48 * 48 * 3:,} bytes" in seen["example"]["pictureBytes"]
    assert seen["example"]["attack"] == "not measured yet."
    assert "no noise" in seen["example"]["noise"]


@needs_browser
def test_nothing_comes_from_or_goes_elsewhere_and_the_page_fits_a_phone(seen):
    assert all(url.startswith((seen["url"], "blob:", "data:")) for url in seen["urls"])
    assert seen["quiet"] == []
    assert seen["overflow"] <= 0


@needs_browser
def test_photographs_cameras_and_taps(seen):
    for answer in (seen["photograph"], seen["eyes"], seen["camera"]):
        assert answer["label"] in models()[0].classes
        assert len(json.loads(answer["body"])["instances"][0]) == 4
    assert seen["photograph"]["body"] != seen["eyes"]["body"]
    assert "photograph" not in seen["camera"]["pictureBytes"]


@needs_browser
def test_troubles_are_told_in_one_sentence(seen):
    assert seen["noPicture"].startswith("This file is not a picture")
    assert seen["cameraRefused"].startswith("The camera is not allowed")
    assert seen["serverDown"].startswith("The server cannot be reached")
    assert seen["incomplete"].startswith("Part of this page could not be loaded")
    assert seen["otherModel"] == f"The server has no model {NOISY}; start it with --model_name {NOISY}."


@needs_browser
def test_noise_is_drawn_on_the_device_and_is_never_the_same(seen):
    entry = golden.read_list(heads())["heads"][1]
    features = np.asarray(entry["golden"]["features"])
    clipped = features * min(1, NOISE.clip / np.linalg.norm(features))
    one, other = (np.asarray(json.loads(answer["body"])["instances"][0]) for answer in seen["noisy"])
    assert not np.any(one == other)
    for sent in (one, other):
        assert np.abs(sent - clipped).max() < 8 * NOISE.sigma
    assert seen["noisy"][0]["label"] == "female"
    assert "2.1% for the strongest attack measured (1.2% to 3.4%; identity attack, top-1" in seen["noisy"][0]["attack"]
    assert "fresh noise of standard deviation 0.500" in seen["noisy"][0]["noise"]
    assert f"(epsilon {rounded_up(Gaussian(NOISE.sigma, NOISE.clip).epsilon())}, delta" in seen["noisy"][0]["noise"]


@pytest.fixture(scope="module")
def seen_coded(tmp_path_factory):
    """What tests/web/coded.mjs saw of a page with a coded head, beside a server with its tail."""
    folder = tmp_path_factory.mktemp("coded")
    coded().export_tail(folder)
    with Server(folder / CODED, CODED, flags=["--demo_page", str(coded_heads())], timeout=300) as started:
        command = ["node", TESTS / "web" / "coded.mjs", f"{started.url}/demo/web/", CHROMIUM, WEB / "package.json"]
        command.append(folder / "page.png")
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_browser
def test_a_coded_head_sends_one_symbol_and_the_budget_that_was_chosen(seen_coded):
    entry = golden.read_list(coded_heads())["heads"][0]
    true = int(coded().book.encode(np.float32([entry["golden"]["features"]]))[0])
    body = seen_coded["sure"]["body"]
    assert body["signature_name"] == entry["manifest"]["tail"]["signature"]
    assert body["instances"] == [{"symbol": true, "epsilon": 20}]  # at epsilon 20 a lie has a chance of 2e-9
    assert seen_coded["sure"]["sent"] == [str(true), "20"]
    assert seen_coded["sure"]["label"] == entry["golden"]["label"]
    expected = JOINT[:, true] / JOINT[:, true].sum()
    assert [float(share) for share in re.findall(r"([\d.]+)%", seen_coded["sure"]["probabilities"])] == pytest.approx(
        100 * expected, abs=0.06
    )
    assert seen_coded["sure"]["sentBytes"].startswith("One of 2 symbols, 1 byte")
    assert seen_coded["console"] == [] and seen_coded["overflow"] <= 0


@needs_browser
def test_the_page_says_what_the_chosen_budget_promises(seen_coded):
    assert seen_coded["default"]["epsilon"] == f"{EPSILON:g}"
    assert "more than 1.91% of 100 equally likely people" in seen_coded["default"]["promise"]
    assert "Epsilon 20 guarantees" in seen_coded["promise"] == seen_coded["sure"]["noise"]
    assert seen_coded["sure"]["attack"].startswith("at most 2.00% of 100 people")
    assert all("is not a budget for a code" in sentence for sentence in seen_coded["refused"])


@needs_browser
def test_permanent_answers_are_repeated_and_outlive_the_page(seen_coded):
    assert set(seen_coded["fresh"]) == {0, 1}  # of 24 coins
    assert seen_coded["noSlot"] == "Enter who or what the repeated answers are about: a name, or a day."
    assert len(set(seen_coded["anna"])) == 1 and seen_coded["later"] == seen_coded["anna"][:4]
    assert set(seen_coded["slots"]) == {0, 1} and seen_coded["slotsLater"] == seen_coded["slots"]
    assert "at most epsilon 0.0002" in seen_coded["repeat"]
    # 20, 24 fresh answers, and as much as both symbols of one slot.
    assert seen_coded["spent"].endswith(f"epsilon {20 + 24e-4 + 2e-4:.6g}.")
    secret = seen_coded["secret"]
    assert (secret["algorithm"]["length"], secret["extractable"]) == (256, False)
    assert secret["raw"] == "InvalidAccessError"


@pytest.mark.skipif(not (WEB / "node_modules/@litertjs").is_dir(), reason="needs npm ci --prefix tflite/web")
def test_the_server_gives_the_page_and_still_speaks_its_protocol(server):
    for path, kind in (("web/", "text/html"), ("web/page.js", "text/javascript"), ("manifest.json", "json")):
        with urllib.request.urlopen(f"{server.url}/demo/{path}") as response:
            assert kind in response.headers["content-type"]
    for path in ("demo/no/such", "demo/../setup.cfg", "demo/%2e%2e/%2e%2e/etc/passwd", ""):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/{path}")
        assert refused.value.code == 404 and "error" in json.loads(refused.value.read())


def test_a_folder_without_the_page_is_refused(tmp_path):
    (tmp_path / "web").mkdir()
    with pytest.raises(ConfigError, match="holds no demo page"):
        check_folder(tmp_path)
    (tmp_path / "web" / "index.html").touch()
    with pytest.raises(ConfigError, match="npm ci"):
        check_folder(tmp_path)
    runtime = tmp_path / RUNTIME
    runtime.parent.mkdir(parents=True)
    runtime.touch()
    with pytest.raises(WeightsError, match="There is no list of heads"):
        check_folder(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "heads": [{"file": "a.tflite"}]}))
    with pytest.raises(ConfigError, match=r"lacks the head a\.tflite"):
        check_folder(tmp_path)
    (tmp_path / "a.tflite").touch()
    assert check_folder(tmp_path) == tmp_path

"""The released heads: their list, golden input and output, and the page that says how to use them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from evaluating import accuracy
from PIL import Image
from released_fakes import CODED, DIMENSIONS, NOISY, PLAIN, ROOT, WEB, coded, coded_heads, heads, models

from privzoo import faces
from privzoo.audit import features
from privzoo.edge import Client, Head, golden, read_manifest
from privzoo.errors import ConfigError, WeightsError
from privzoo.export import released
from privzoo.export.manifests import append_manifest
from privzoo.serving import Server

pytestmark = pytest.mark.server

RELEASED = ROOT / "tflite"
README = (RELEASED / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code of a language in tflite/README.md."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path) -> Path:
    """The released heads, to be spoilt."""
    shutil.copytree(heads(), tmp_path / "tflite", ignore=shutil.ignore_patterns("web"))
    return tmp_path / "tflite"


def rewrite(folder: Path, **changed) -> None:
    listed = json.loads((folder / "manifest.json").read_text())
    listed["heads"][0].update(changed.pop("head", {}))
    (folder / "manifest.json").write_text(json.dumps(listed | changed))


def test_the_list_says_everything_of_each_head():
    listed = golden.read_list(heads())
    assert [entry["model"] for entry in listed["heads"]] == [PLAIN, NOISY]
    assert set(listed["preprocessing"]) == {"document", "chip", "tensor"}
    for entry in listed["heads"]:
        content = (heads() / entry["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert entry["manifest"] == read_manifest(heads() / entry["file"])
        assert entry["manifest"]["quantization"] == entry["quantization"] == "int8"
        assert (entry["kind"], entry["measured"]) == ("full", False)
    assert [entry["manifest"]["noise"] is None for entry in listed["heads"]] == [True, False]


def test_golden_chip_is_cut_from_the_golden_photograph():
    listed = golden.read_list(heads())
    photograph = faces.decode(heads() / listed["photograph"]["file"])
    assert hashlib.sha256(photograph.tobytes()).hexdigest() == listed["photograph"]["rgb_sha256"]
    for entry in listed["heads"]:
        chip = faces.crop(photograph, faces.Box(**entry["golden"]["box"]), entry["manifest"]["input"]["size"])
        assert hashlib.sha256(chip.tobytes()).hexdigest() == entry["golden"]["chip_rgb_sha256"]
        assert np.array_equal(chip, np.asarray(Image.open(heads() / entry["golden"]["chip"])))


def test_golden_output_is_the_heads_before_its_noise():
    plain, noisy = golden.read_list(heads())["heads"]
    chip = np.asarray(Image.open(heads() / plain["golden"]["chip"]))[None]
    features = Head(heads() / plain["file"]).features(chip)
    assert features[0].tolist() == plain["golden"]["features"] == noisy["golden"]["features"]
    assert len(features[0]) == DIMENSIONS and 0 < plain["golden"]["tolerance"] < np.abs(features).max()
    probabilities = models()[0].classify(features)[0]
    assert plain["golden"]["label"] == models()[0].classes[int(probabilities.argmax())]
    np.testing.assert_allclose(list(plain["golden"]["probabilities"].values()), probabilities, atol=1e-6)


def test_verify():
    shares = golden.verify(heads())
    assert set(shares) == {entry["file"] for entry in golden.read_list(heads())["heads"]}
    assert all(share == 0 for share in shares.values())


def test_another_output_is_refused(copy):
    wrong = golden.read_list(copy)["heads"][0]["golden"]
    rewrite(copy, head={"golden": {**wrong, "features": [0.0] * DIMENSIONS, "tolerance": 1e-6}})
    with pytest.raises(WeightsError, match="does not reproduce its golden output here"):
        golden.verify(copy)


def test_another_file_is_refused(copy):
    entry, other = golden.read_list(copy)["heads"]
    shutil.copy(copy / other["file"], copy / entry["file"])
    with pytest.raises(WeightsError, match="not the head that the list describes"):
        golden.verify(copy)
    (copy / entry["file"]).write_bytes((heads() / entry["file"]).read_bytes()[:-100])
    with pytest.raises(WeightsError, match="truncated"):
        golden.verify(copy)
    (copy / entry["file"]).unlink()
    with pytest.raises(WeightsError, match="There is no head at"):
        golden.verify(copy)


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        (None, WeightsError, "There is no list of heads at .*--released"),
        ("{", ConfigError, "not valid JSON"),
        ("[]", ConfigError, "has format None, and this privzoo reads format 1"),
        ('{"format": 2, "heads": []}', ConfigError, "has format 2"),
        ('{"format": 1}', ConfigError, "format 1"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, text, error, sentence):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(error, match=sentence):
        golden.read_list(tmp_path)


def test_nothing_to_release(tmp_path):
    for chosen, quantizations in (([], ["int8"]), (models(), [])):
        with pytest.raises(ConfigError, match="nothing to release"):
            released.release(chosen, tmp_path / "out", quantizations)
    assert not (tmp_path / "out").exists()


def test_quantizations_and_calibration_are_chosen(tmp_path):
    chips = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), np.uint8)
    listed = released.release(models()[:1], tmp_path, ["float32", "dynamic"], {PLAIN: chips})
    assert [entry["quantization"] for entry in listed["heads"]] == ["float32", "dynamic"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "golden",
        "manifest.json",
        f"{PLAIN}_dynamic.tflite",
        f"{PLAIN}_float32.tflite",
    ]


def test_a_released_head_is_measured_as_it_is(copy, tmp_path):
    """Not one that is exported for the occasion, which may have other ranges."""
    plain, _ = models()
    chips = np.random.default_rng(3).integers(0, 256, (8, plain.input_size, plain.input_size, 3), np.uint8)
    plain.export_head(copy / f"{PLAIN}_int8.tflite", "int8", chips)
    wanted = read_manifest(copy / f"{PLAIN}_int8.tflite")["head"]["sha256"]
    answers, _, sha256 = accuracy.deployed_answers(plain, "int8", chips, False, copy)
    assert sha256 == wanted and answers.shape == (1, 8) and answers.max() < len(plain.classes)
    assert features.deployed_view(plain, "int8", tmp_path / "cache", copy).sha256 == wanted
    assert accuracy.deployed_answers(plain, "int8", chips, False)[-1] != wanted
    other = SimpleNamespace(card=plain.card, name="other", manifest=lambda: {"head": {"weights_sha256": "0" * 64}})
    with pytest.raises(WeightsError, match="was not exported from the weights of other"):
        released.find(other, "int8", copy)
    assert released.find(plain, "float16", copy) is None
    (copy / f"{PLAIN}_int8.tflite").rename(copy / "another_int8.tflite")
    assert released.find(plain, "int8", copy) == copy / "another_int8.tflite"
    with pytest.raises(WeightsError, match="holds no exported heads"):
        released.find(plain, "int8", tmp_path)


def test_a_codes_head_is_its_bases_to_the_bit_and_heads_can_be_kept(tmp_path):
    plain, code = models()[0], coded()
    chips = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), np.uint8)
    listed = released.release([code, plain], tmp_path, calibration={PLAIN: chips})
    assert [entry["model"] for entry in listed["heads"]] == [CODED, PLAIN]
    one, other = (entry["manifest"] for entry in listed["heads"])
    assert one["head"] == other["head"] and one["noise"]["kind"] == "randomized_response" and other["noise"] is None
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tflite")}
    assert released.release([code, plain], tmp_path, calibration={PLAIN: chips}, keep=True) == listed
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tflite")} == before
    # Of other weights than the model's, a base's file is not a base, and nothing is kept.
    stranger = {**read_manifest(tmp_path / f"{PLAIN}_int8.tflite")}
    stranger["head"] = {**stranger["head"], "weights_sha256": "0" * 64}
    flatbuffer = (tmp_path / f"{PLAIN}_int8.tflite").read_bytes()[: stranger["head"]["bytes"]]
    for name in (PLAIN, CODED):
        (tmp_path / f"{name}_int8.tflite").write_bytes(append_manifest(flatbuffer, stranger))
    [entry] = released.release([code], tmp_path, keep=True)["heads"]
    assert entry["manifest"]["head"]["weights_sha256"] == one["head"]["weights_sha256"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--figures", "--out", "x"], "give --released with it"),
        (["--keep", "--out", "x"], "--keep applies to released heads only; give --released with it"),
        (["--released", "--model", "no_such_*"], "No model matches 'no_such_\\*'"),
        (["--released", "--quantizations", "int3"], "There is no quantization 'int3'"),
        (["--model", "*"], "give one with --out"),
        (["--released", "--calibration_dir", "x", "--data_dir", "y"], "choose one"),
    ],
)
def test_command_refuses_nonsense(arguments, sentence):
    command = [sys.executable, ROOT / "tools" / "export.py", *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode != 0 and re.search(sentence, done.stderr), done.stderr


needs_release = pytest.mark.skipif(
    not (RELEASED / "manifest.json").exists(), reason="no head is released yet: tools/export.py --released"
)


@needs_release
def test_the_released_heads_give_their_golden_output():
    golden.verify(RELEASED)
    listed = golden.read_list(RELEASED)["heads"]
    assert {entry["file"] for entry in listed} == {path.name for path in RELEASED.glob("*.tflite")}
    assert tuple((entry["model"], entry["kind"]) for entry in listed) == released.PUBLISHED


@needs_release
def test_the_released_heads_are_those_of_the_cards():
    assert all(entry["measured"] for entry in golden.read_list(RELEASED)["heads"])


@needs_release
def test_the_lists_figures_are_the_cards(tmp_path):
    """Else tools/export.py --released --figures is to be run."""
    listed = golden.read_list(RELEASED)
    forgetful = listed | {"heads": [entry | {"measured": False, "measurements": []} for entry in listed["heads"]]}
    (tmp_path / golden.LIST).write_text(json.dumps(forgetful))
    released.renew(tmp_path)
    assert golden.read_list(tmp_path) == listed


@pytest.mark.skipif(
    "PRIVZOO_TFLITE_RUNTIME" not in os.environ,
    reason="set PRIVZOO_TFLITE_RUNTIME to a Python with tflite-runtime 2.14, numpy below 2 and Pillow",
)
@pytest.mark.parametrize(
    "folder",
    [pytest.param(lambda: RELEASED, marks=needs_release), heads, coded_heads],
    ids=["released", "tests", "code"],
)
def test_golden_output_on_tflite_runtime(folder):
    """And of coded heads the true symbol, at a budget at which a lie has a chance of 2e-9."""
    code = """
import sys, tflite_runtime
from pathlib import Path
from privzoo.edge import Head, golden
from privzoo.mechanisms import codebook
print(golden.verify(sys.argv[1]))
for entry in golden.read_list(sys.argv[1])["heads"]:
    noise = entry["manifest"]["noise"]
    if noise and noise["kind"] == "randomized_response":
        head = Head(Path(sys.argv[1]) / entry["file"], epsilon=20)
        chips, _, _ = head.prepare(Path(sys.argv[1]) / entry["golden"]["chip"], face="given")
        book = codebook.from_manifest(noise["codebook"], entry["file"])
        assert head.features(chips).tolist() == [[book.encode([entry["golden"]["features"]])[0], 20]]
assert 'ai_edge_litert' not in sys.modules
"""
    done = subprocess.run(
        [os.environ["PRIVZOO_TFLITE_RUNTIME"], "-c", code, folder()],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_readme_names_what_the_list_has():
    entry = golden.read_list(heads())["heads"][0]
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named <= set(entry) and {"file", "sha256", "manifest", "golden"} <= named


def test_readmes_python_runs(tmp_path, monkeypatch, astronaut):
    client, interpreter = blocks("python")
    monkeypatch.chdir(heads())
    exec(compile(interpreter, "tflite/README.md", "exec"), {})
    Image.fromarray(astronaut).save(tmp_path / "photo.jpg")
    coded().export_tail(tmp_path)
    file = golden.read_list(coded_heads())["heads"][0]["file"]
    monkeypatch.chdir(tmp_path)
    with Server(tmp_path / CODED, CODED, timeout=300) as server:
        for old, new in (
            ("vgg16_gender_coded_conv5_3_int8.tflite", str(coded_heads() / file)),
            ("http://cloud:8501", server.url),
        ):
            assert old in client
            client = client.replace(old, new)
        exec(compile(client, "tflite/README.md", "exec"), {"Client": Client})


def test_readmes_javascript_uses_what_the_modules_export():
    (block,) = blocks("js")
    for names, module in re.findall(r"import \{ (.*?) \} from \"\./(.*?)\"", block):
        text = (WEB / module).read_text(encoding="utf-8")
        for name in names.split(", "):
            assert re.search(rf"^export (?:async )?(?:function|class|const) {name}\b", text, re.MULTILINE), name
    if shutil.which("node"):
        command = ["node", "--check", "--input-type=module"]
        done = subprocess.run(command, input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_page_loads_nothing_from_elsewhere():
    for path in WEB.iterdir():
        if path.suffix in (".html", ".js", ".css"):
            assert not re.findall(r"https?://", path.read_text(encoding="utf-8")), path
    page = (WEB / "index.html").read_text(encoding="utf-8")
    imports = re.search(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page, "the page's policy has to allow its import map"


def test_lock_file_names_no_place_to_fetch_from():
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert lock["packages"][""]["dependencies"].keys() == {"@litertjs/core"}

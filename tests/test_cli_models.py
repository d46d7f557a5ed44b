"""Commands that load a released model: predict, export, serve."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from cli_helpers import MODEL, privzoo_process
from PIL import Image

import privzoo
from privzoo import cli, faces
from privzoo.edge import Client, Head

pytestmark = pytest.mark.all_models


@pytest.fixture(scope="module")
def photograph(tmp_path_factory, astronaut) -> str:
    path = tmp_path_factory.mktemp("photograph") / "a portrait.png"
    Image.fromarray(astronaut).save(path)
    return str(path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict:
    """What `privzoo export --json` printed, for a float32 head and its tail."""
    folder = tmp_path_factory.mktemp("exported") / "new folder"
    done = privzoo_process("export", MODEL, "--out", str(folder), "--quantization", "float32", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout) | {"folder": folder}


def test_predict_prints_nothing_but_the_answers(photograph):
    done = privzoo_process("predict", MODEL, photograph, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    printed = json.loads(done.stdout)
    (answer,) = printed["answers"]
    assert printed["skipped"] == [] and printed["noise"] is None
    assert answer["image"] == photograph
    assert (answer["number"], answer["faces"], answer["rotation"]) == (1, 1, 0) and 0.7 < answer["score"] <= 1
    assert answer["face"].keys() == {"x", "y", "size"}
    expected = privzoo.load(MODEL).predict(photograph)[0]
    classes = privzoo.show(MODEL).network.classes
    assert answer["label"] == classes[int(expected.argmax())]
    assert tuple(answer["probabilities"]) == classes
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected, atol=1e-5)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_predict_takes_given_chips_of_many_images(photograph, astronaut, tmp_path, capsys):
    box = faces.detect(astronaut)[0]
    chip = tmp_path / "chip.png"
    Image.fromarray(faces.crop(astronaut, box, privzoo.show(MODEL).network.input_size)).save(chip)
    assert cli.main(["predict", MODEL, str(chip), str(chip), "--face", "given", "--json"]) == 0
    given = json.loads(capsys.readouterr().out)["answers"]
    assert cli.main(["predict", MODEL, photograph, "--json"]) == 0
    (detected,) = json.loads(capsys.readouterr().out)["answers"]
    assert [answer["face"] for answer in given] == [None, None]
    for answer in given:
        assert (answer["number"], answer["faces"], answer["score"], answer["rotation"]) == (1, 1, None, None)
        assert answer["probabilities"] == pytest.approx(detected["probabilities"], abs=1e-5)


def test_predict_prints_a_table(photograph, capsys):
    assert cli.main(["predict", MODEL, photograph]) == 0
    header, line = capsys.readouterr().out.splitlines()
    classes = privzoo.show(MODEL).network.classes
    assert header.split() == ["image", "label", *classes, "face", "score", "turned", "by"]
    assert line.startswith(photograph) and line.endswith("°") and "  1 of 1  " in line


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.jpg", None, "no such file"),
        ("text.jpg", b"not an image", "unknown image format"),
        ("faceless.png", "grey", "no face"),
    ],
)
def test_predict_refuses_an_image_by_name(name, content, reason, tmp_path, capsys):
    path = tmp_path / name
    if content == "grey":
        Image.new("RGB", (200, 200), "grey").save(path)
    elif content is not None:
        path.write_bytes(content)
    assert cli.main(["predict", MODEL, str(path), "--json"]) == 2
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["answers"] == [] and [one["image"] for one in found["skipped"]] == [str(path)]
    assert printed.err == f"privzoo: {path}: {found['skipped'][0]['reason']}\n" and reason in printed.err


def test_export_writes_a_pair_that_belongs_together(exported):
    head = Head(exported["head"])
    assert head.manifest["model"] == MODEL == exported["model"]
    assert head.manifest["quantization"] == exported["quantization"] == "float32"
    assert exported["tail"] == str(exported["folder"] / MODEL / str(head.manifest["version"]))


def test_export_keeps_a_version_that_is_there(exported, capsys):
    arguments = ["export", MODEL, "--out", str(exported["folder"]), "--tail-only"]
    assert cli.main(arguments) == 2
    assert "already exists" in capsys.readouterr().err
    assert cli.main([*arguments, "--version", "2", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second == {"model": MODEL, "tail": str(exported["folder"] / MODEL / "2")}
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert f"--model_name {MODEL}" in capsys.readouterr().out


def test_export_into_a_file_is_refused(tmp_path, capsys):
    path = tmp_path / "file"
    path.touch()
    assert cli.main(["export", MODEL, "--out", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_serve_answers_a_client_and_ends_when_it_is_told(exported, photograph):
    command = [sys.executable, "-m", "privzoo", "serve", "--model_name", MODEL, "--port", "0", "--rest_api_port", "0"]
    command += ["--model_base_path", str(exported["folder"] / MODEL)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://\S+", server.stdout.readline())[0]
            with Client(Head(exported["head"]), url) as client:
                (answer,) = client.predict(photograph)
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, errors) == (0, "")
    expected = privzoo.load(MODEL).predict(photograph)[0]
    np.testing.assert_allclose(list(answer.probabilities.values()), expected, atol=1e-4)


def test_serve_refuses_a_folder_without_a_model(tmp_path, capsys):
    assert cli.main(["serve", "--model_base_path", str(tmp_path), "--rest_api_port", "0"]) == 2
    assert str(tmp_path) in capsys.readouterr().err

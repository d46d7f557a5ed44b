"""`privzoo demo`: the whole path over a socket, and nothing left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import MODEL, privzoo_process
from PIL import Image

import privzoo
from privzoo import demo
from privzoo.export.released import RECOMMENDED

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A cache folder that the tests of this module share."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def environment(home, tmp_path):
    """With places of its own for the cache and for temporary files, so that leftovers show."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return os.environ | {"PRIVZOO_HOME": str(home), "TMPDIR": str(temporary)}


def processes(marker: str, command: str = "") -> list[int]:
    """Running processes that got an environment variable with this value, and have this in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            given = marker.encode() in (folder / "environ").read_bytes()
            if given and command.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def test_demo_answers_as_the_whole_model_does_and_leaves_nothing(environment, home, monkeypatch):
    monkeypatch.setenv("PRIVZOO_HOME", str(home))
    entry = demo.cache_entry(privzoo.show(MODEL))
    entry.mkdir(parents=True)
    (entry / "head.tflite").write_bytes(b"cut short")  # what a full disk leaves; the demo has to export again
    done = privzoo_process("demo", "--json", "--model", MODEL, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    (answer,) = report["answers"]
    assert report["model"] == MODEL and report["noise"] is None
    expected = privzoo.load(MODEL).predict(answer["image"])[0]
    card = privzoo.show(MODEL)
    assert answer["label"] == card.network.classes[int(expected.argmax())]
    assert set(answer["probabilities"]) == set(card.network.classes)
    assert answer["edge_ms"] > 0 and answer["cloud_ms"] > 0
    assert answer["bytes_sent"] > 0
    assert answer["image_bytes"] == Path(answer["image"]).stat().st_size
    assert report["head_share"] == pytest.approx(card.cost.head_share)
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert list(home.iterdir()) == [entry.parent] and list(entry.parent.iterdir()) == [entry]
    assert not processes(environment["TMPDIR"])


def test_second_run_prints_the_table_without_exporting_again(environment, home, tmp_path, astronaut):
    (folder,) = (home / "demo").iterdir()
    before = (folder / "head.tflite").stat()
    photograph = tmp_path / "portrait.jpg"
    Image.fromarray(astronaut).save(photograph, quality=90)
    done = privzoo_process("demo", "--model", MODEL, "--image", str(photograph), str(photograph), env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    after = (folder / "head.tflite").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    table = [line for line in done.stdout.splitlines() if line.startswith("portrait.jpg")]
    assert len(table) == 2
    assert all(f"{photograph.stat().st_size:,}" in line for line in table)
    assert "% of the multiply-adds" in done.stdout and "noise" not in done.stdout


def test_demo_of_a_noisy_model_says_what_it_gives_away(environment):
    done = privzoo_process("demo", "--model", RECOMMENDED[1], env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    card = privzoo.show(RECOMMENDED[1])
    attack = card.identity_attack()
    assert done.stdout.startswith(f"{card.model.name}: ") and attack.value < 0.1
    assert f"a feature of {card.cost.feature_bytes} bytes, with noise drawn on the device, as JSON" in done.stdout
    assert f"identified {attack.value:.1%} of the faces among 100 people" in done.stdout
    assert f"Each face spends a privacy budget of {card.budget()}." in done.stdout and "epsilon 42.9" in card.budget()


def test_demo_shows_the_recommended_model_whose_code_has_a_budget(environment):
    done = privzoo_process("demo", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    card = privzoo.show(RECOMMENDED[0])
    assert done.stdout.startswith(f"{card.model.name}: ")
    assert f"one of {card.model.code.symbols} symbols, drawn on the device by randomized response" in done.stdout
    assert f"Each face spends a privacy budget of {card.budget()}." in done.stdout
    assert "epsilon 3 at delta 0" in card.budget()
    done = privzoo_process("demo", "--json", env=environment)
    report = json.loads(done.stdout)
    assert report["noise"]["kind"] == "randomized_response" and report["feature_bytes"] == 1


def test_demo_refuses_a_faceless_image_before_it_starts_a_server(environment, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (100, 100), "white").save(blank)
    done = privzoo_process("demo", "--image", str(blank), env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"privzoo: {blank}: no face")
    assert not processes(environment["TMPDIR"])


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the server's process in /proc")
def test_ctrl_c_ends_the_demo_and_its_server(environment):
    command = [sys.executable, "-m", "privzoo", "demo"]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells have background jobs ignore it
    ) as running:
        try:
            deadline = time.monotonic() + 120
            while not processes(environment["TMPDIR"], "privzoo.serving") and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.5)  # so that the demo waits for the server, which is still starting
            running.send_signal(signal.SIGINT)
            out, errors = running.communicate(timeout=120)
        finally:
            running.kill()
    assert (running.returncode, out, errors) == (130, "", "")
    assert not processes(environment["TMPDIR"])
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_demo_skips_what_it_cannot_use(environment, tmp_path, astronaut):
    good, blank = tmp_path / "portrait.png", tmp_path / "blank.png"
    Image.fromarray(astronaut).save(good)
    Image.new("RGB", (100, 100), "white").save(blank)
    arguments = ["demo", "--model", MODEL, "--json", "--image", str(blank), str(good)]
    done = privzoo_process(*arguments, env=environment)
    assert done.returncode == 3
    report = json.loads(done.stdout)
    (answer,) = report["answers"]
    assert answer["image"] == str(good) and (answer["number"], answer["faces"], answer["rotation"]) == (1, 1, 0)
    assert [one["image"] for one in report["skipped"]] == [str(blank)]
    assert done.stderr.splitlines() == [
        f"privzoo: {blank}: {report['skipped'][0]['reason']}",
        "privzoo: 1 of 2 photographs got no answer.",
    ]
    done = privzoo_process(*arguments, "--strict", env=environment)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith(f"privzoo: {blank}: no face")

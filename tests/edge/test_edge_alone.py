"""The device's side in an environment of its own: the plain install's packages and no others."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from export_fakes import chips, exported, serving
from packaging.requirements import Requirement
from released_fakes import CODED, coded, coded_heads

from privzoo.edge import golden
from privzoo.export.calibration import default_calibration

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("tensorflow", "keras", "jax", "scipy", "skimage", "sklearn", "matplotlib", "starlette")


def plain_packages() -> dict[str, metadata.Distribution]:
    """What `pip install privzoo` without extras brings along, by setup.cfg and what that requires in turn."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    waiting = [Requirement(line) for line in config["options"]["install_requires"].split("\n") if line.strip()]
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        package = metadata.distribution(requirement.name)
        if package.name not in found:
            found[package.name] = package
            waiting += [Requirement(text) for text in package.requires or ()]
    return found


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """Python of a new virtual environment that holds the plain packages, linked rather than fetched."""
    folder = tmp_path_factory.mktemp("device")
    venv.create(folder, symlinks=True, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    for package in plain_packages().values():
        for top in {path.parts[0] for path in package.files if path.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(package.locate_file(top))

    def run(code: str, *arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
        done = subprocess.run(
            [folder / "bin" / "python", "-c", code, *arguments],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_environment_is_bare(device):
    code = "import sys, importlib.util as u; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    assert device(code, *HEAVY).strip() == "[]"


def test_head_and_client_run_there(device, tmp_path):
    np.save(tmp_path / "chips.npy", chips())
    code = """
import json, sys
import numpy as np
from privzoo.edge import Client, Head
head = Head(sys.argv[1])
chips = np.load(sys.argv[2])
np.save(sys.argv[3], head.features(chips))
with Client(head, sys.argv[4]) as client:
    print(json.dumps([answer.label for answer in client.predict(chips, face="given")]))
"""
    from privzoo.edge import Client, Head

    here = Head(exported("int8"))
    with serving() as (url, _):
        with Client(here, url) as client:
            labels = [answer.label for answer in client.predict(chips(), face="given")]
        printed = device(code, here.path, str(tmp_path / "chips.npy"), str(tmp_path / "features.npy"), url)
    assert json.loads(printed.splitlines()[-1]) == labels
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), here.features(chips()))


@pytest.mark.slow
def test_a_coded_head_runs_there(device, tmp_path):
    """Symbols, budgets, a ledger and permanent answers, and the golden draws to the bit."""
    model, (entry,) = coded(), golden.read_list(coded_heads())["heads"]
    model.export_tail(tmp_path / "served")
    path, faces = coded_heads() / entry["file"], default_calibration(model.input_size, 8)
    symbols = model.book.encode(golden.run(path, faces.astype(np.float32))).tolist()
    np.save(tmp_path / "chips.npy", faces)
    code = """
import hashlib, json, struct, sys
import numpy as np
from privzoo.edge import Client, Head
from privzoo.mechanisms.permanent import PermanentResponse, read_secret
from privzoo.mechanisms.randomized_response import RandomizedResponse
path, chips, url, folder, golden = sys.argv[1:]
chips = np.load(chips)
head = Head(path, epsilon=20, total_epsilon=400, ledger=folder + "/ledger.sqlite")
sent = head.features(chips)
with Client(Head(path, epsilon=20), url) as client:
    labels = [answer.label for answer in client.predict(chips, face="given")]
permanent = PermanentResponse(RandomizedResponse(2, 1.0), read_secret(folder + "/secret"), "anna", "book")
again = {tuple(permanent.send([0, 1]).tolist()) for _ in range(9)}

def source():
    count, kept = 0, b""
    def take(size):
        nonlocal count, kept
        while len(kept) < size:
            kept += hashlib.sha256(b"privzoo golden" + struct.pack(">I", count)).digest()
            count += 1
        taken, kept = kept[:size], kept[size:]
        return taken
    return take

with open(golden) as file:
    listed = json.load(file)
for one in listed["draws"]:
    assert RandomizedResponse(one["k"], one["epsilon"]).send(one["symbols"], source()).tolist() == one["sent"]
for one in listed["permanent"]:
    response = RandomizedResponse(one["k"], one["epsilon"])
    answers = PermanentResponse(response, bytes.fromhex(one["secret"]), one["slot"], one["book"]).send(range(one["k"]))
    assert answers.tolist() == one["answers"]
heavy = sorted({"tensorflow", "keras", "scipy"} & {name.partition(".")[0] for name in sys.modules})
print(json.dumps([sent.tolist(), labels, head.spent_epsilon(), len(again), heavy]))
"""
    from privzoo.serving import Server

    with Server(tmp_path / "served" / CODED, CODED) as server:
        arguments = [path, tmp_path / "chips.npy", server.url, tmp_path, ROOT / "tests" / "golden" / "codes.json"]
        printed = device(code, *map(str, arguments))
    sent, labels, spent, answers, heavy = json.loads(printed.splitlines()[-1])
    assert sent == [[symbol, 20] for symbol in symbols]  # a lie has a chance of 2e-9
    assert set(symbols) == {0, 1} and labels == [model.classes[symbol] for symbol in symbols]
    assert spent == 20 * len(symbols) and answers == 1 and heavy == []


def test_a_face_is_found_without_scikit_image(device):
    code = """
import sys
from privzoo import faces
from privzoo.edge import Head
chips, found, _ = Head(sys.argv[1]).prepare(sys.argv[2])
assert "skimage" not in sys.modules and faces.detector() == "blazeface"
print(chips.shape, found[0].box.size)
"""
    photograph = ROOT / "tflite" / "golden" / "astronaut.png"
    shape, size = device(code, str(exported("int8")), str(photograph)).strip().rsplit(" ", 1)
    assert shape.startswith("(1, ") and 80 < int(size) < 130


def test_import_is_light(device):
    """Processor time rather than the clock's, and the best of three: the machine may be busy."""
    code = """
import json, sys, time
import privzoo.edge
print(json.dumps([time.process_time(), sorted({name.partition(".")[0] for name in sys.modules})]))
"""
    runs = [json.loads(device(code)) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.3
    modules = set(runs[0][1])
    assert not modules & {*HEAVY, "httpx", "orjson", "ai_edge_litert"}
    assert "numpy" in modules


def test_import_is_light_where_tensorflow_is_installed():
    code = "import sys, privzoo.edge; print([n for n in sys.argv[1:] if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""What is measured of DataMix's mixtures: requests are mixed as devices mix them, and figures say what came back."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_helpers import drawings
from PIL import Image

from privzoo import config
from privzoo.audit import covers, mixtures, unmixed
from privzoo.audit.features import Faces, stored
from privzoo.audit.report import unmixing as report
from privzoo.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sides(tmp_path):
    return stored(drawings(40), tmp_path), stored(drawings(40, 1), tmp_path)


def run(row: mixtures.Setting, sides) -> dict:
    (cells,) = mixtures.cells([row], {0: sides}, seed=1)
    return mixtures.figure(row, [cell.work(json.loads(json.dumps(cell.settings)), cell.inputs) for cell in cells])


def test_faces_come_back_and_noise_hides_them(sides):
    plain = run(mixtures.Setting("", "size", size=4, requests=6), sides)
    assert plain["recovered"] > 0.95 > 0.5 > plain["untouched"] and plain["epsilon"] is None
    assert plain["recovered_low"] < plain["recovered"] and plain["faces"] == 24
    noisy = run(mixtures.Setting("", "protection", size=4, noise=20.0, requests=2), sides)
    assert noisy["recovered"] < 0.2 and noisy["epsilon"] > 1


def test_shuffled_groups_are_counted(sides):
    found = run(mixtures.Setting("", "groups", size=4, groups=3, requests=2), sides)
    assert found["groups_found"] == 1 and found["recovered"] > 0.9


@pytest.mark.parametrize("shield", [mixtures.WHITE, mixtures.PHASES])
def test_shields_are_no_faces(shield):
    row = mixtures.Setting("", "", size=4, groups=2, shields=3, shield=shield)
    images = drawings(10)
    is_face, sent = mixtures.draw(row, images, np.random.default_rng(0), request=1)
    assert is_face.tolist() == [True, False, False, False] * 2
    assert np.array_equal(sent[is_face], images[2:4])
    assert sent[~is_face].std() == pytest.approx(images.std(), rel=0.6)
    if shield == mixtures.PHASES:
        spectra = np.abs(np.fft.fft2(sent - sent.mean(axis=(1, 2), keepdims=True), axes=(1, 2)))
        models = np.abs(np.fft.fft2(images[2:4] - images[2:4].mean(axis=(1, 2), keepdims=True), axes=(1, 2)))
        ratio = [min(np.abs(one / m.max() - m / m.max()).max() for m in models) for one in spectra[~is_face]]
        assert max(ratio) < 0.2


def test_requests_are_mixed_as_devices_mix_them():
    row, images = mixtures.Setting("", "", size=4, groups=2), drawings(8)
    mixed, groups, _ = mixtures.send(row, images, np.random.default_rng(0))
    assert np.bincount(groups).tolist() == [4, 4]
    for group in range(2):  # orthogonal: a group's energy stays
        energy = np.square(images[group * 4 : group * 4 + 4]).sum()
        assert np.square(mixed[groups == group]).sum() == pytest.approx(energy, rel=1e-4)
    again = mixtures.send(row, images, np.random.default_rng(0))[0]
    assert np.array_equal(mixed, again)


def test_coarse_numbers_are_coarse():
    images = drawings(4)
    row = mixtures.Setting("", "", size=4)
    exact, rounded = (
        mixtures.send(dataclasses.replace(row, encoding=e), images, np.random.default_rng(0))[0]
        for e in ("float32", "int8")
    )
    assert 0 < np.abs(exact - rounded).max() < np.abs(exact).max() / 100


def test_a_request_needs_different_faces(tmp_path):
    with pytest.raises(DataError, match="A request of 40 faces needs as many different ones, and there are 8"):
        mixtures.draw(mixtures.Setting("", "", groups=5), drawings(8), np.random.default_rng(0), 0)


def test_every_row_has_a_name_and_can_be_drawn():
    rows = mixtures.settings([0, 1], 10, 8)
    assert [(row.size, row.blocks) for row in rows if row.part == "size"] == [
        (size, blocks) for blocks in (0, 1) for size in (2, 4, 8, 16)
    ]
    named = [row.name for row in rows if row.part != "size"]
    assert all(named) and len(set(named)) == len(named)
    assert all(row.requests >= 2 and row.shields < row.size for row in rows)


@pytest.mark.parametrize("structured", [True, False])
def test_a_face_with_new_covers_is_exact(sides, structured):
    row = covers.Linked("", 2, structured=structured)
    (cells,) = covers.cells([row], 3, *sides, seed=1)
    found = covers.figure(row, [cell.work(cell.settings, cell.inputs) for cell in cells])
    assert found["recovered"] == 1 and found["recovered_median"] > 0.9999 and found["average"] < 1


def test_the_same_covers_are_the_same_problem(sides):
    row = covers.Linked("", 3, fresh=False)
    requests, images = covers.sent_often(row, drawings(40), np.random.default_rng(0))
    assert np.linalg.matrix_rank(np.concatenate(requests).reshape(24, -1), tol=1e-1) == 8 == len(images)
    fresh, _ = covers.sent_often(dataclasses.replace(row, fresh=True), drawings(40), np.random.default_rng(0))
    assert np.linalg.matrix_rank(np.concatenate(fresh).reshape(24, -1), tol=1e-1) == 22


def test_every_photograph_is_recovered_once(monkeypatch, tmp_path):
    """With fewer photographs than whole groups, the last group is filled up."""
    monkeypatch.setattr(mixtures, "SIDE", 32)
    chips = np.repeat(drawings(11).clip(0, 255).round().astype(np.uint8), 3, axis=3)
    test = Faces("test", chips, {}, tuple(map(str, range(11))))
    other = np.repeat(drawings(30, 5).clip(0, 255).round().astype(np.uint8), 3, axis=3)
    others = Faces("others", other, {}, tuple(map(str, range(30))))
    images, alike = unmixed.recover(test, others, 0, None, tmp_path, seed=1)
    assert images.shape == (11, 32, 32) and alike.shape == (11,)
    same = [np.corrcoef(a.ravel(), b[..., 0].ravel())[0, 1] for a, b in zip(images, chips, strict=True)]
    assert np.median(same) > 0.95 and np.allclose(np.median(same), np.median(alike), atol=0.05)


def hits(settings: dict, inputs: dict) -> dict:
    """A judge who knows all originals, and all but the first person of the unmixed."""
    own = (inputs["test"].labels["identity"] != 0).astype(float)
    return {"raw": [np.ones_like(own).tolist()], "unmixed": [own.tolist()]}


def test_what_mixing_takes_is_counted_by_person(monkeypatch, tmp_path):
    chips = np.repeat(drawings(8).clip(0, 255).round().astype(np.uint8), 3, axis=3)
    people = np.array([0, 0, 0, 0, 0, 1, 2, 3])
    test = Faces("test", chips, {"identity": people}, tuple(map(str, range(8))))
    monkeypatch.setattr(unmixed, "lfw100", lambda root, size: (test, test))
    monkeypatch.setattr(unmixed, "lfw_background", lambda *given: test)
    monkeypatch.setattr(unmixed, "recover", lambda *given: (chips[..., 0], np.linspace(0.5, 1, 8)))
    monkeypatch.setattr(unmixed, "named", hits)
    monkeypatch.setattr(unmixed.descriptor, "installed", lambda: False)
    rows = unmixed.measure("x", [0, 1], config.network("vgg16_gender"), tmp_path, seed=1)
    assert [(row["blocks"], row["judge"]) for row in rows] == [
        (blocks, "identity, lda on pixels and gradients") for blocks in (0, 1)
    ]
    assert rows[0]["raw"] == 1 and rows[0]["unmixed"] == 0.75 and rows[0]["lost"] == 0.25
    assert rows[0]["photographs"] == 8 and 0 < rows[0]["recovered"] < 1


def figures(recovered: float, **more) -> dict:
    row = dataclasses.asdict(mixtures.Setting("a way", "protection", requests=9)) | {"faces": 72, "epsilon": None}
    for name in ("recovered", "beyond", "untouched"):
        row |= {name: recovered, f"{name}_low": recovered, f"{name}_high": recovered, f"{name}_median": recovered}
    return row | more


def kept(folder: Path, protected: float) -> Path:
    cover = {"name": "new covers", "recovered": 1.0, "recovered_low": 0.9, "recovered_high": 1.0}
    cover |= {"recovered_median": 1.0, "average": 0.0, "average_low": 0.0, "average_high": 0.1, "faces": 9}
    person = {"blocks": 1, "judge": "identity, dlib", "photographs": 9, "seed": 1}
    for name, value in (("raw", 0.9), ("unmixed", 0.89), ("lost", 0.01)):
        person |= {name: value, f"{name}_low": value, f"{name}_high": value}
    reduced = {"model": "m", "size": 8, "numbers": 4, "share_error": 0.1, "share_error_guessed": 0.2}
    for name, value in (("recovered", 0.3), ("guessed", 0.2)):
        reduced |= {name: value, f"{name}_low": value, f"{name}_high": value}
    content = {
        **{"date": "2026-11-27", "git": "abc", "command": "tools/unmixing.py", "seed": 1, "own": 5, "missing": ["x"]},
        "requests": [figures(0.97, part="size"), figures(0.9, part="groups", groups=4), figures(protected)],
        "covers": [cover],
        "reduced": [reduced],
        "people": [person],
    }
    path = folder / "unmixing.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "protected, said",
    [(0.97, "None of 1 ways to mix is shown to leave"), (0.03, "leave the attacker at most 5%: a way.")],
)
def test_the_section_says_what_holds(tmp_path, protected, said):
    page = tmp_path / "RESULTS.md"
    report.write(page, kept(tmp_path, protected))
    text = page.read_text()
    assert said in text and "(4 groups: 90% recovered)" in text
    assert "| 8 | pixels | 97.0 (97.0 to 97.0) | 0.970 | 97.0 | met |" in text
    assert (
        "| identity, dlib | after 1 block | 90.0 (90.0 to 90.0) |" in text and "| +1.0 (+1.0 to +1.0) | met |" in text
    )
    assert "Not measured yet: x." in text
    assert "30.0 (30.0 to 30.0)% of the features, more than the 20.0" in text
    tables = sorted(path.name for path in (tmp_path / "docs" / "results").glob("unmixing_*.csv"))
    assert tables == [f"unmixing_{part}.csv" for part in ("covers", "people", "reduced", "requests")]


# The command with three quick rows.
FEW = """
import runpy, sys
from privzoo.audit import covers, mixtures
mixtures.settings = lambda blocks, requests, tries: [
    mixtures.Setting(name, part, size=2, groups=groups, requests=requests)
    for name, part, groups in (("", "size", 1), ("shuffled", "groups", 3), ("a way", "protection", 1))
]
covers.settings = lambda: [covers.Linked("new covers, twice", 2)]
sys.path.insert(0, "tools")
sys.argv[0] = "tools/unmixing.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(*flags: str, code: str = "") -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = ["-c", code] if code else ["tools/unmixing.py"]
    return subprocess.run([sys.executable, *start, *flags], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_command_measures_and_writes(tmp_path):
    for i, image in enumerate(drawings(20 + mixtures.OWN, 3, side=40).clip(0, 255)):
        folder = tmp_path / "lfw" / f"Person_{i:03d}"
        folder.mkdir(parents=True)
        large = Image.fromarray(image[..., 0].round().astype(np.uint8)).resize((124, 124))
        large.save(folder / f"Person_{i:03d}_0001.jpg", quality=95)
    flags = [
        "--blocks=0",
        "--requests=2",
        "--tries=2",
        "--people=20",
        "--reduced=",
        "--noidentity",
        "--engine=local",
        "--noprogress",
    ]
    flags += [f"--cache_dir={tmp_path / 'cache'}", f"--out={tmp_path / 'o.json'}", f"--results={tmp_path / 'R.md'}"]
    done = command(f"--data_dir={tmp_path}", *flags, code=FEW)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "o.json").read_text())
    assert [row["name"] for row in found["requests"]] == ["", "shuffled", "a way"] and found["people"] == []
    assert found["covers"][0]["recovered"] == 1
    assert (
        "tools/unmixing.py --data_dir=DIR --blocks=0 --requests=2 --tries=2 --people=20 --reduced= --noidentity"
        in found["command"]
    )
    assert found["command"] in (tmp_path / "R.md").read_text()
    next((tmp_path / "cache" / "results").glob("*.json")).unlink()  # as after a run that was killed
    done = command(f"--data_dir={tmp_path}", *flags, "--kept_only", code=FEW)
    assert done.returncode == 0, done.stderr
    kept_only = json.loads((tmp_path / "o.json").read_text())
    # Rows that ask for the same share their results.
    assert kept_only["missing"] and sum(len(kept_only[part]) for part in ("missing", "requests", "covers")) == 4


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--data_dir=no_such_folder",), "no_such_folder"),
        (("--data_dir=x", "--blocks=a"), "--blocks a are no whole numbers; give 0,1."),
        (("--data_dir=x", "--network=vgg17"), "vgg17"),
        (("--data_dir=x", "--people=64"), "--people 64 are fewer than a request has faces; give 512 or more."),
    ],
)
def test_the_command_refuses_in_one_sentence(flags, said):
    done = command(*flags)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("unmixing: ")
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr

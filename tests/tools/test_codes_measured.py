"""tools/codes.py end to end, on a tiny zoo: figures, comparison with noise, goals, section, plot and csv."""

from __future__ import annotations

import csv
import dataclasses
import json

import codes as tool
import numpy as np
import pytest
import slim_fakes as fakes
import tiny_zoo
from absl.testing import flagsaver
from coding import measured

import privzoo
from privzoo import config, weights
from privzoo.audit.report import codes as report
from privzoo.data import Dataset, splits
from privzoo.errors import ConfigError
from privzoo.training import fitting

pytestmark = pytest.mark.slow  # models are fitted and exported

CODED = tiny_zoo.model("coded")


def with_people() -> Dataset:
    """The validation faces, two of each person."""
    data = fakes.faces()[1]
    samples = [
        dataclasses.replace(sample, labels={**sample.labels, "identity": i // 2})
        for i, sample in enumerate(data.samples)
    ]
    return Dataset(data.name, samples, {**data.classes, "identity": tuple(map(str, range(len(samples) // 2)))})


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The tiny zoo with a fitted coded model, and a folder for caches."""
    cache = tmp_path_factory.mktemp("cache")
    with fakes.installed(tmp_path_factory.mktemp("zoo")) as folder, pytest.MonkeyPatch.context() as patch:
        network = config.network(tiny_zoo.PARENT.name)
        train, held_out = fakes.faces()
        fitter = fitting.Fitter(network, tiny_zoo.parent_network(), [CODED.cut], train, held_out, cache, False)
        arrays, facts = fitter.fit(CODED)
        entry = weights.save(arrays, folder / "weights" / f"{CODED.name}.npz", "int16")
        fitted = dataclasses.replace(CODED.code, symbols=facts["symbols"])
        config.write(dataclasses.replace(CODED, weights=entry, code=fitted), folder / "models" / f"{CODED.name}.yaml")
        tiny_zoo.forget()
        patch.setattr(splits, "test_set", lambda *_: with_people())
        patch.setattr(splits, "of_network", lambda *_: fakes.faces())
        yield folder, cache


@pytest.fixture
def run(zoo, tmp_path, monkeypatch):
    """Runs the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    if not tool.FLAGS.is_parsed():
        tool.FLAGS(["codes"])
    defaults = {"data_dir": "data", "cache_dir": str(zoo[1]), "budgets": ["1", "3"], "faces": 64, "write": True}

    def call(**given):
        with flagsaver.flagsaver(**{**defaults, **given}):
            tool.main([])

    return call


def test_everything_is_measured_written_and_judged(run, zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "RECOMMENDED", (CODED.name,))
    run(model=CODED.name, results="RESULTS.md")
    path = zoo[0] / "codes" / f"{CODED.name}.json"
    kept = json.loads(path.read_text())
    assert [row["epsilon"] for row in kept["figures"]] == [1.0, 3.0] and set(kept["device"]["ms"]) > {"fresh"}
    assert {row["people"] for row in kept["figures"]} == {16} and kept["command"].startswith("tools/codes.py --model")
    assert privzoo.show(CODED.name).at_budgets["figures"] == kept["figures"]
    run(model=CODED.name, compare=True, symbols=["2", "4"], results="RESULTS.md")
    beside = json.loads((tmp_path / "docs" / "mechanisms" / "codes" / f"{CODED.name}.json").read_text())
    assert beside["noise_of"] == fakes.NAME and "--compare --faces 64" in beside["command"]
    found = [(row["mechanism"], row.get("symbols"), row["epsilon"], row["delta"]) for row in beside["rows"]]
    codes = [(report.CODE, k, epsilon, 0) for k in (2, 4) for epsilon in (1.0, 3.0)]
    assert found == [*codes, *((report.NOISE, None, epsilon, 1e-5) for epsilon in (1.0, 3.0))]
    assert all(row["low"] <= row["accuracy"] <= row["high"] and len(row["seeds"]) == 10 for row in beside["rows"])
    folder = tmp_path / "docs" / "results"
    assert (folder / report.PLOT).read_bytes().startswith(b"\x89PNG")
    assert len(list(csv.DictReader((folder / "codes_compared.csv").open()))) == len(beside["rows"])
    timed = json.loads(path.read_text())["device"]
    capsys.readouterr()
    run(model=None, goals=True, results="RESULTS.md")
    lines = capsys.readouterr().out.splitlines()
    rows = list(csv.DictReader((folder / "codes_goals.csv").open()))
    assert len(rows) == len(lines) and all(row["goal"] in line for row, line in zip(rows, lines, strict=True))
    page = (tmp_path / "RESULTS.md").read_text()
    assert "docs/results/codes.png" in page and "each at its worst budget" in page
    assert "gender, symbol on the wire | 1 byte | 1 byte | met |" in page
    run(model=CODED.name, budgets=["2"], results="")
    again = json.loads(path.read_text())
    assert [row["epsilon"] for row in again["figures"]] == [2.0] and again["device"] == timed
    assert (tmp_path / "RESULTS.md").read_text() == page


def test_noise_is_that_of_the_same_feature_where_there_is_one(zoo, monkeypatch):
    coded = privzoo.load(CODED.name)
    found, same = measured.noisy(coded)
    assert found.name == fakes.NAME and same
    coded.head.get_layer("reduce").set_weights([2 * w for w in coded.head.get_layer("reduce").get_weights()])
    found, same = measured.noisy(coded)
    assert found.name == fakes.NAME and not same
    monkeypatch.setattr(privzoo, "list_models", lambda: [CODED.name])
    with pytest.raises(ConfigError, match="puts noise on a feature like that of"):
        measured.noisy(coded)


def test_noise_is_on_a_feature_of_its_own_where_none_is_the_same(run, zoo, tmp_path, monkeypatch):
    asked, faces, noisy = [], measured.faces, measured.noisy
    monkeypatch.setattr(measured, "faces", lambda model, *rest: (asked.append(model.name), faces(model, *rest))[1])
    monkeypatch.setattr(measured, "noisy", lambda model: (noisy(model)[0], False))
    run(model=CODED.name, compare=True, symbols=["2"], results="")
    kept = json.loads((tmp_path / "docs" / "mechanisms" / "codes" / f"{CODED.name}.json").read_text())
    assert asked == [CODED.name, fakes.NAME] and kept["same_feature"] is False


def test_people_and_the_networks_own_labels_come_with_the_faces(zoo):
    model = privzoo.load(CODED.name)
    found = measured.faces(model, "data", zoo[1], None)
    assert found.features.shape == (32, tiny_zoo.DIMENSIONS) and len(set(found.people)) == 16
    whole = np.asarray(model.network(np.stack([s.image() for s in with_people().samples]).astype(np.float32)))
    assert np.array_equal(found.network, whole.argmax(1))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"compare": True, "device": True, "model": CODED.name}, "exclude each other; give one"),
        ({"goals": True, "compare": True}, "exclude each other; give one"),
        ({"model": None}, "no model to measure; give one with --model, or --goals"),
        ({"model": fakes.NAME, "compare": True, "write": False}, "has no code of a reduced feature"),
        ({"model": CODED.name, "compare": True, "symbols": ["two"]}, "--symbols two are not whole numbers or best"),
        ({"model": CODED.name, "budgets": ["low"]}, "--budgets low are not numbers"),
    ],
)
def test_nonsense_is_refused(run, given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run(**given)


def test_ones_own_networks_have_results_of_their_own_without_the_zoos_goals(run, tmp_path, monkeypatch):
    run(model=CODED.name, results="")
    monkeypatch.setattr(report, "family_of", lambda name: "mine")
    report.publish(tmp_path / "RESULTS.md", tmp_path / "docs")
    assert not (tmp_path / "RESULTS.md").exists()
    report.publish(tmp_path / "RESULTS_mine.md", tmp_path / "docs", "mine")
    page = (tmp_path / "RESULTS_mine.md").read_text()
    assert CODED.name in page and "Goals of" not in page
    folder = tmp_path / "docs" / "results" / "mine"
    assert (folder / "codes.csv").exists() and not (folder / "codes_goals.csv").exists()

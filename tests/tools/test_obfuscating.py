"""Which networks read obfuscated images, from a released model to its section in RESULTS.md."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import tiny_zoo
from obfuscating import reading, report

from privzoo import config, weights
from privzoo.errors import UnknownNameError

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The tiny zoo with an obfuscated model, and beside its parent networks that can read its images or cannot."""
    from privzoo.architectures import graph

    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        with pytest.raises(UnknownNameError, match="No obfuscated model"):
            reading.obfuscated("*")
        tiny_zoo.install_obfuscated(folder)
        other = graph.build("vgg_s", 2, input_size=tiny_zoo.SIZE)
        entry = weights.save(graph.get_weights(other), folder / "weights" / "other.npz")
        changes = {"other": {}, "of_another_task": {"task": "emotion"}, "mixed": {"mixing": tiny_zoo.MIXED.mixing}}
        for name, change in changes.items():
            network = dataclasses.replace(tiny_zoo.PARENT, name=name, weights=entry, **change)
            config.write(network, folder / "networks" / f"{name}.yaml")
        tiny_zoo.forget()
        yield folder


@pytest.fixture(scope="module")
def rows(zoo, tmp_path_factory):
    from privzoo.data import utkface

    faces = utkface.load(tiny_zoo.write_faces(tmp_path_factory.mktemp("data")), split="all")
    return list(reading.measure(reading.obfuscated("*_image"), lambda network: faces))


def test_every_network_of_the_task_reads_every_image(zoo, rows):
    import privzoo

    assert [(row["reader"], row["trained_for_it"]) for row in rows] == [("vgg_s_tiny", True), ("other", False)]
    model, (chips, classes) = privzoo.load("vgg_s_tiny_obfuscated_image"), tiny_zoo.chips()
    row = rows[0]
    # The files are JPEGs, whose faces differ from the chips by little.
    answers = model.predict(chips, face="given").argmax(1)
    assert row["obfuscated"] == pytest.approx(np.mean(answers == classes), abs=0.1)
    assert row["lost"] == pytest.approx(row["plain"] - row["obfuscated"])
    assert row["kept"] == pytest.approx(row["obfuscated"] / row["plain"])
    for name in ("plain", "obfuscated", "lost", "kept"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    cost = model.card.cost
    assert row["multiply_adds"] == pytest.approx(cost.head_multiply_adds / cost.tail_multiply_adds)
    assert row["parameters"] == pytest.approx(cost.head_parameters / cost.tail_parameters)


def test_the_section_has_both_tables_and_says_which_goals_are_met(rows, tmp_path):
    (tmp_path / "kept.json").write_text(
        json.dumps({"date": "2026-11-27", "git": "abc", "command": "tools/obfuscation.py --data_dir=DIR", "rows": rows})
    )
    report.write(tmp_path / "RESULTS.md", tmp_path / "kept.json")
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.index("vgg_s_tiny") < text.index("for which they were not trained") < text.index("met?")
    with (tmp_path / "docs" / "results" / "obfuscation.csv").open() as file:
        assert [row["reader"] for row in csv.DictReader(file)] == ["vgg_s_tiny", "other"]


def test_goals_are_judged_by_the_whole_interval():
    def row(**changed):
        found = {"model": "m", "reader": "vgg16_gender", "trained_for_it": True, "same_architecture": True}
        found |= {"faces": 100, "people": 100, "multiply_adds": 0.0492, "parameters": 0.01}
        found |= {"lost": 0.01, "lost_low": 0.0, "lost_high": 0.02, "kept": 0.9, "kept_low": 0.8, "kept_high": 1.0}
        return found | changed

    assert [met for *_, met in report.goals([row()])] == ["met", "met"]
    assert [met for *_, met in report.goals([row(lost_high=0.04, multiply_adds=0.06)])] == ["not shown", "not met"]
    assert [met for *_, met in report.goals([row(trained_for_it=False)])] == ["not shown"]
    assert [met for *_, met in report.goals([row(trained_for_it=False, kept_low=0.82)])] == ["met"]
    assert report.goals([row(trained_for_it=False, same_architecture=False)]) == []

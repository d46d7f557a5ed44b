"""How settings are chosen, on people who are not measured, and what RESULTS.md says of it."""

from __future__ import annotations

import csv
import json

import pytest
from sweeping import report

from privzoo import config
from privzoo.data import lfw
from privzoo.errors import ConfigError

MODEL = "vgg16_gender_siamese_conv5_3"


def row(trial: str, accuracy: float, named: float, people: str | None = "lfw101to200-test", **more):
    found = {"attacker": "lda", "value": named, "low": named - 0.01, "high": named + 0.01}
    told = {"trial": trial, "accuracy": accuracy, "faces": 2378, "identity": {"1": found}, "epsilon": None, "facts": {}}
    told |= {"date": "2026-11-27", "git": "abc", "seeds": [1, 2]}
    return told | ({"people": people} if people else {}) | more


def test_the_rule_takes_the_fewest_people_at_half_a_point():
    rows = [row("step=1", 0.914, 0.12), row("step=2", 0.912, 0.08), row("step=4", 0.897, 0.05)]
    assert report.choose(rows)["trial"] == "step=2"
    assert report.choose(rows[:1])["trial"] == "step=1"
    equal = [row("a=1", 0.912, 0.08), row("a=2", 0.913, 0.08)]
    assert report.choose(equal)["trial"] == "a=2"


def test_averaging_counts_where_there_is_noise():
    found = row("sigma=1", 0.9, 0.02)
    found["identity"]["100"] = {"attacker": "knn", "value": 0.05, "low": 0.03, "high": 0.07}
    assert report.leak(found).value == 0.05


def test_the_released_setting_is_found_by_its_values():
    step = config.model(MODEL).step
    assert report.is_released(MODEL, f"step={step}") and report.is_released(MODEL, f"step={int(step)},refit=false")
    assert not report.is_released(MODEL, "step=17") and not report.is_released("gone", "step=2")
    assert not report.is_released(MODEL, "steps=2")
    with pytest.raises(ConfigError, match="unknown entry 'steps'"):
        report.changed(config.model(MODEL), "steps=2")


def test_the_section_says_what_had_been_chosen_how(tmp_path):
    path, page = tmp_path / f"{MODEL}.json", tmp_path / "RESULTS.md"
    page.write_text("# Ours\n\nbefore\n")
    old = [row("step=1", 0.914, 0.12, None), row("step=2", 0.912, 0.08, None)]
    path.write_text(json.dumps(old))
    report.write(page, [path])
    text = page.read_text()
    assert (
        "would have chosen another setting for 1 of 1 models: " in text
        and "(step=1, 91.40%, over step=2, 91.20%)" in text
    )
    assert "The rule was applied" not in text and "The rule, applied to" not in text
    for trial, accuracy, named in (("step=1", 0.914, 0.1), ("step=2", 0.2, 0.09), ("step=2", 0.912, 0.07)):
        found = {key: value for key, value in row(trial, accuracy, named).items() if key not in ("trial", "seeds")}
        report.add_trial(path, trial, f"tools/sweep.py --try {trial}", (1, 2), found)
    kept = json.loads(path.read_text())
    assert [(one["trial"], report.people_of(one)) for one in kept] == [
        ("step=1", report.BEFORE),
        ("step=2", report.BEFORE),
        ("step=1", "lfw101to200-test"),
        ("step=2", "lfw101to200-test"),
    ]
    for _ in range(2):
        report.write(page, [path])
    text = page.read_text()
    assert text.startswith("# Ours\n\nbefore\n") and text.count(report.SECTION.begin) == 1
    assert "| step=2 | 91.20 | 7.0 (6.0 to 8.0) | chosen, released |" in text
    assert "The rule chooses the released settings." in text
    better = {"1": {**found["identity"]["1"], "value": 0.01}}
    report.add_trial(path, "step=1", "tools/sweep.py", (1, 2), found | {"accuracy": 0.914, "identity": better})
    report.write(page, [path])
    open_point = f"Still to do: the rule chooses a setting other than the released one for {MODEL} (chosen: step=1)"
    assert open_point in page.read_text()
    with (tmp_path / "docs" / "results" / "settings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [one["people"] for one in rows] == [report.BEFORE] * 2 + ["lfw101to200-test"] * 2
    assert rows[-1]["validation_accuracy_share"] == "0.914" and rows[-1]["seeds"] == "1 2"


def test_every_model_whose_released_setting_is_not_the_rules_is_named(tmp_path):
    path, page = tmp_path / f"{MODEL}.json", tmp_path / "RESULTS.md"
    old = [row("step=1", 0.914, 0.06, None), row("step=2", 0.914, 0.08, None)]
    path.write_text(json.dumps(old))
    report.write(page, [path])
    text = page.read_text()
    assert f"another one for 1 of 1: {MODEL} (step=1, 6.0%, over step=2, 8.0%)." in text
    other = tmp_path / "vgg16_gender_siamese_conv5_2.json"
    other.write_text(json.dumps([row("step=1", 0.9, 0.1), row("step=2", 0.9, 0.1)]))
    report.write(page, [path, other])
    assert f"Not yet attacked on these people: {MODEL}." in page.read_text()


def test_a_setting_typed_in_two_ways_is_one(tmp_path):
    path = tmp_path / f"{MODEL}.json"
    path.write_text(json.dumps([row("step=2,clip=1", 0.912, 0.08), row("clip=1.0,step=2.0", 0.912, 0.095)]))
    (choice,) = report.choices([path])
    assert [one["identity"]["1"]["value"] for one in choice.rows] == [0.095]
    found = {key: value for key, value in row("", 0.9, 0.1).items() if key not in ("trial", "seeds")}
    report.add_trial(path, "clip=1,step=2", "tools/sweep.py", (1,), found)
    assert [one["trial"] for one in json.loads(path.read_text())] == ["clip=1,step=2"]


def test_settings_are_chosen_on_other_people_than_are_measured(tmp_path):
    from PIL import Image

    for number in range(6):
        folder = tmp_path / "lfw" / f"P{number}"
        folder.mkdir(parents=True)
        for image in range(1, 12 - number):
            Image.new("RGB", (144, 144)).save(folder / f"P{number}_{image:04d}.jpg")
    measured = lfw.lfw100(tmp_path, people=3)
    chosen = lfw.lfw100(tmp_path, people=3, after=3)
    assert [side.classes["identity"] for side in (*measured, *chosen)] == [("P0", "P1", "P2")] * 2 + [
        ("P3", "P4", "P5")
    ] * 2
    assert [side.name for side in chosen] == ["lfw4to6-train", "lfw4to6-test"]

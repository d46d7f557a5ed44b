"""What is measured of a model and written into its card: seeded draws, people, classes, subgroups, misses."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import slim_fakes as fakes
import tiny_zoo
from evaluating import accuracy, results

import privzoo
from privzoo import card_files, card_text, faces, measurement
from privzoo.card import Card
from privzoo.data import Dataset, Sample
from privzoo.errors import ConfigError, FaceNotFoundError
from privzoo.evaluation import variants

SEEDS = (1, 2, 3)


def samples(count: int = 64) -> Dataset:
    """Faces with all labels, four of each person."""
    chips, classes = tiny_zoo.chips(count, 7)
    found = [
        Sample(
            f"{i}.jpg",
            lambda chip=chip: chip,
            {"gender": int(label), "identity": i // 4, "race": i % 2, "age": i},
        )
        for i, (chip, label) in enumerate(zip(chips, classes, strict=True))
    ]
    names = {"gender": ("male", "female"), "race": ("white", "black"), "identity": tuple(map(str, range(count // 4)))}
    return Dataset("fakes", found, names)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with fakes.installed(tmp_path_factory.mktemp("zoo")):
        yield privzoo.load(fakes.NAME), tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def measured(zoo):
    model, cache = zoo
    [(_, found)] = accuracy.evaluate([model], samples(), ["int8"], str, cache, False, seeds=SEEDS)
    return found


def test_every_head_has_all_figures(measured):
    every = {m.variant for m in measured}
    assert {variants.NETWORK, variants.FLOAT, "int8 TFLite head + tail", variants.budget_name(4)} <= every
    for variant in every - {"always male", "always female"}:
        metrics = {m.metric for m in measured if m.variant == variant}
        assert {"accuracy", "balanced accuracy", "macro F1", "recall of male", "recall of female"} <= metrics
    one = next(m for m in measured if m.variant.startswith("always "))
    labels = [sample.labels["gender"] for sample in samples().samples]
    assert one.metric == "accuracy" and one.value == pytest.approx(np.bincount(labels).max() / len(labels))
    alike = {m.metric: m for m in measured if "int8" in m.variant and "agreement" in m.metric}
    assert set(alike) == {variants.AGREEMENT, variants.AGREEMENT_UNDRAWN}
    # The noise changes labels of its own, which says nothing of how well the head was quantized.
    assert alike[variants.AGREEMENT_UNDRAWN].value >= alike[variants.AGREEMENT].value
    assert alike[variants.AGREEMENT_UNDRAWN].seeds == () and alike[variants.AGREEMENT].seeds == SEEDS
    for m in measured:
        assert m.low <= m.value <= m.high and m.method and 2 <= m.clusters <= len(labels) // 4


def test_noisy_figures_have_seeds_and_come_out_the_same(zoo, measured):
    model, cache = zoo
    [(_, again)] = accuracy.evaluate([model], samples(), ["int8"], str, cache, False, seeds=SEEDS)
    assert [(m.metric, m.variant, m.value, m.low) for m in again] == [
        (m.metric, m.variant, m.value, m.low) for m in measured
    ]
    seeds = {m.variant: m.seeds for m in measured if m.metric != variants.AGREEMENT_UNDRAWN}
    assert seeds[variants.FLOAT] == SEEDS == seeds["int8 TFLite head + tail"] and seeds[variants.NETWORK] == ()


def test_what_the_detector_finds_has_rows_of_its_own(zoo, measured, monkeypatch):
    model, cache = zoo
    calls = []

    def chips(image, size, face):
        calls.append(face)
        if len(calls) % 4 == 0:
            raise FaceNotFoundError("There is no face.")
        return image[None], [], []

    monkeypatch.setattr(faces, "chips", chips)
    [(_, found)] = accuracy.evaluate([model], samples(), [], str, cache, False, seeds=SEEDS, detect=True)
    values = {(m.metric, m.variant): m.value for m in found}
    given = {(m.metric, m.variant): m.value for m in measured}
    assert set(calls) == {"detect"} and values["faces found", "detector"] == 0.75
    name = f"{variants.FLOAT}, face detected"
    assert values["accuracy", name] <= 0.75 and ("accuracy", variants.FLOAT) not in values
    assert values["accuracy", f"{variants.NETWORK}, face detected"] <= given["accuracy", variants.NETWORK]


def test_a_figure_on_all_faces_takes_the_place_of_one_on_some(zoo, measured):
    model, _ = zoo
    one = next(m for m in measured if m.metric == "accuracy")
    part = dataclasses.replace(one, data=f"{one.data}{measurement.PART}8", count=1)
    other = dataclasses.replace(part, variant="another head")
    measurement.write(model.name, [part, other])
    assert {part, other} <= set(measurement.read(model.name))
    measurement.write(model.name, [one])
    assert {one, other} <= set(kept := measurement.read(model.name)) and part not in kept


def test_subgroups_go_into_the_card_and_the_tables(zoo, measured, tmp_path):
    model, cache = zoo
    data = samples(160)
    [(_, found)] = accuracy.subgroups_of([model], data, str, cache, False, seeds=SEEDS)
    card_files.write_subgroups(model.name, found)
    measurement.write(model.name, measured)
    shown = privzoo.show(model.name)
    assert (
        found["count"] == 160
        and sum(s["count"] for s in found["subgroups"] if s["gender"] and not s["race"] + s["age"]) == 160
    )
    text = str(shown)
    assert "| subgroup | all ages |" in text and "Accuracy by perceived gender, race and age" in text
    assert "| 1, 2, 3 |" in text and "the best distinguisher of two faces" in text
    assert json.loads(json.dumps(shown.to_dict()))["subgroups"]["variant"] == variants.FLOAT
    for _ in range(2):
        results.write(tmp_path / "RESULTS.md", [shown])
    page = (tmp_path / "RESULTS.md").read_text()
    answer = shown.one_answer().variant.removeprefix("always ")
    assert f"Always answering {answer} gets {shown.one_answer().value:.1%}." in page
    assert "is recognised least often" in page and "The widest gap is that of" in page
    rows = [line for line in page.splitlines() if line.startswith(f"| {model.name} |")]
    assert len(rows) == 3  # accuracy, budgets, subgroups
    folder = tmp_path / "docs" / "results"
    with (folder / "accuracy.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(shown.measurements) and float(lines[0]["value"]) == shown.measurements[0].value
    assert {line["unit"] for line in lines} == {"share"} and lines[0]["revision"] == shown.measurements[0].git
    with (folder / "subgroups.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(found["subgroups"])


def test_a_figure_on_some_faces_does_not_stand_beside_one_on_all(zoo, measured, tmp_path):
    shown, page = privzoo.show(fakes.NAME), tmp_path / "RESULTS.md"
    accuracies = [m for m in measured if m.metric == "accuracy" and m.variant == variants.FLOAT]
    part = dataclasses.replace(accuracies[0], variant=results.INT8, value=0.123)
    for data, is_there in ((part.data, True), (f"{part.data}{measurement.PART}8", False)):
        both = (*accuracies, dataclasses.replace(part, data=data))
        results.write(page, [dataclasses.replace(shown, measurements=both)])
        assert ("| 12.3 |" in page.read_text()) == is_there


def test_a_model_that_is_cut_earlier_is_in_the_csv_alone_if_there_is_one_at_the_last_cut(zoo, measured):
    shown = dataclasses.replace(privzoo.show(fakes.NAME), measurements=tuple(measured))
    network = dataclasses.replace(shown.network, architecture="vgg16")

    def cut(name: str, at: str, embedding: str = "simple") -> Card:
        model = dataclasses.replace(shown.model, name=name, cut=at, embedding=embedding)
        return dataclasses.replace(shown, network=network, model=model)

    early, last, other, mixed = (
        *(cut("early", "conv5_1"), cut("last", "conv5_3"), cut("other", "conv5_2", "siamese")),
        cut("mixed", "block1", "datamix"),
    )
    text = results.accuracy([early, last, other, mixed], "all")
    listed = [name for name in ("early", "last", "other", "mixed") if f"| {name} | 1" in text]
    assert listed == ["last", "other", "mixed"] and "also of models that are cut earlier" in text
    assert "| early | 1" in results.accuracy([early], "all")


def test_a_damaged_file_of_subgroups_is_refused(zoo):
    model, _ = zoo
    card_files.write_subgroups(model.name, {"variant": "float"})
    with pytest.raises(ConfigError, match="cannot be read"):
        card_files.read_subgroups(model.name)
    card_files.path("subgroups", model.name).unlink()
    assert card_files.read_subgroups(model.name) is None


def test_emotion_says_why_it_has_no_subgroups(zoo):
    gender = privzoo.show(fakes.NAME)
    emotion = dataclasses.replace(gender.network, task="emotion")
    assert any("FER2013 has no labels of gender" in limit for limit in card_text.limits(emotion, gender.model))
    assert not any("FER2013" in limit for limit in card_text.limits(gender.network, gender.model))

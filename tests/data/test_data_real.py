"""The loaders on the real data sets, where they are there: counts and the measuring protocols."""

from __future__ import annotations

from collections import Counter

import pytest

from privzoo.data import arabic_speech, arrays, fer2013, lfw, utkface


def spread(data, count=20):
    """Return some samples from all over a data set."""
    return data.samples[:: max(1, len(data) // count)]


def test_utkface(data_dir):
    validation = utkface.load(data_dir, split="validation")
    everything = utkface.load(data_dir / "utkface.zip", split="all")
    assert everything.skipped == {"malformed file name": 3}
    assert (len(everything), len(validation)) == (23_707 - 3, 2_378)
    assert {s.name for s in validation.samples} < {s.name for s in everything.samples}
    images, labels = arrays(spread(validation), None)
    assert images.shape[1:] == (128, 128, 3) and set(labels) == {"age", "gender", "race"}
    ages = [s.labels["age"] for s in everything.samples]
    assert (min(ages), max(ages)) == (1, 116)


def test_lfw(data_dir):
    data = lfw.load(data_dir)
    assert data.skipped == {"without one gender label": 8} and len(data) == 13_233 - 8
    assert len(lfw.load(data_dir, gender=False)) == 13_233
    assert len(data.classes["identity"]) == 5_749
    women = {s.name.split("/")[1] for s in data.samples if s.labels["gender"] == 1}
    assert {"Serena_Williams", "Condoleezza_Rice"} <= women and "Tony_Blair" not in women
    images, _ = arrays(spread(data), None)
    assert images.shape[1:] == (122, 122, 3) and (images == images[..., :1]).all()


def test_lfw100(data_dir):
    train, test = lfw.lfw100(data_dir)
    assert (len(train), len(test)) == (1_728, 816)
    assert train.classes["identity"][:3] == ("George_W_Bush", "Colin_Powell", "Tony_Blair")
    assert not {s.name for s in train.samples} & {s.name for s in test.samples}
    per_person = Counter(s.labels["identity"] for s in train.samples + test.samples)
    tested = Counter(s.labels["identity"] for s in test.samples)
    assert set(per_person) == set(tested) == set(range(100)) and max(per_person.values()) == 40
    assert all(tested[person] == count // 3 for person, count in per_person.items())
    assert all("gender" in s.labels for s in train.samples + test.samples)


@pytest.mark.parametrize(("split", "count"), [("train", 28_709), ("validation", 3_589), ("test", 3_589)])
def test_fer2013(data_dir, split, count):
    data = fer2013.load(data_dir, split)
    assert len(data) == count and not data.skipped
    assert {s.labels["emotion"] for s in data.samples} == set(range(7))
    assert arrays(spread(data), None)[0].shape[1:] == (48, 48, 3)


@pytest.mark.parametrize(
    ("split", "count", "people"), [("train", 7_200, 18), ("validation", 2_400, 6), ("test", 2_400, 6)]
)
def test_arabic_speech(data_dir, split, count, people):
    data = arabic_speech.load(data_dir, split)
    assert len(data) == count and not data.skipped
    assert len({s.person for s in data.samples}) == people and len(data.classes["identity"]) == 30
    assert set(Counter(s.labels["keyword"] for s in data.samples).values()) == {10 * people}
    assert {s.labels["round"] for s in data.samples} == set(range(1, 11))
    assert arrays(spread(data), None)[0].shape[1:] == (16_000,)

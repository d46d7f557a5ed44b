"""Trade-off curves of features with known answers, their table and their pictures."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from privzoo.audit.attacks import tradeoff
from privzoo.audit.report import plots
from privzoo.errors import ConfigError, DataError, FeatureError

PEOPLE = 8
MODEL = {"model": "vgg16_gender_reduced_simple_conv5_3", "task": "gender", "embedding": "reduced_simple"}


def classify(features: np.ndarray) -> np.ndarray:
    """A tail that looks at the first number alone."""
    second = features[:, 0] > 0
    return np.stack([~second, second], axis=1).astype(np.float32)


def features(seed: int, each: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """The first number says the class, the other three the person."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(PEOPLE), each)
    # Each person's place is the same for every seed.
    places = np.random.default_rng(99).normal(size=(PEOPLE, 3)) * 3
    told = np.where(people % 2 == 1, 3.0, -3.0)[:, None]
    return np.concatenate([told, places[people]], axis=1) + rng.normal(0, 0.2, (len(people), 4)), people


def curve(**changes) -> list[tradeoff.Point]:
    values, people = features(0)
    arguments = {"primary": (values, people % 2), "train": features(1), "test": features(2)}
    options = {"grid": (0.0, 1.0, 50.0), "seeds": (1, 2), "attackers": ("lda",)}
    return tradeoff.curve({**MODEL, "cut": "conv5_3"}, classify, **{**arguments, **options, **changes})


@pytest.fixture(scope="module")
def points() -> list[tradeoff.Point]:
    return curve()


def test_noise_trades_accuracy_for_privacy(points):
    clean, some, much = points
    assert (clean.accuracy, clean.identity) == (1, 1)
    assert clean.rank == pytest.approx(1 / PEOPLE)
    assert clean.accuracy >= some.accuracy > much.accuracy
    assert clean.rank < some.rank < much.rank
    assert clean.identity >= some.identity > much.identity
    assert much.accuracy == pytest.approx(0.5, abs=0.15)
    assert much.rank == pytest.approx(0.5 + 0.5 / PEOPLE, abs=0.1)
    for point in points:
        assert point.accuracy_low <= point.accuracy <= point.accuracy_high
        assert point.rank_low <= point.rank <= point.rank_high
        assert point.identity_low <= point.identity <= point.identity_high
    assert (some.faces, some.people, some.seeds, some.attacker) == (96, PEOPLE, "1 2", "lda")
    assert some.sigma == pytest.approx(tradeoff.deviation(features(1)[0]))


def test_clipping_counts(points):
    """Within a tiny ball, all that is left of a feature is its direction; noise is measured in the feature's units."""
    (clipped,) = curve(grid=(1.0,), radius=0.01)
    assert clipped.identity < points[1].identity


def test_table_comes_back(points, tmp_path):
    tradeoff.write_csv(points, tmp_path / "tradeoff.csv")
    assert tradeoff.read_csv(tmp_path / "tradeoff.csv") == points
    other = [dataclasses.replace(point, model="another") for point in points]
    for _ in range(2):
        tradeoff.add_csv(other, tmp_path / "tradeoff.csv")
    assert tradeoff.read_csv(tmp_path / "tradeoff.csv") == [*other, *points]
    (tmp_path / "tradeoff.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not a table of trade-offs"):
        tradeoff.read_csv(tmp_path / "tradeoff.csv")
    with pytest.raises(DataError, match="No such file"):
        tradeoff.read_csv(tmp_path / "none.csv")


def test_pictures(points):
    other = [dataclasses.replace(p, model="other", embedding="advanced", cut="conv5_1") for p in points]
    png = plots.tradeoff([*points, *other], "gender")
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert png == plots.tradeoff([*points, *other], "gender")
    faces = np.zeros((2, 16, 16), np.uint8)
    assert Image.open(io.BytesIO(plots.faces({"original": faces, "simple": faces}))).format == "PNG"
    with pytest.raises(DataError, match="no trade-off for emotion"):
        plots.tradeoff(points, "emotion")
    with pytest.raises(DataError, match="same faces"):
        plots.faces({"a": faces, "b": faces[:1]})


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"grid": ()}, ConfigError, "grid"),
        ({"grid": (-1.0,)}, ConfigError, "0 or more"),
        ({"seeds": ()}, ConfigError, "a seed"),
        ({"primary": (np.ones((3, 4)), np.ones(2))}, DataError, "3 features have 2 labels"),
        ({"primary": (np.ones((0, 4)), np.ones(0))}, DataError, "0 features"),
        ({"train": (np.ones((3, 2, 2, 4)), np.ones(3))}, FeatureError, "reduced ones"),
        ({"test": (np.full((3, 4), np.inf), np.ones(3))}, FeatureError, "finite"),
        ({"train": (np.full((4, 4), 0.1), np.arange(4) % 2)}, FeatureError, "All features are the same"),
    ],
)
def test_refuses(change, error, says):
    with pytest.raises(error, match=says):
        curve(**change)


def test_mechanisms_are_drawn_over_epsilon_the_same_each_time():
    curves = [plots.Curve(f"code, {k} symbols", (1, 2), (0.6, 0.7), (0.59, 0.7), (0.61, 0.7)) for k in range(2, 12)]
    levels = {"without privacy": 0.95}
    panels = [plots.Panel("gender", tuple(curves), plots.Curve("ceiling", (1, 2), (0.7, 0.8)), levels)]
    panels.append(plots.Panel("emotion", tuple(curves[:1]), plots.Curve("ceiling", (), ()), {}))
    png = plots.budgets(panels)
    assert Image.open(io.BytesIO(png)).width > 1.8 * Image.open(io.BytesIO(plots.budgets(panels[:1]))).width
    assert png == plots.budgets(panels)
    with pytest.raises(DataError, match="run tools/codes.py --compare"):
        plots.budgets([])

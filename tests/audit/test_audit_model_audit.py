"""The audit of a model: what is attacked, what is kept, and what the results say, on a tiny zoo and made-up faces."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_zoo
from data_fakes import encoded
from PIL import Image

import privzoo
from privzoo import card, config, measurement
from privzoo.audit import cells, features, limits, model_audit, pair_cells, raw_pixels, runner
from privzoo.audit.attacks import descriptor
from privzoo.audit.report import pairs as pair_tables
from privzoo.audit.report import tables
from privzoo.errors import ConfigError, DataError
from privzoo.mechanisms.codebook import levels
from privzoo.mechanisms.gaussian import Noise
from privzoo.mechanisms.randomized_response import RandomizedResponse
from privzoo.model import SplitModel

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
PEOPLE, PHOTOGRAPHS, STRANGERS = 100, 3, 12
NAME = "vgg_s_tiny_simple_conv5"
PLAN = functools.partial(cells.Plan, seeds=(1,), queries=(1, 10), attackers=("lda",), deep="none")


def portrait(rng, face):
    """One photograph of a face: the face with a little noise."""
    moved = np.clip(face + rng.normal(0, 4, face.shape), 0, 255).astype(np.uint8)
    return encoded(np.asarray(Image.fromarray(moved).resize((122, 122))).copy())


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """LFW of 100 people with 3 photographs and 12 with 2, its gender lists, and UTKFace."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    lists = ([], [])
    for person in range(PEOPLE + STRANGERS):
        name, face = f"P{person:03d}", rng.integers(0, 255, (8, 8, 3))
        (folder / "lfw" / name).mkdir(parents=True)
        for number in range(1, 1 + (PHOTOGRAPHS if person < PEOPLE else 2)):
            (folder / "lfw" / name / f"{name}_{number:04d}.jpg").write_bytes(portrait(rng, face))
            lists[person % 2].append(f"{name}_{number:04d}.jpg")
    (folder / "lfw_gender").mkdir()
    for gender, names in zip(("male", "female"), lists, strict=True):
        (folder / "lfw_gender" / f"{gender}_names.txt").write_text("\n".join(names))
    (folder / "UTKFace").mkdir()
    for i in range(150):
        name = f"{20 + i % 60}_{i % 2}_{i // 2 % 2}_2017{i:04d}.jpg.chip.jpg"
        (folder / "UTKFace" / name).write_bytes(portrait(rng, rng.integers(0, 255, (8, 8, 3))))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        config.write(tiny_zoo.model("simple"), folder / "models" / f"{NAME}.yaml")
        tiny_zoo.forget()
        yield privzoo.load(NAME)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def audited(model, data_folder, cache):
    """Figures of the float head and of the yardstick, and what was attacked."""
    data, plan = model_audit.Data(data_folder), PLAN(cache, deep="spatial", deep_epochs=1)
    (view,) = model_audit.views(model, ["float"], cache)
    attacks = model_audit.attacks(model, view, data, plan)
    return model_audit.measure(attacks, plan, "local", False), attacks, data


def test_every_attack_has_its_figures(audited, model):
    figures, _, _ = audited
    found = {(f["attack"], f["feature"], f["attacker"], f["metric"]) for f in figures}
    assert {
        ("identity", "features", "lda", "top-1"),
        ("identity", "features", "deep", "top-5"),
        ("identity", "label", "lda", "top-1"),
        ("identity", "logit", "lda", "top-1"),
        ("identity", "chance", "chance", "top-5"),
        ("race", "features", "lda", "balanced accuracy"),
        ("age", "features", "ridge", "mean error"),
        ("age", "features", "chance", "mean error"),
        ("rank", "features", "equation 4", "rank privacy"),
        ("race", "chance", "chance", "balanced accuracy"),
    } <= found
    for figure in figures:
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["variant"] == "float head"
        assert figure["sha256"] == model.manifest()["head"]["weights_sha256"]
    best = [f for f in figures if f["best"] and f["metric"] == "top-1" and f["feature"] == "features"]
    assert len(best) == 1 and best[0]["value"] > 0.5  # other photographs of people who differ much
    label = next(f for f in figures if f["feature"] == "label" and f["metric"] == "top-1")
    assert label["value"] < 0.1


def test_where_the_deep_attacker_goes():
    def goes(cut: str, shape: tuple, which: str) -> bool:
        card = SimpleNamespace(network=SimpleNamespace(architecture="vgg16"))
        config = SimpleNamespace(cut=cut)
        return model_audit._goes_deep(
            SimpleNamespace(card=card, config=config, head=SimpleNamespace(output_shape=shape)), which
        )

    heads = [("conv5_3", (None, 6, 6, 512)), ("conv5_1", (None, 6, 6, 512)), ("conv5_3", (None, 4))]
    found = {which: [goes(*head, which) for head in heads] for which in ("last", "spatial", "all", "none")}
    assert goes("image", (None, 96, 96, 3), "last") and not goes("image", (None, 96, 96, 3), "none")
    assert found == {
        "last": [True, False, False],
        "spatial": [True, True, False],
        "all": [True] * 3,
        "none": [False] * 3,
    }


def test_features_are_the_heads_and_are_kept(audited, model, cache, monkeypatch):
    _, attacks, data = audited
    side = attacks[0].target.test
    wanted = np.asarray(model.head(side.faces.chips.astype(np.float32)))
    np.testing.assert_allclose(side.rows(), wanted, rtol=1e-3, atol=1e-3)
    before = sorted(path.name for path in cache.glob("features_*"))
    monkeypatch.setattr(type(model.head), "__call__", None)  # nothing may run the head again
    view = features.float_view(model, cache)
    assert view.extract(data.people(model.input_size)[1]).key == side.features[0].key
    assert sorted(path.name for path in cache.glob("features_*")) == before


def test_a_photograph_on_both_sides_is_not_scored(audited):
    _, _, data = audited
    train, test = data.utkface(48)
    both = features.Faces(
        "both", *(np.concatenate([a.chips, b.chips]) for a, b in [(test, train)]), {}, (*test.ids, *train.ids)
    )
    assert both.without(train).ids == test.ids and len(both.without(train).chips) == len(test.chips)


def test_results_are_kept(audited, cache, monkeypatch):
    figures, attacks, _ = audited
    monkeypatch.setattr(runner, "_timed", None)  # nothing may be computed again
    assert model_audit.measure(attacks, PLAN(cache), "local", False) == figures


def test_noise_shares_the_features_and_asks_often(audited, model, data_folder, cache):
    _, attacks, data = audited
    noisy = SplitModel(model.card, model.network, model.head, model.tail, Noise(0.5, 5.0))
    (view,) = model_audit.views(noisy, ["float"], cache)
    own = model_audit.attacks(noisy, view, data, PLAN(cache, epsilons=(4.0,)))
    assert own[0].target.train.features == attacks[0].target.train.features
    asked = [(a.queries, a.target.noise, a.target.epsilon) for a in own if a.target.feature == "features"]
    assert {q for q, _, _ in asked} == {1, 10} and len({n for _, n, _ in asked}) == 2
    assert any(e == 4.0 for _, _, e in asked)
    assert all(a.target.epsilon for a in own if a.target.noise)
    figures = model_audit.measure(own[:2], PLAN(cache), "local", False)
    assert {f["noise"]["sigma"] for f in figures if f["feature"] == "features"} == {0.5}
    every = model_audit.measure(own, PLAN(cache), "local", False)
    table = tables.terminal(model_audit.document(noisy, every, "audit", False))
    assert "10 queries" in table and "years" in table and "rank privacy" in table
    document = model_audit.document(noisy, figures, "command", False)
    variants = [m.variant for m in model_audit.measurements(document)]
    assert any("10 queries" in v for v in variants) and len(set(variants)) == len(variants) / 2  # top-1 and top-5


@pytest.fixture(scope="module")
def coded(model):
    """A coded model: three numbers of the cut's activation, whose first has two levels."""
    import keras

    from privzoo.embeddings.coded import tail_of

    keras.utils.set_random_seed(0)
    pooled = keras.layers.GlobalAveragePooling2D()(model.head.output)
    head = keras.Model(model.head.input, keras.layers.Dense(3, use_bias=False)(pooled))
    chips, _ = tiny_zoo.chips()
    middle = float(np.median(np.asarray(head(chips.astype(np.float32)))[:, 0]))
    book = levels(np.array([1.0, 0.0, 0.0]), 0.0, np.array([middle]))
    tail = tail_of(np.array([[0.4, 0.1], [0.1, 0.4]]))
    return SplitModel(model.card, model.network, head, tail, RandomizedResponse(2, 3.0), book)


PAIRS = pair_cells.Protocol(folds=5, matched=40, mismatched=400, learnt=200, candidates=8)


def test_codes_are_attacked_at_each_budget_and_stay_below_their_bound(coded, data_folder, cache):
    data, plan = model_audit.Data(data_folder), PLAN(cache, queries=(1, 100), epsilons=(1.0,))
    (view,) = model_audit.views(coded, ["float"], cache)
    attacks = model_audit.attacks(coded, view, data, plan)
    figures = model_audit.measure(attacks, plan, "local", False)
    asked = {(f["noise"]["epsilon"], f["queries"], f["noise"]["permanent"]) for f in figures if f["noise"]}
    assert asked == {(e, *rest) for e in (3.0, 1.0) for rest in ((1, False), (100, False), (100, True))}
    assert {f["attack"] for f in figures} == {"identity", "race", "age"}  # rank privacy is left out
    assert {f["attacker"] for f in figures if f["attack"] == "identity"} == {"lda", "bayes", "chance"}
    bounds = [f["bound"] for f in figures if f.get("bound")]
    assert bounds and not limits.defects(figures)

    def best(epsilon: float, queries: int, permanent: bool) -> dict:
        (found,) = (
            f
            for f in figures
            if f["metric"] == "top-1"
            and f["best"]
            and f["noise"] == limits.entry(dataclasses.replace(attacks[0].target.noise, permanent=permanent), epsilon)
            and f["queries"] == queries
        )
        return found

    own = [f for f in figures if f["noise"] and f["noise"]["epsilon"] == 3.0 and f["metric"] == "top-1" and f["best"]]
    once, often, kept = own
    assert (once["value"], once["bound"]) == (kept["value"], kept["bound"]) and once["bound"] == pytest.approx(
        0.01905, abs=1e-4
    )
    assert once["value"] <= once["bound"] and often["bound"] is None and best(3.0, 1, False) == once
    document = json.loads(json.dumps(model_audit.document(coded, model_audit.marked(figures, False), "audit", False)))
    (table,) = pair_tables.text([document])
    assert "| from 100 answers, permanent, % |" in table and "[1.91]" in table and "DEFECT" not in table
    assert len(table.splitlines()) == 2 + 4 and "epsilon 1 " not in table  # identity and race, at its own budget
    assert {row["epsilon"] for row in pair_tables.rows([document])} == {3.0, 1.0}
    assert "at most 1.91% by its bound" in tables.terminal(document)
    variants = [(m.metric, m.variant) for m in model_audit.measurements(document)]
    assert len(set(variants)) == len(variants) and any("permanent answers" in variant for _, variant in variants)


def test_exported_heads_of_codes_are_attacked_too(coded, data_folder, cache):
    data, plan = model_audit.Data(data_folder), PLAN(cache, queries=(1, 100), epsilons=(3.0,))
    view = dataclasses.replace(model_audit.views(coded, ["float"], cache)[0], name="int8 TFLite head")
    attacks = model_audit.attacks(coded, view, data, plan)
    assert {a.label for a in attacks} == {"identity"} and len(attacks) == 3


def test_pairs_of_a_code_are_verified_and_linked(coded, data_folder, cache, monkeypatch):
    data, plan = model_audit.Data(data_folder), PLAN(cache, queries=(1, 100), epsilons=(3.0,))
    monkeypatch.setattr(pair_cells, "QUICK", PAIRS)
    asked = pair_cells.of_model(coded, data, plan, quick=True)
    figures = pair_cells.measure(asked, plan, "local", False)
    assert {f["attack"] for f in figures} == set(pair_cells.ATTACKS)
    assert {f["service"] for f in figures} == {"fresh draws", "two secrets", "one secret"}
    for figure in figures:
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        assert ("TAR" in figure["metric"] or "linked" in figure["metric"]) or figure["bound"] is None
    # Permanent answers: the very figures of one query.
    shown = [f for f in figures if f["attack"] == "verification" and f["metric"] == "AUC" and f["attacker"] == "bayes"]
    once, often, kept = shown
    assert once["value"] == kept["value"] and kept["noise"]["permanent"] and often["queries"] == 100
    assert {f["metric"] for f in figures if f["attack"] == pair_cells.PERSON} >= {"linked of 8", "AUC"}
    document = json.loads(json.dumps(model_audit.document(coded, model_audit.marked(figures, False), "audit", False)))
    (table,) = pair_tables.text([document])
    assert "photograph, one secret" in table and "found again" in table
    # Without a common secret, permanent answers are one answer's figures again.
    assert table.count("permanent answers |") == 2 and "two secrets" not in table
    assert "one secret" in tables.terminal(document)
    variants = [(m.metric, m.variant) for m in model_audit.measurements(document)]
    assert len(set(variants)) == len(variants)


def test_pairs_of_features_that_nothing_protects_are_found(model, data_folder, cache, monkeypatch):
    """Photographs of one person are nearly alike in these data: whoever looks sees it, and no bound is claimed."""
    monkeypatch.setattr(pair_cells, "QUICK", PAIRS)
    data, plan = model_audit.Data(data_folder), PLAN(cache)
    for asked in (pair_cells.of_model(model, data, plan, True), pair_cells.yardstick(data, plan, True)):
        assert len(asked) == 1 and len(asked[0].cells) == 1
        figures = pair_cells.measure(asked, plan, "local", False)
        best = next(f for f in figures if f["metric"] == "AUC" and f["best"])
        assert best["value"] > 0.9 and {f["bound"] for f in figures} == {None}
        assert {f["attacker"] for f in figures} == {"distance", "cosine", "two covariances"}


def test_noisy_pairs_have_bounds_at_one_query_and_many(model, data_folder, cache):
    noisy = SplitModel(model.card, model.network, model.head, model.tail, Noise(2.0, 0.5))
    data, plan = model_audit.Data(data_folder), PLAN(cache, queries=(1, 100))
    asked = pair_cells.of_model(noisy, data, plan)
    assert [(a.queries, a.photographs) for a in asked] == [(1, False), (100, False), (1, True), (100, True)]
    bounded, people = pair_cells._bounds(asked[0])
    assert 0.01 < bounded["TAR at FAR 0.01"] < 0.1 and people == 11
    assert pair_cells._bounds(asked[1])[0]["TAR at FAR 0.01"] > bounded["TAR at FAR 0.01"]


def test_the_recogniser_is_a_yardstick_where_it_is_installed(data_folder, cache, monkeypatch):
    data, plan = model_audit.Data(data_folder, quick=True), PLAN(cache)
    monkeypatch.setattr(descriptor, "installed", lambda: True)
    monkeypatch.setattr(descriptor.Descriptor, "embed", lambda self, images: images.reshape(len(images), -1)[:, :128])
    kinds = [a.target.feature for a in pair_cells.yardstick(data, plan)]
    assert kinds == [*raw_pixels.KINDS, "dlib"]
    (best,) = (f for f in pair_cells.recognised(data, plan) if f["best"])
    assert best["attack"] == "recogniser" and 0 <= best["low"] <= best["value"] <= best["high"] <= 1
    monkeypatch.setattr(descriptor, "installed", lambda: False)
    assert pair_cells.recognised(data, plan) == []
    assert [a.target.feature for a in pair_cells.yardstick(data, plan)] == list(raw_pixels.KINDS)


def test_deployed_heads_are_attacked_before_noise(model, data_folder, cache, audited):
    _, _, data = audited
    noisy = SplitModel(model.card, model.network, model.head, model.tail, Noise(0.5, 5.0))
    (view,) = model_audit.views(noisy, ["float32"], cache)
    test = data.people(model.input_size)[1]
    found = view.extract(dataclasses.replace(test, chips=test.chips[:4])).read()
    np.testing.assert_allclose(found, model.head(test.chips[:4].astype(np.float32)), rtol=1e-3, atol=1e-3)
    assert view.name == "float32 TFLite head" and len(view.sha256) == 64
    with pytest.raises(ConfigError, match="no head 'int4'"):
        model_audit.views(model, ["int4"], cache)


def test_pixels_are_the_yardstick(data_folder, cache):
    data, plan = model_audit.Data(data_folder), PLAN(cache)
    attacks = model_audit.yardstick(data, plan)
    assert [a.target.feature for a in attacks] == list(raw_pixels.KINDS)
    figures = model_audit.measure(attacks[:1], plan, "local", False)
    assert {f["variant"] for f in figures} == {"pixels"}
    assert not model_audit.too_weak(figures)  # these faces are easy
    weak = [{**f, "value": 0.5} for f in figures]
    assert model_audit.too_weak(weak)
    assert all(f["weak"] for f in model_audit.marked(weak, True))


def test_measurements_go_into_the_card(audited, model):
    figures, _, _ = audited
    document = json.loads(json.dumps(model_audit.document(model, model_audit.marked(figures, True), "audit", False)))
    made = model_audit.measurements(document)
    assert {m.unit for m in made if m.metric.startswith("age attack")} == {"years"}
    measurement.write(model.name, made)
    shown = card.read(model.name)
    found = shown.figure("identity attack, top-1", "float head, feature, attackers too weak on raw pixels")
    assert found is not None and 0 <= found.low <= found.value <= found.high <= 1
    assert "identity attack" in str(shown)


def test_background_people_are_others(data_folder):
    inside = {n.split("/")[1] for n in _names(data_folder)}
    others = features.lfw_background(data_folder, 48)
    assert len(others.chips) == 2 * STRANGERS and len(inside) == PEOPLE
    train, test = features.lfw100(data_folder, 48)
    assert not set(others.ids) & (set(train.ids) | set(test.ids)) and train.mirrored().ids == train.ids


def _names(folder):
    from privzoo.data import lfw

    return [sample.name for side in lfw.lfw100(folder) for sample in side.samples]


def test_gender_is_scored_on_people_who_were_not_trained_on(data_folder):
    train, test = features.lfw_gender(data_folder, 48)
    assert set(train.labels) == set(test.labels) == {"gender", "identity"} and not set(train.ids) & set(test.ids)
    assert not set(train.labels["identity"]) & set(test.labels["identity"])
    assert 0.1 < len(test.chips) / (len(train.chips) + len(test.chips)) < 0.6


def test_race_and_age_are_learnt_from_faces_that_networks_never_saw(data_folder):
    from privzoo.data import utkface

    seen = features.read(utkface.load(data_folder, split="train"), "train", 48)
    train, test = features.utkface_faces(data_folder, 48)
    assert {"race", "age"} <= set(train.labels) and len(train.ids) and len(test.ids)
    assert not set(train.ids) & set(test.ids) and not set(seen.ids) & {*train.ids, *test.ids}


def test_wrong_data_are_one_sentence(tmp_path):
    with pytest.raises(DataError) as caught:
        model_audit.Data(tmp_path).people(48)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(1800)  # some seconds on a free machine
def test_the_tool_audits_from_data_to_card(model, data_folder, tmp_path):
    """In a process of its own, as flags are one for each process."""
    code = f"""
import sys
from pathlib import Path
from privzoo import config
config.config_folder = lambda: Path({str(config.config_folder())!r})
sys.argv = ["audit", "--data_dir={data_folder}", "--cache_dir={tmp_path}", "--quick", "--nowrite", "--nolooks"]
import runpy
runpy.run_path({str(ROOT / "tools" / "audit.py")!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=1700
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "identity top-1" in done.stdout and "raw_pixels" in done.stdout
    assert "verification AUC" in done.stdout and "linkability of a person linked of" in done.stdout
    written = json.loads((tmp_path / "audit_quick" / f"{NAME}.json").read_text(encoding="utf-8"))
    assert written["model"] == NAME and written["quick"] and written["figures"][0]["data"] == "lfw100-test"


@pytest.mark.timeout(1800)  # some seconds on a free machine
def test_the_tool_fails_where_a_figure_is_above_its_bound(model, data_folder, tmp_path):
    """The figures are kept, so that nothing is lost, but no card shows them."""
    code = f"""
import sys
from pathlib import Path
from privzoo import config
from privzoo.audit import limits
config.config_folder = lambda: Path({str(config.config_folder())!r})
limits.true_accepts = lambda *_: {{1e-2: 1e-9, 1e-3: 1e-9}}
sys.argv = ["audit", "--data_dir={data_folder}", "--cache_dir={tmp_path}", "--quick", "--nowrite", "--nolooks",
            "--attacks=pairs", "--noyardstick"]
import runpy
runpy.run_path({str(ROOT / "tools" / "audit.py")!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=1700
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("audit: ") and "exceed the bound of their mechanism" in last
    written = json.loads((tmp_path / "audit_quick" / f"{NAME}.json").read_text(encoding="utf-8"))
    assert any(f.get("defect") for f in written["figures"]) and "DEFECT" in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model=nothing*"], "No model with a full head matches 'nothing*'"),
        (["--quick"], "do not belong in the cards"),
        (["--seeds=one"], "are not numbers"),
        (["--quick", "--nowrite"], "no_such_folder"),
    ],
)
def test_the_tool_refuses_in_one_sentence(flags, words):
    done = subprocess.run(
        [sys.executable, "tools/audit.py", "--data_dir=no_such_folder", *flags],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr

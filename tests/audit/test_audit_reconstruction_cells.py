"""Reconstruction and trade-off of a tiny noisy model on fake people, from data folder to report."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import tiny_zoo
from data_fakes import encoded, picture, write_folder

import privzoo
from privzoo import card, config, weights
from privzoo.audit import features, model_audit, reconstruction_cells
from privzoo.audit.attacks import decoders, descriptor, recogniser, tradeoff
from privzoo.audit.cells import Plan
from privzoo.audit.report import audit_page, summary
from privzoo.data import lfw

pytestmark = pytest.mark.training

PEOPLE, OTHERS, IMAGES = 4, 3, 6
MODEL = tiny_zoo.model("noisy_reduced_simple")
LOOKS = reconstruction_cells.Looks(("linear", "up-convolution"), decoders.Settings(16, 40, 1, 8, 16), 12)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The tiny zoo with one noisy model."""
    from privzoo.architectures import graph
    from privzoo.training import reduction, release

    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        network = config.network(tiny_zoo.PARENT.name)
        head, tail = graph.split(graph.inference_network(network, weights.load(network)), "conv5")
        chips, classes = tiny_zoo.chips()
        found = reduction.fit(MODEL, np.asarray(head(chips.astype(np.float32))), classes, tail, seed=1)
        release.release_model(MODEL, *found)
        tiny_zoo.forget()
        yield folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """LFW with a few people, of whom `PEOPLE` have the most images, and UTKFace."""
    folder = tmp_path_factory.mktemp("data")
    files, genders = {}, {"male": [], "female": []}
    for person in range(PEOPLE + OTHERS):
        for number in range(1, IMAGES + (person < PEOPLE)):
            name = f"Person_{person}_{number:04d}.jpg"
            files[f"lfw/Person_{person}/{name}"] = encoded(picture(144, seed=10 * person + number)[..., 0])
            genders["male" if person % 2 else "female"].append(name)
    lists = {f"lfw_gender/{gender}_names.txt": "\n".join(names).encode() for gender, names in genders.items()}
    write_folder(files | lists, folder)
    return tiny_zoo.write_faces(folder)


@pytest.fixture(scope="module")
def measured(zoo, root, tmp_path_factory):
    """Folder of the results, and the figures of a first and a second run."""
    cache = tmp_path_factory.mktemp("cache")
    plan, folder = Plan(cache, seeds=(1, 2)), cache / "audit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lfw, "lfw100", functools.partial(lfw.lfw100, people=PEOPLE))
        model = privzoo.load(MODEL.name)
        measure = functools.partial(
            reconstruction_cells.measure, model, model_audit.Data(root), plan, folder, LOOKS, progress=False
        )
        first = measure()
        patch.setattr(decoders, "train", None)
        patch.setattr(tradeoff, "curve", None)
        second = measure()
    (folder / f"{MODEL.name}.json").write_text(
        json.dumps(model_audit.document(model, first, "tools/audit.py", quick=False))
    )
    return folder, first, second


def test_killed_run_computes_nothing_twice(measured):
    _, first, second = measured
    assert first == second


def test_figures_follow_the_format(measured):
    _, figures, _ = measured
    keys = {*summary.FIELDS, "count", "seeds", "data", "sha256", "weak", "recogniser"}
    assert all(set(figure) == keys for figure in figures)
    assert json.loads(json.dumps(figures)) == figures
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in figures)
    decoded = summary.find(figures, attack="reconstruction")
    assert {f["attacker"] for f in decoded} == {"linear", "up-convolution", "mean face", "originals"}
    assert {f["variant"] for f in decoded} == {"float head"}
    assert {f["noise"]["sigma"] for f in decoded} == {tiny_zoo.NOISE.sigma}
    (perfect,) = summary.find(decoded, attacker="originals", metric="SSIM")
    assert perfect["value"] == 1


def test_who_judges_is_said_and_the_home_made_one_takes_its_place(measured, root, tmp_path, monkeypatch):
    _, figures, _ = measured
    at_hand = descriptor.NAME if descriptor.installed() else recogniser.NAME
    assert {figure["recogniser"] for figure in figures} == {at_hand}
    monkeypatch.setattr(lfw, "lfw100", functools.partial(lfw.lfw100, people=PEOPLE))
    monkeypatch.setattr(descriptor, "installed", lambda: False)
    path = reconstruction_cells.write_gallery(model_audit.Data(root), tmp_path)
    assert reconstruction_cells.read_gallery(path).recogniser.name == recogniser.NAME
    monkeypatch.setattr(descriptor, "installed", lambda: True)
    monkeypatch.setattr(descriptor.Descriptor, "embed", lambda self, images: np.ones((len(images), 128), np.float32))
    other = reconstruction_cells.write_gallery(model_audit.Data(root), tmp_path)
    assert other != path and reconstruction_cells.read_gallery(other).recogniser.name == descriptor.NAME


def test_report_shows_them(measured, tmp_path):
    folder, figures, _ = measured
    points = tradeoff.read_csv(folder / "tradeoff.csv")
    assert [point.relative for point in points] == list(tradeoff.GRID)
    pictures = audit_page.load_faces(folder / f"{MODEL.name}.npz")
    assert pictures.originals.shape == (PEOPLE // 2 + 1, 16, 16)
    assert pictures.public.tolist() == [False] * (PEOPLE // 2) + [True]
    assert len(pictures.part(everyone=False).originals) == 1
    text = audit_page.write(folder, tmp_path).read_text()
    best = summary.find(figures, metric="recognised", best=True)
    assert len(best) == 1
    assert f'<data value="{best[0]["value"]!r}">' in text
    assert summary.row(json.loads((tmp_path / f"{MODEL.name}.json").read_text()), card.read(MODEL.name)).recognised
    assert features.FLOAT == summary.FLOAT

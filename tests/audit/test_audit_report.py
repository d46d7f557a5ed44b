"""The report: every figure on the page stems from the results, nothing comes from elsewhere, and it reads well."""

from __future__ import annotations

import csv
import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from tiny_zoo import NOISE, PARENT

from privzoo.audit import cells
from privzoo.audit.attacks.tradeoff import Point, write_csv
from privzoo.audit.report import audit_page, summary, tables
from privzoo.card import Card
from privzoo.config import ModelConfig
from privzoo.costs import Cost
from privzoo.errors import DataError
from privzoo.evaluation.intervals import PAIRED
from privzoo.measurement import Measurement

LEAKS = {"simple": 0.61, "siamese": 0.2, "reduced_simple": 0.07, "advanced": 0.02, "noisy_reduced_simple": 0.025}
ACCURACY = {"simple": 0.954, "siamese": 0.95, "reduced_simple": 0.955, "advanced": 0.94, "noisy_reduced_simple": 0.91}
VOID = {"meta", "img", "br", "wbr"}
INT8_MORE = 0.001  # of the people, that the int8 head gives away beyond the float head


def name(embedding: str) -> str:
    return f"vgg16_gender_{embedding}_conv5_3"


def card(model: str) -> Card | None:
    if model in summary.YARDSTICKS:
        return None
    embedding = model.removeprefix("vgg16_gender_").removesuffix("_conv5_3")
    noise = NOISE if "noisy" in embedding or embedding == "advanced" else None
    dimensions = None if embedding in ("simple", "siamese") else 4
    value = ACCURACY[embedding]
    measured = Measurement(
        "accuracy",
        "float head + tail",
        "lfw",
        value,
        value - 0.004,
        value + 0.004,
        13225,
        (),
        "2026-01-05",
        "g",
        "c",
        "s",
    )
    config = ModelConfig(model, PARENT.name, "conv5_3", embedding, dimensions=dimensions, noise=noise)
    cost = Cost((4,), 16, 1000, 100, 931, 69, 1000)
    return Card(config, PARENT, cost, (measured,), None)


def figure(attack: str, metric: str, value: float, **changes) -> dict:
    return {
        "attack": attack,
        "metric": metric,
        "variant": "float head",
        "feature": "features",
        "noise": None,
        "queries": 1,
        "attacker": "lda",
        "best": True,
        "value": value,
        "low": round(value - 0.011, 6),
        "high": round(value + 0.013, 6),
        "count": 816,
        "seeds": [1, 2, 3],
        "data": "lfw100-test",
        "sha256": "ab" * 32,
        "weak": False,
        **changes,
    }


def result(embedding: str | None) -> dict:
    noise = None
    if embedding and card(name(embedding)).model.noise:
        noise = {"sigma": NOISE.sigma, "clip": NOISE.clip, "epsilon": 4.0}
    if embedding is None:
        figures = [
            figure("identity", "top-1", 0.8212, variant="pixels", feature="pixels", sha256=""),
            figure("identity", "top-1", 0.8712, variant="pixels", feature="both", sha256=""),
        ]
    else:
        leak = LEAKS[embedding]
        figures = [
            figure("identity", "top-1", leak, noise=noise, attacker="mlp <best>"),
            figure("identity", "top-1", leak - 0.01, noise=noise, best=False, attacker="knn"),
            figure(
                "identity", "top-1", leak + INT8_MORE, noise=noise, variant="int8 TFLite head", attacker="mlp <best>"
            ),
            figure("identity", "top-5", leak + 0.1, noise=noise),
            figure("identity", "top-1", 0.0213, feature="label"),
            figure("identity", "top-1", 0.0413, feature="logit"),
            figure("identity", "top-1", 0.01, feature="chance", attacker="chance", seeds=[]),
            figure("race", "balanced accuracy", 0.4312, noise=noise),
            figure("age", "mean error", 9.8765, noise=noise),
            figure("reconstruction", "recognised", leak / 2, noise=noise, attacker="linear"),
            figure("reconstruction", "PSNR", 21.5, noise=noise, attacker="linear", best=False),
            figure("reconstruction", "recognised", 0.693, attacker="originals", best=False, feature="photograph"),
            figure("rank", "rank privacy", 0.31, noise=noise, attacker="equation 4"),
            figure("rank", "rank privacy", 0.4444, noise=noise, attacker="other photographs"),
        ]
        if noise:
            figures.append(figure("identity", "top-1", leak * 3, noise=noise, queries=100))
            figures.append(figure("identity", "top-1", 0.999, noise={**noise, "sigma": 1e-3}))
    return {
        "format": 1,
        "model": name(embedding) if embedding else summary.RAW["face"],
        "network": PARENT.name if embedding else None,
        "task": "gender" if embedding else None,
        "cut": "conv5_3" if embedding else None,
        "embedding": embedding,
        "date": "2026-01-02",
        "git": "1a2b3c",
        "command": "tools/audit.py --model X --data_dir DIR",
        "quick": False,
        "figures": figures,
    }


def point(embedding: str, factor: float) -> Point:
    value = 0.9 - factor / 10
    shares = [round(v, 6) for v in (value, value - 0.01, value + 0.01, 0.4, 0.39, 0.41, 0.3, 0.28, 0.32)]
    return Point(name(embedding), "gender", embedding, "conv5_3", factor, factor * 2, *shares, "lda", 100, 100, "1 2 3")


@pytest.fixture
def folder(tmp_path):
    """An audit of five models and raw pixels, with pictures and curves."""
    audit = tmp_path / "audit"
    audit.mkdir()
    for embedding in (None, *LEAKS):
        found = result(embedding)
        (audit / f"{found['model']}.json").write_text(json.dumps(found))
    write_csv([point(e, f) for e in ("reduced_simple", "advanced") for f in (0.0, 1.0)], audit / "tradeoff.csv")
    faces = np.random.default_rng(0).integers(0, 255, (3, 16, 16)).astype(np.uint8)
    for embedding in ("simple", "siamese", "advanced"):
        rows = {"linear": faces, "up-convolution": faces // 2}
        audit_page.save_faces(
            audit / f"{name(embedding)}.npz", audit_page.Pictures(faces, rows, np.array([False, False, True]))
        )
    return audit


class Page(HTMLParser):
    """Collects what the tests ask of a page, and checks that its tags close."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.values, self.links, self.images, self.tables, self.text = [], [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self.values.append(float(attributes["value"]))
        if tag == "img":
            assert attributes["alt"]
            self.images.append(attributes["src"])
        if tag == "table":
            self.tables.append({"caption": 0, "col": 0, "row": 0})
        if tag == "caption":
            self.tables[-1]["caption"] += 1
        if tag == "th":
            self.tables[-1][attributes["scope"]] += 1
        self.links += [value for key, value in attributes.items() if key in ("src", "href", "action", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def numbers(entry) -> set[float]:
    """All numbers in plain data."""
    if isinstance(entry, dict):
        return set().union(*map(numbers, entry.values())) if entry else set()
    if isinstance(entry, list | tuple):
        return set().union(*map(numbers, entry)) if entry else set()
    return {float(entry)} if isinstance(entry, int | float) else set()


def test_every_figure_stems_from_the_results(folder):
    path = audit_page.write(folder, cards=card)
    page = Page(path.read_text(encoding="utf-8"))
    known = set()
    for file in folder.glob("*.json"):
        known |= numbers(json.loads(file.read_text()))
    for embedding in LEAKS:
        own = card(name(embedding))
        known |= numbers([own.cost.head_share, own.cost.feature_bytes])
        known |= {value for m in own.measurements for value in (m.value, m.low, m.high)}
    with (folder / "tradeoff.csv").open() as file:
        known |= {float(v) for row in csv.DictReader(file) for v in row.values() if v.replace(".", "", 1).isdigit()}
    rows = [summary.row(result(embedding), card(name(embedding))) for embedding in LEAKS]
    for comparison in summary.compare(rows):
        for value in (comparison.identity, comparison.accuracy):
            known |= {value.value, value.low, value.high} if value else set()
    assert len(page.values) > 100
    assert set(page.values) <= known
    # And the figures of the strongest attack on every model are there.
    assert {LEAKS[embedding] + INT8_MORE for embedding in LEAKS} <= set(page.values)
    assert {0.31, 0.4444} <= set(page.values)
    assert 0.999 not in page.values  # of a noise that the model does not have


def test_page_needs_nothing_else(folder):
    text = audit_page.write(folder, cards=card).read_text(encoding="utf-8")
    page = Page(text)
    assert page.images
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "http" not in text
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "mlp &lt;best&gt;" in text


def test_page_reads_well(folder):
    text = audit_page.write(folder, cards=card).read_text(encoding="utf-8")
    page = Page(text)
    assert '<html lang="en">' in text
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert all(table["caption"] == 1 and table["col"] > 1 and table["row"] > 0 for table in page.tables)
    words = " ".join("".join(page.text).split())
    assert f"from {name('simple')}, 61.1%, at an accuracy of 95.4% and 16 bytes" in words
    # Averaging undoes the noise: with it, this is the model that gives away least.
    assert (
        f"from {name('advanced')}, 6.0% by averaging 100 features of one photograph, at an accuracy of 94.0%" in words
    )
    assert "the same attackers identify 87.1%" in words
    assert "knows 69.3% of the photographs themselves" in words


@pytest.mark.slow
def test_only_public_faces_are_published(folder):
    private, public = (Page(audit_page.write(folder, cards=card, people=p).read_text()) for p in (True, False))
    assert len(private.images) == len(public.images)
    assert private.images != public.images
    (folder / f"{name('simple')}.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no reconstructions"):
        audit_page.write(folder, cards=card)


def test_ablations():
    rows = {e: summary.row(result(e), card(name(e))) for e in LEAKS}
    found = {(c.question, c.before, c.after): c for c in summary.compare(list(rows.values()))}
    siamese = found[summary.SIAMESE, name("simple"), name("siamese")]
    assert siamese.answer == "yes"
    assert siamese.identity.value == pytest.approx(0.2 - 0.61)
    assert siamese.identity.low < siamese.identity.value < siamese.identity.high < 0
    assert found[summary.NOISE, name("reduced_simple"), name("noisy_reduced_simple")].answer == "at a cost"
    averaged = found[summary.AVERAGED, name("reduced_simple"), name("noisy_reduced_simple")]
    assert averaged.answer == "not shown"
    assert averaged.identity.value == pytest.approx(0.075 - 0.07)
    advanced = found[summary.SIAMESE, name("noisy_reduced_simple"), name("advanced")]
    assert advanced.answer == "not shown"
    deployed = [c for c in found.values() if c.question == summary.INT8_LEAKS]
    assert {c.answer for c in deployed} == {"not shown"}
    assert len(deployed) == len(LEAKS)
    swapped = summary.compare(
        [
            summary.row({**result("siamese"), "embedding": "simple"}, None),
            summary.row({**result("simple"), "embedding": "siamese"}, None),
        ]
    )
    assert swapped[0].answer == "no"


def test_ablations_are_paired_where_hits_of_the_same_people_were_kept():
    people = np.linspace(0, 1, 50)  # how easily each is named: what both attacks have in common
    before = summary.row(result("simple"), card(name("simple"))).identity
    apart = before.minus(dataclasses.replace(before, value=before.value - 0.01))
    kept = [cells._by_person(np.stack([hits, hits]), np.arange(50)) for hits in (people, people * 0.97)]
    a, b = (summary._of({**figure("identity", "top-1", float(people.mean())), "by_person": lines}) for lines in kept)
    paired = b.minus(a)
    assert paired.method == PAIRED and paired.value == pytest.approx(-0.015, abs=1e-3) and paired.high < 0
    assert apart.method != PAIRED and apart.low < 0 < apart.high
    others = dataclasses.replace(b, origin={**b.origin, "data": "lfw101to200-test"})
    assert others.minus(a).method != PAIRED
    assert "Of 1 pairs none could be compared person by person" in tables._what_helps(
        [summary.Comparison(summary.SIAMESE, "a", "b", apart, None, "not shown")]
    )


def test_figures_say_their_own_date_not_the_audits(folder, tmp_path):
    audit_page.write(folder, tmp_path / "out", results=tmp_path / "RESULTS.md", cards=card)
    with (tmp_path / "docs" / "results" / "identity.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file) if row["model"] == name("simple")}
    measured = card(name("simple")).figure("accuracy", "float head + tail")
    assert measured.date != "2026-01-02"
    assert (rows["accuracy"]["date"], rows["accuracy"]["revision"]) == (measured.date, measured.git)
    assert rows["identified"]["date"] == "2026-01-02" and rows["identified"]["revision"] == "1a2b3c"
    text = (tmp_path / "RESULTS.md").read_text()
    assert "was not computed yet when these audits ran (2026-01-02)" in text


def test_attributes_of_attackers_who_learned_from_training_faces_are_marked():
    old = result("simple")
    for one in old["figures"]:
        one["data"] = "utkface-validation" if one["attack"] in ("race", "age") else one["data"]
    rows = [summary.row(one, card(name("simple"))) for one in (old, result("simple"))]
    assert "Race and age are of 2026-01-02, when their attackers learned from faces" in tables.text(rows[:1], (), [])
    assert "their attackers learned from" not in tables.text(rows[1:], (), [])


def test_noisy_model_is_judged_under_its_own_noise():
    row = summary.row(result("advanced"), card(name("advanced")))
    assert row.identity.value == LEAKS["advanced"]
    assert (row.averaged.value, row.queries) == (LEAKS["advanced"] * 3, 100)
    assert set(row.floors) == {"label", "logit", "chance"}


@pytest.mark.slow
def test_the_section_stands_between_its_marks_with_its_csv_and_plots(folder, tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(
        "# Results\n\nfirst\n\n<!-- audit: written by tools/audit.py -->\nold\n<!-- end of audit -->\nlast\n"
    )
    for _ in range(2):
        audit_page.write(folder, tmp_path / "out", results=path, cards=card)
    text = path.read_text()
    assert text.startswith("# Results\n\nfirst\n\n<!-- audit")
    assert text.endswith("<!-- end of audit -->\n\nlast\n")
    assert "100 averaged, %" in text and "[the audit's page](out/index.html)" in text
    assert "old" not in text
    assert text.count(f"| {name('simple')} | 61.1 (60.0 to 62.4) |") == 1
    assert "| question | yes | at a cost | not shown | no |" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block
    for line in text.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.partition("(")[2].rstrip(")")).read_bytes()[:4] == b"\x89PNG"
    with (tmp_path / "docs" / "results" / "identity.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == name("simple")]
    found = {row["figure"]: row for row in rows}
    assert found["identified, float head"]["value"] == str(LEAKS["simple"])
    assert found["identified"]["value"] == found["identified, int8 head"]["value"] == str(LEAKS["simple"] + INT8_MORE)
    assert found["identified"]["unit"] == "share"
    assert found["age, mean error"]["unit"] == "years" and found["age, mean error"]["value"] == "9.8765"
    assert found["identified"]["date"] == "2026-01-02" and found["identified"]["seeds"] == "1 2 3"
    assert found["identified"]["heads"].startswith("float head abababababab; ")
    assert json.loads((tmp_path / "out" / f"{name('simple')}.json").read_text()) == result("simple")


def test_differences_stand_in_points(folder, tmp_path):
    audit_page.write(folder, tmp_path / "out", results=tmp_path / "RESULTS.md", cards=card)
    with (tmp_path / "docs" / "results" / "what_helps.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = [r for r in rows if (r["from"], r["to"]) == (name("simple"), name("siamese"))]
    assert float(row["people_named_points"]) == pytest.approx(100 * (LEAKS["siamese"] - LEAKS["simple"]))


def test_a_few_results_make_a_page(tmp_path):
    """Without cards, curves, pictures or raw pixels, and marked as quick."""
    (tmp_path / "a.json").write_text(json.dumps({**result("simple"), "quick": True}))
    text = audit_page.write(tmp_path, cards=lambda _: None).read_text()
    Page(text)
    assert "quick audit" in text
    assert "not measured" in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "figures": [{}]}'])
def test_refuses_what_is_no_result(content, tmp_path):
    with pytest.raises(DataError, match="holds no results"):
        summary.read(tmp_path)
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="not a result of this version's audit"):
        summary.read(tmp_path)

"""Markdown and csv that commands write: tables, figures in their units, sections between marks."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privzoo import markdown
from privzoo.errors import DataError
from privzoo.evaluation.intervals import Estimate
from privzoo.provenance import write_csv

SECTION = markdown.Section("a part", "tools/a.py")
CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4)))
def test_whatever_stands_in_a_cell_a_table_keeps_its_shape(rows):
    lines = markdown.table(["h"] * len(rows[0]), rows).split("\n")
    assert len(lines) == len(rows) + 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(rows[0]) + 1}


def test_figures_stand_in_the_unit_of_their_column():
    found = Estimate(0.954, 0.946, 0.9612)
    assert markdown.percent(found) == "95.4" and markdown.percent(found, 2, interval=True) == "95.40 (94.60 to 96.12)"
    assert markdown.percent(Estimate(0.012, -0.01, 0.03), signed=True, interval=True) == "+1.2 (-1.0 to +3.0)"
    assert markdown.percent(Estimate(0.012, -0.01, 0.03), signed=True) == "+1.2" and markdown.percent(None) == ""


def test_a_section_leaves_the_rest_as_it_is(tmp_path):
    page = tmp_path / "RESULTS.md"
    SECTION.write(page, "first")
    assert page.read_text() == f"# Results\n\n{SECTION.begin}\n\nfirst\n\n{SECTION.end}\n"
    page.write_text(f"# Ours\n\nbefore\n{SECTION.begin}old{SECTION.end}\n\nafter\n\n")
    for _ in range(2):
        SECTION.write(page, "new")
    assert page.read_text() == f"# Ours\n\nbefore\n\n{SECTION.begin}\n\nnew\n\n{SECTION.end}\n\nafter\n"
    page.write_text("")
    SECTION.write(page, "new")
    assert page.read_text().startswith(SECTION.begin)


@pytest.mark.parametrize(
    "text",
    [
        f"{SECTION.begin}\n\nall that follows would be lost",
        f"before {SECTION.end}",
        f"{SECTION.end} {SECTION.begin}",
        f"{SECTION.begin} {SECTION.end} {SECTION.begin} {SECTION.end}",
    ],
)
def test_marks_that_are_not_a_pair_are_refused_and_nothing_is_lost(tmp_path, text):
    page = tmp_path / "RESULTS.md"
    page.write_text(text)
    with pytest.raises(DataError, match="correct the marks"):
        SECTION.write(page, "new")
    assert page.read_text() == text


def test_long_tables_lie_apart_by_page():
    assert markdown.tables_folder(Path("a/RESULTS.md")) == Path("a/docs/results")
    assert markdown.tables_folder(Path("a/RESULTS_my_network.md")) == Path("a/docs/results/my_network")
    assert markdown.tables_folder(Path("a/README.md")) == Path("a")
    assert markdown.link(Path("a/b.md"), Path("a/docs/c.csv")) == "[c.csv](docs/c.csv)"


def test_csv_holds_numbers_as_they_are(tmp_path):
    path = tmp_path / "new" / "figures.csv"
    rows = [
        {"model": 'odd, "name"', "value": 1 / 3, "seeds": (1, 2)},
        {"model": "b", "value": float("nan"), "more": None, "last": 0},
    ]
    write_csv(path, rows)
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["model", "value", "seeds", "more", "last"]
    assert found[0]["model"] == 'odd, "name"' and float(found[0]["value"]) == 1 / 3 and found[0]["seeds"] == "1 2"
    assert found[1] == {"model": "b", "value": "", "seeds": "", "more": "", "last": "0"}
    write_csv(path, [])
    assert path.read_text().strip() == ""

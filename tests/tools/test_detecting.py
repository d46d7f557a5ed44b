"""What the face detector's figures say of its goals, and what RESULTS.md says of them."""

from __future__ import annotations

import csv

import pytest
from detecting import report
from detecting.hits import hit
from detecting.report import Goal

from privzoo.evaluation.intervals import Estimate
from privzoo.faces import Box

GOALS = (
    Goal("faces found", Estimate(0.997, 0.995, 0.998, 1000, 900, "Wilson"), "%", 0.99),
    Goal("faces found, by the cascade", Estimate(0.9, 0.8, 0.95, 200), "%"),
    Goal("time", Estimate(12.5, 11.0, 16.0, 50), "ms", 15, False),
    Goal("accuracy lost", Estimate(0.014, -0.3, 0.35), "points", 0.5, False, digits=2),
)
FACTS = {"date": "2026-11-27", "git": "abc", "command": "tools/faces.py", "seed": 1, "minutes": 3, "method": "How."}


def test_goals_in_their_units():
    assert [goal.verdict for goal in GOALS] == ["met", "", "not shown", "met"]
    assert GOALS[0].line == "      met  faces found: 99.7% (99.5% to 99.8%); at least 99%"
    assert GOALS[1].line.strip() == "faces found, by the cascade: 90.0% (80.0% to 95.0%)"
    assert GOALS[2].shown == "12.5 (11.0 to 16.0) ms" and GOALS[3].shown == "0.01 (-0.30 to 0.35) points"


def test_what_is_kept_is_published_again(tmp_path):
    path, page = tmp_path / "docs" / "faces" / "faces.json", tmp_path / "RESULTS.md"
    page.write_text("# Ours\n\nbefore\n")
    report.save(path, GOALS, FACTS)
    for _ in range(2):
        report.publish(path, page)
    text = page.read_text()
    assert text.startswith("# Ours\n\nbefore\n") and text.count(report.SECTION.begin) == 1
    assert "The detector meets 2 of its 3 goals." in text and "How." in text
    assert "| time | 12.5 (11.0 to 16.0) ms | at most 15 ms | not shown |" in text
    assert "by the cascade |" not in text and "finds 90 to 90% of" in text
    with (tmp_path / "docs" / "results" / "faces.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(GOALS) and rows[0]["value"] == "0.997" and rows[0]["unit"] == "share"
    assert rows[1]["verdict"] == "" and rows[2]["goal_is"] == "most" and rows[2]["revision"] == "abc"


def test_of_a_group_the_worst_is_shown():
    races = [
        Goal(f"found, {name}", Estimate(value, value - 0.01, value + 0.01, 100), "%", 0.9, group="found by race")
        for name, value in (("a", 0.97), ("b", 0.95), ("c", 0.99))
    ]
    text = report.text([*GOALS[:1], *races], FACTS, "")
    assert "| found by race, the worst of 3 | 95.0% (94.0% to 96.0%) | at least 90% | met |" in text
    assert "found, a" not in text and "meets all of its 4 goals" in text


@pytest.mark.parametrize(
    ("box", "angle", "counts"),
    [
        (Box(60, 40, 80), 0, True),
        (Box(60, 40, 80, angle=24.0), 0, True),
        (Box(60, 40, 80, angle=60.0), 0, False),  # it covers the face, but its chip shows the face rotated
        (Box(60, 40, 80), 180, False),
        (Box(60, 40, 80, angle=-176.0), 180, True),
        (Box(90, 40, 80), 0, False),
        (Box(20, 0, 160), 0, False),
    ],
)
def test_a_face_counts_as_found_upright_only(box, angle, counts):
    assert hit([box, Box(60, 40, 80, angle=angle)], 100, 80, 80, angle, error=25) == counts
    assert not hit([], 100, 80, 80)


def test_any_angle_counts_where_none_is_asked_for():
    assert hit([Box(60, 40, 80, angle=60.0)], 100, 80, 80)

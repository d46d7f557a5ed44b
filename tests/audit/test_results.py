"""Sections of RESULTS.md that stand between their marks, and their csv files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from evaluating import choices

from privzoo import card
from privzoo.audit.report import codes


def test_a_table_of_codes_has_a_row_for_each_budget(tmp_path):
    path, page = tmp_path / "vgg_s_tiny_coded_conv5.json", tmp_path / "RESULTS.md"
    figure = {
        **{"symbols": 2, "accuracy": 0.91, "lowest": 0.9, "highest": 0.92, "majority": 0.776, "ceiling": 0.915},
        **{"low": 0.905, "high": 0.915, "people": 5744, "method": "Wilson over clusters"},
        **{"share_of_ceiling": 0.9945, "share_low": 0.99, "share_high": 0.999},
        **{"calibration_error": 0.02, "faces": 13225, "seeds": list(range(1, 11))},
        "top1": {"1": 0.0191, "10": 1.0},
    }
    found = {"model": "vgg_s_tiny_coded_conv5", "network_accuracy": 0.95, "data": "lfw", "date": "2026-11-27"}
    figures = [{**figure, "epsilon": epsilon} for epsilon in (3.0, 0.5)]
    path.write_text(json.dumps({**found, "git": "abc", "figures": figures}))
    page.write_text("# Ours\n\nbefore\n")
    for _ in range(2):
        codes.write(page, [path])
    text = page.read_text()
    assert text.startswith("# Ours\n\nbefore\n") and text.count(codes.SECTION.begin) == 1
    rows = [line for line in text.splitlines() if line.startswith("|")]
    shown = "91.0 (90.5 to 91.5) | 91.5 | 99.5 (99.0 to 99.9) | 1.91 | no bound |"
    assert rows[2:] == [f"| 0.5 | {shown}", f"| 3 | {shown}"]
    assert "the network without privacy is right for 95.0%" in text and "exceeds from epsilon 0.5 up." in text
    assert text.splitlines()[-1] == codes.SECTION.end
    with (tmp_path / "docs" / "results" / "codes.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["epsilon"] for line in lines] == ["3.0", "0.5"] and lines[0]["seeds"] == "1 2 3 4 5 6 7 8 9 10"
    assert lines[0]["accuracy_share"] == "0.91" and lines[0]["revision"] == "abc"
    assert lines[0]["accuracy_low"] == "0.905" and lines[0]["share_of_ceiling_high"] == "0.999"
    assert lines[0]["people"] == "5744"
    assert "On the device" not in text and "the ceiling is always giving the same answer" not in text
    path.write_text(json.dumps({**found, "git": "abc", "figures": [{**figures[0], "ceiling": 0.776}, figures[1]]}))
    codes.write(page, [path])
    assert "At epsilon 3 the ceiling is always giving the same answer" in page.read_text()
    ms = {
        "fresh": {"value": 0.025, "low": 0.024, "high": 0.026},
        "permanent": {"value": 0.05, "low": 0.04, "high": 0.06},
    }
    timed = {"ms": ms, "limit_ms": 0.05, "rounds": 21, "calls": 1000, "machine": "On a phone.", "command": "codes"}
    timed |= {"date": "2026-11-28", "git": "def"}
    path.write_text(json.dumps({**found, "git": "abc", "figures": figures, "device": timed}))
    codes.write(page, [path])
    text = page.read_text()
    assert "fresh 0.0250 (0.0240 to 0.0260) ms, met; permanent 0.0500 (0.0400 to 0.0600) ms, not shown" in text
    with (tmp_path / "docs" / "results" / "codes_device.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["answers"] for line in lines] == ["fresh", "permanent"] and lines[0]["machine"] == "On a phone."
    assert lines[0]["ms"] == "0.025" and lines[1]["verdict"] == "not shown" and lines[1]["revision"] == "def"


def test_the_readmes_table_of_models_is_what_the_cards_say(tmp_path):
    readme = Path(__file__).resolve().parents[2] / "README.md"
    copy = tmp_path / "README.md"
    copy.write_text(readme.read_text("utf-8").replace("| `vgg16_gender_simple_conv5_3`", "| `old`"), "utf-8")
    choices.write(copy, {name: card.read(name) for name, _ in choices.CHOICES})
    assert copy.read_text("utf-8") == readme.read_text("utf-8"), "run tools/tables.py"

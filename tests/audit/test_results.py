"""Tables of RESULTS.md that stand between their marks."""

from __future__ import annotations

import json
from pathlib import Path

from privzoo import card
from privzoo.audit.report import results

FOUND = {
    "accuracy": 0.913,
    "faces": 2378,
    "identity": {"1": {"attacker": "lda", "value": 0.022, "low": 0.01, "high": 0.037}},
    "epsilon": None,
}


def test_a_sweeps_table_says_on_what_and_when(tmp_path):
    path, page = tmp_path / "vgg_s_tiny_simple_conv5.json", tmp_path / "RESULTS.md"
    page.write_text("# Ours\n\nbefore\n")
    for trial, accuracy in (("step=1", 0.5), ("step=2", 0.8), ("step=1", 0.913)):
        results.add_trial(path, trial, f"tools/sweep.py --try {trial}", (1, 2), FOUND | {"accuracy": accuracy})
    kept = json.loads(path.read_text())
    assert [row["trial"] for row in kept] == ["step=2", "step=1"]
    for _ in range(2):
        results.write_sweeps(page, [path])
    text = page.read_text()
    assert text.startswith("# Ours\n\nbefore\n") and text.count("| vgg_s_tiny_simple_conv5 |") == 2
    row = next(line for line in text.splitlines() if "step=1" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:6] == ["step=1", "91.30%", "2,378", "2.2% (1.0% to 3.7%)", ""]
    assert cells[7] == "1, 2" and cells[8].startswith(kept[1]["date"])
    header = next(line for line in text.splitlines() if line.startswith("| model |"))
    assert header.count("|") == row.count("|")


def test_a_table_of_codes_has_a_row_for_each_budget(tmp_path):
    path, page = tmp_path / "vgg_s_tiny_coded_conv5.json", tmp_path / "RESULTS.md"
    figure = {
        **{"symbols": 2, "accuracy": 0.91, "lowest": 0.9, "highest": 0.92, "majority": 0.776, "ceiling": 0.915},
        **{"share_of_ceiling": 0.9945, "calibration_error": 0.02, "faces": 13225, "seeds": list(range(1, 11))},
        "top1": {"1": 0.0191, "10": 1.0},
    }
    found = {"model": "vgg_s_tiny_coded_conv5", "network_accuracy": 0.95, "data": "lfw", "date": "2026-11-27"}
    figures = [{**figure, "epsilon": epsilon} for epsilon in (3.0, 0.5)]
    path.write_text(json.dumps({**found, "git": "abc", "figures": figures}))
    page.write_text("# Ours\n\nbefore\n")
    for _ in range(2):
        results.write_codes(page, [path])
    text = page.read_text()
    assert text.startswith("# Ours\n\nbefore\n") and text.count("| vgg_s_tiny_coded_conv5 |") == 2
    row = next(line for line in text.splitlines() if "| 0.5 |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:5] == ["2", "0.5", "91.00% (90.00% to 92.00%)", "77.60%"]
    assert cells[8:] == ["1.91%, no bound", "13,225", "1 to 10", "2026-11-27, abc"]
    assert text.splitlines()[-1] == results.CODES_END and "95.00% of lfw" in text
    assert "On the device" not in text
    ms = {
        "fresh": {"value": 0.025, "low": 0.024, "high": 0.026},
        "permanent": {"value": 0.05, "low": 0.04, "high": 0.06},
    }
    timed = {"ms": ms, "limit_ms": 0.05, "rounds": 21, "calls": 1000, "machine": "On a phone.", "command": "codes"}
    timed |= {"date": "2026-11-28", "git": "def"}
    path.write_text(json.dumps({**found, "git": "abc", "figures": figures, "device": timed}))
    results.write_codes(page, [path])
    text = page.read_text()
    for cells in (
        "drawn anew | 0.0250 (0.0240 to 0.0260) | under 0.05 | met | 21 rounds of 1,000 | 2026-11-28, def |",
        "permanent | 0.0500 (0.0400 to 0.0600) | under 0.05 | not shown |",
    ):
        assert cells in text
    assert "vgg_s_tiny_coded_conv5: On a phone. `codes`." in text


def test_the_readmes_table_of_models_is_what_the_cards_say(tmp_path):
    readme = Path(__file__).resolve().parents[2] / "README.md"
    copy = tmp_path / "README.md"
    copy.write_text(readme.read_text("utf-8").replace("| `vgg16_gender_simple_conv5_3`", "| `old`"), "utf-8")
    results.write_choices(copy, {name: card.read(name) for name, _ in results.CHOICES})
    assert copy.read_text("utf-8") == readme.read_text("utf-8"), "run tools/tables.py"

"""Tables of RESULTS.md that stand between their marks."""

from __future__ import annotations

import json

from privzoo.audit.report import results


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

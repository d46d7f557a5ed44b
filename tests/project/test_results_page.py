"""RESULTS.md as a newcomer meets it: short, in order, and with everything there that it links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
ORDER = (
    *("comparison", "accuracy", "audit", "sweeps", "codes", "draws", "unmixing", "subgroups", "slim heads"),
    *("optimised heads", "benchmark", "faces", "load"),
)
MOST_BYTES, MOST_COLUMNS = 40_000, 7


def test_it_is_short():
    assert len(PAGE.encode()) < MOST_BYTES
    assert max(line.count("|") - 1 for line in PAGE.splitlines() if line.startswith("|")) <= MOST_COLUMNS


def test_sections_stand_in_the_order_in_which_a_reader_wants_them():
    assert re.findall(r"<!-- ([\w ]+): written by", PAGE) == list(ORDER)
    assert re.findall(r"<!-- end of ([\w ]+) -->", PAGE) == list(ORDER)


def test_only_the_preface_is_written_by_hand():
    outside = re.sub(r"<!-- ([\w ]+): written by .*?<!-- end of \1 -->", "", PAGE, flags=re.DOTALL)
    assert "|" not in outside and len(outside) < 2_000


@pytest.mark.parametrize("page", ["RESULTS.md", "docs/embeddings.md", "docs/benchmark/intel_xeon/README.md"])
def test_links_lead_somewhere(page):
    path = ROOT / page
    targets = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert targets and [target for target in targets if not (path.parent / target).exists()] == []


def test_columns_that_name_a_unit_do_not_repeat_it():
    for block in PAGE.split("\n\n"):
        if not block.startswith("|"):
            continue
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for column, name in enumerate(header):
            if name.endswith((", %", " ms", " MB")):
                assert not [row[column] for row in rows if row[column].endswith(("%", "points", "ms", "MB"))], name

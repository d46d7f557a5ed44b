"""Goals as people and tables read them: the figure with its interval, the verdict, and what it would take to tell."""

from __future__ import annotations

from privzoo.evaluation import bars
from privzoo.evaluation.bars import Row
from privzoo.evaluation.intervals import Estimate, exact

SHARE = Row("accuracy", "at least 90%", 0.9, Estimate(0.91, 0.895, 0.925, 4000, 1000), at_least=True)
TIME = Row("time", "under 0.05 ms", 0.05, Estimate(0.0252, 0.0251, 0.02534), "on a phone", unit="ms")


def test_a_row_says_what_was_found_and_whether_it_is_enough():
    assert SHARE.verdict == bars.NOT_SHOWN and SHARE.shown == "91.00% (89.50% to 92.50%)"
    assert SHARE.line.startswith("   not shown  accuracy: 91.00%")
    assert "about 2,250 people or faces, rather than 1,000" in SHARE.line
    assert TIME.verdict == bars.MET and TIME.shown == "0.0252 (0.0251 to 0.0253) ms" and TIME.takes == ""
    assert TIME.line == "         met  time: 0.0252 (0.0251 to 0.0253) ms; under 0.05 ms [on a phone]"


def test_what_is_exact_has_no_interval_and_what_is_missing_no_figure():
    assert Row("bytes", "1", 1, exact(1.0), unit="byte").shown == "1 byte"
    assert Row("share", "all", 1, exact(1.0), at_least=True).shown == "100.00%"
    row = Row("speed", "fast", 1, None, "not in this run")
    assert (row.verdict, row.shown, row.said) == (bars.NOT_MEASURED, bars.NOT_MEASURED, "not in this run")


def test_numbers_have_three_digits_and_tables_all_of_them():
    assert [bars.number(value) for value in (0.012345, 1.9051, 4321.4, -0.5)] == ["0.0123", "1.91", "4,321", "-0.5"]
    share, time = bars.flat([SHARE, TIME], {"date": "2026-11-27"})
    assert share["unit"] == "share" and share["low"] == 0.895 and share["verdict"] == bars.NOT_SHOWN
    assert time["unit"] == "ms" and time["value"] == 0.0252 and time["note"] == "on a phone"
    assert share["date"] == time["date"] == "2026-11-27"
    assert next(bars.flat([Row("ratio", "1", 1, exact(1))], {}))["unit"] == "ratio"

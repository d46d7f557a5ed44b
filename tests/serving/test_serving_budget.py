"""The budget of bytes in flight: it is never exceeded, and every byte comes back once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.errors import ConfigError
from privzoo.serving.front import budget as budgets
from privzoo.serving.front.budget import MARGIN, Budget, default_limit, least
from privzoo.serving.wire.refusal import Refusal

LARGEST = 2**20
LIMIT = least(LARGEST)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "resize", "release", "leave", "fail"]),
        st.integers(0, 9),
        st.integers(0, LIMIT),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(STEPS, st.booleans())
def test_bytes_come_back_once_whatever_happens(steps, over_grpc):
    budget, held = Budget(LIMIT, LARGEST), []
    if over_grpc:
        budget.keep_for_reads()
    reserved = budget.reads.count * (LARGEST + MARGIN) if over_grpc else 0
    for step, which, size, small in steps:
        before, one = budget.taken, held[which % len(held)] if held else None
        try:
            if step == "take":
                held.append(budget.take(size, small))
            elif one is None:
                continue
            elif step == "resize":
                one.resize(size)
            elif step == "release":
                one.release()
            elif step == "leave":
                with one:
                    pass
            else:
                with pytest.raises(ZeroDivisionError), one:
                    raise ZeroDivisionError
        except Refusal as refusal:
            assert (refusal.code, budget.taken) == ("RESOURCE_EXHAUSTED", before)
        assert budget.taken == sum(h.size for h in held) and min([0, *(h.size for h in held)]) == 0
        assert budget.taken + reserved <= LIMIT
    for one in held * 2:
        one.release()
    assert budget.taken == 0


def test_large_bodies_leave_room_for_small_ones():
    budget = Budget(LIMIT, LARGEST)
    large = budget.take(budget.room(small=False))
    with pytest.raises(Refusal, match="try again a little later"):
        budget.take(1)
    with budget.take(LIMIT // 100, small=True):
        assert budget.taken > large.size
    large.release()


def test_one_body_of_the_largest_size_always_fits():
    for largest in (1, 1000, LARGEST, 64 * 2**20):
        budget = Budget(least(largest), largest)
        assert budget.keep_for_reads().count >= 1 and budget.keep_for_reads() is budget.reads
        budget.take(largest * max(budgets.REST_COPIES, budgets.GRPC_COPIES))
        with pytest.raises(ConfigError, match=rf"give {least(largest)} or more"):
            Budget(least(largest) - 1, largest)


def test_the_default_is_half_of_the_memory(monkeypatch):
    assert default_limit(LARGEST) >= least(LARGEST)
    monkeypatch.setattr(budgets, "memory", lambda: 2**40)
    assert default_limit(LARGEST) == 2**39
    monkeypatch.setattr(budgets, "memory", lambda: 0)
    assert default_limit(LARGEST) == least(LARGEST)


def test_the_memory_of_a_control_group_counts(monkeypatch, tmp_path):
    group = tmp_path / "memory.max"
    monkeypatch.setattr(budgets, "GROUPS", (str(tmp_path / "none"), str(group)))
    machine = budgets.memory()
    for text, bytes_ in (("4096\n", 4096), ("max\n", machine), (str(2**63), machine)):
        group.write_text(text)
        assert budgets.memory() == bytes_ > 0

"""The ledger: nobody overspends, nothing is forgotten, and whatever is wrong with the file is one sentence."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_child import Pure

from privzoo.edge import Queue
from privzoo.errors import BudgetError, ConfigError
from privzoo.mechanisms.budget import Cost
from privzoo.mechanisms.gaussian import Gaussian, budget_sigma
from privzoo.mechanisms.ledger import Ledger

TESTS = Path(__file__).resolve().parents[1]
GAUSSIAN = Gaussian(4.0, 1.0)
ROUNDING = 1 + 1e-9


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def child(path, pure: float, total: float) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        [sys.executable, TESTS / "helpers" / "ledger_child.py", path, str(pure), str(total)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_was_spent_outlives_the_process(path):
    Ledger(path).spend(GAUSSIAN, 3, owner="anna", model="m", head="h")
    ledger = Ledger(path)
    assert ledger.spent("anna") == GAUSSIAN.epsilon(3) and ledger.spent("ben") == ledger.spent() == 0
    assert ledger.spent("anna", 1e-7) == GAUSSIAN.epsilon(3, 1e-7) > ledger.spent("anna")
    ledger.spend(GAUSSIAN, 2, owner="anna", model="m", head="h")
    ledger.spend(Pure(0.5), 2, owner="anna", model="other", head="g")
    assert ledger.spent("anna") == pytest.approx(GAUSSIAN.epsilon(5) + 1)
    first, second = ledger.entries("anna")
    assert (first.owner, first.model, first.head, first.queries) == ("anna", "m", "h", 5)
    assert first.mechanism == GAUSSIAN.describe() and first.cost == GAUSSIAN.cost * 5
    assert (second.mechanism, second.cost) == ({"kind": "pure", "epsilon": 0.5}, Cost(pure=1.0))
    assert time.time() - 60 < first.since <= first.until <= second.since <= time.time()
    assert ledger.entries() == [first, second] and ledger.entries("ben") == []


def test_only_its_owner_reads_it(path):
    Ledger(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_beyond_the_total_nothing_is_spent(path):
    ledger, total = Ledger(path), GAUSSIAN.epsilon(5)
    assert ledger.remaining(GAUSSIAN, total) == 5
    ledger.spend(GAUSSIAN, 3, total_epsilon=total)
    with pytest.raises(BudgetError, match=r"Sending 3 more would bring 'device' to epsilon .* \(2 more would fit\)"):
        ledger.spend(GAUSSIAN, 3, total_epsilon=total)
    assert ledger.remaining(GAUSSIAN, total) == 2
    ledger.spend(GAUSSIAN, 2, total_epsilon=total)
    assert ledger.remaining(GAUSSIAN, total) == 0 and ledger.spent() == pytest.approx(total)
    for mechanism in (GAUSSIAN, Pure(0.01)):
        with pytest.raises(BudgetError, match="0 more would fit"):
            ledger.spend(mechanism, 1, total_epsilon=total)
    ledger.spend(GAUSSIAN, 1, total_epsilon=total, owner="another")
    ledger.spend(GAUSSIAN, 0, total_epsilon=total)


def test_a_total_equal_to_one_feature_allows_one(path):
    one = Gaussian(budget_sigma(4, 1e-5, 1.0), 1.0)
    assert Ledger(path).remaining(one, 4) == 1
    Ledger(path).spend(one, 1, total_epsilon=4)


spends = st.lists(
    st.tuples(
        st.sampled_from(["anna", "ben"]),
        st.one_of(
            st.builds(Gaussian, st.floats(1, 20), st.just(1.0)),
            st.builds(Pure, st.floats(0.01, 2)),
        ),
        st.integers(0, 20),
    ),
    max_size=12,
)


@settings(max_examples=30)
@given(spends, st.floats(0.5, 10), st.sampled_from([1e-5, 1e-7, 0.01]))
def test_no_sequence_exceeds_the_total(tmp_path_factory, steps, total, delta):
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    taken = {"anna": Cost(), "ben": Cost()}
    for owner, mechanism, queries in steps:
        fits = Ledger(path).remaining(mechanism, total, delta, owner)
        try:
            Ledger(path).spend(mechanism, queries, owner=owner, total_epsilon=total, total_delta=delta)
        except BudgetError:
            assert queries > fits
        else:
            assert queries <= fits
            taken[owner] += mechanism.cost * queries
    for owner, cost in taken.items():
        assert Ledger(path).spent(owner, delta) == pytest.approx(cost.epsilon(delta), rel=1e-9)
        assert cost.epsilon(delta) <= total * ROUNDING


@settings(max_examples=5)
@given(st.lists(st.sampled_from([Gaussian(6.0, 1.0), Gaussian(3.0, 1.0), Pure(0.1)]), min_size=8, max_size=24))
def test_threads_cannot_overspend(tmp_path_factory, mechanisms):
    ledger, total = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite", timeout=60), 3.0

    def spend(mechanism):
        try:
            ledger.spend(mechanism, 1, total_epsilon=total)
        except BudgetError:
            return Cost()
        return mechanism.cost

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(spend, mechanisms), Cost())
    assert ledger.spent() == pytest.approx(taken.epsilon(), rel=1e-9) and taken.epsilon() <= total * ROUNDING


def test_processes_cannot_overspend(path):
    children = [child(path, 0.25, 10) for _ in range(3)]  # all make the file, too
    printed = [process.communicate(timeout=120)[0] for process in children]
    assert sum(text.count("taken") for text in printed) == 40
    assert all("above the total of 10" in text for text in printed)
    assert Ledger(path).spent() == 10


def test_kill_9_forgets_nothing(path):
    process = child(path, 0.001, 1e6)
    for _ in range(20):
        assert process.stdout.readline() == "taken\n"
    os.kill(process.pid, signal.SIGKILL)
    told = 20 + process.communicate()[0].count("taken")
    (entry,) = Ledger(path).entries()
    assert told <= entry.queries <= told + 1


def test_a_process_that_dies_while_it_writes_spends_nothing_and_holds_nobody_up(path):
    ledger = Ledger(path)
    code = (
        "import os, sqlite3, sys\n"
        "base = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "base.execute('BEGIN IMMEDIATE')\n"
        "base.execute(\"INSERT INTO spending VALUES ('device', 'm', 'h', '{}', 1, 0, 1, 0, 0, 0)\")\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 9
    assert ledger.spent() == 0
    ledger.spend(GAUSSIAN, 1)


def test_forked_processes_share_it(path):
    ledger = Ledger(path)
    ledger.spend(Pure(1.0), 1)
    if (process := os.fork()) == 0:
        try:
            ledger.spend(Pure(1.0), 1)
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    assert ledger.spent() == 2


def test_the_clock_has_no_say(path, monkeypatch):
    ledger = Ledger(path)
    for now in (2e9, 1e9, -5.0, 2e9 + 5):  # back by decades, and before 1970
        monkeypatch.setattr(time, "time", lambda now=now: now)
        ledger.spend(Pure(1.0), 1, total_epsilon=4)
    with pytest.raises(BudgetError):
        ledger.spend(Pure(1.0), 1, total_epsilon=4)
    assert [(entry.queries, entry.since, entry.until) for entry in ledger.entries()] == [
        (1, -5.0, -5.0),
        (1, 1e9, 1e9),
        (2, 2e9, 2e9 + 5),
    ]


def test_a_day_is_one_row(path):
    ledger = Ledger(path)
    for _ in range(20):
        ledger.spend(GAUSSIAN, 5)
    assert sum(entry.queries for entry in ledger.entries()) == 100 and len(ledger.entries()) <= 2


def test_files_that_are_no_ledger(path, tmp_path):
    (tmp_path / "text").write_text("no database, but long enough to look at" * 50)
    with pytest.raises(ConfigError, match="cannot be used .*not a database.*check the file"):
        Ledger(tmp_path / "text")
    Queue(tmp_path / "queue").close()
    with pytest.raises(ConfigError, match="is not a ledger of privzoo"):
        Ledger(tmp_path / "queue")
    for wrong in (tmp_path, tmp_path / "nowhere" / "ledger"):
        with pytest.raises(ConfigError, match="cannot be used"):
            Ledger(wrong)
    for wrong in (None, 3, True, "nul\0"):
        with pytest.raises(ConfigError, match="give the path"):
            Ledger(wrong)
    Ledger(path)
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA user_version=2")
    with pytest.raises(ConfigError, match=r"another version of privzoo \(2\)"):
        Ledger(path)


def test_names_of_files_are_taken_as_they_are(tmp_path):
    for name in ("a b?mode=ro#x%20.sqlite", "größe", b"\xff.sqlite"):
        path = os.fsencode(tmp_path) + b"/" + os.fsencode(name)
        Ledger(path).spend(GAUSSIAN, 1)
        assert Ledger(path).spent() > 0 and os.path.exists(path)


@pytest.mark.parametrize("where", [0, 100, 4096])
def test_a_damaged_file(path, where):
    ledger = Ledger(path)
    ledger.spend(GAUSSIAN, 1)
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xa5" * 2048)
    for use in (lambda: Ledger(path), lambda: ledger.spend(GAUSSIAN, 1, total_epsilon=99), ledger.spent):
        with pytest.raises(ConfigError, match=r"ledger\.sqlite"):
            use()


@pytest.mark.parametrize(
    "change",
    [
        *("mu_squared = -1", "mu_squared = 9e999", "mu_squared = 'x'", "pure = -0.5", "pure = 9e999", "queries = -2"),
        *("queries = 0", "queries = 1.5", "since = 'x'", "owner = x'00'", "mechanism = x'ff'"),
    ],
)
def test_a_damaged_entry(path, change):
    ledger = Ledger(path)
    ledger.spend(GAUSSIAN, 1)
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        base.execute("PRAGMA ignore_check_constraints = 1")
        base.execute(f"UPDATE spending SET {change}")
    for use in (
        lambda: ledger.spend(GAUSSIAN, 1, total_epsilon=99),
        ledger.spent,
        ledger.cost,
        ledger.entries,
        lambda: ledger.remaining(GAUSSIAN, 99),
    ):
        with pytest.raises(ConfigError, match=r"ledger\.sqlite cannot be used \(1 of its entries are damaged\)"):
            use()


def test_a_file_that_was_taken_away_is_missed(path):
    ledger = Ledger(path)
    path.unlink()
    for use in (lambda: ledger.spend(GAUSSIAN, 1), ledger.spent, ledger.entries):
        with pytest.raises(ConfigError, match="unable to open"):
            use()
    assert not path.exists()


def test_a_ledger_that_was_deleted_and_made_anew_gives_nothing_out(path):
    ledger = Ledger(path)  # nothing was spent here yet: it has to know the file itself
    path.unlink()
    other = Ledger(path)
    other.spend(GAUSSIAN, 9)
    for use in (lambda: ledger.spend(GAUSSIAN, 1, total_epsilon=99), ledger.spent, ledger.entries):
        with pytest.raises(ConfigError, match="it was replaced by another ledger"):
            use()
    assert other.spent() == GAUSSIAN.epsilon(9)
    Ledger(path).spend(GAUSSIAN, 1)  # opened again it forgets: the folder is what protects the file


def test_a_ledger_that_was_set_back_gives_nothing_out(path):
    ledger = Ledger(path)
    ledger.spend(GAUSSIAN, 2)
    before = path.read_bytes()
    ledger.spend(GAUSSIAN, 1)
    path.write_bytes(before)
    assert Ledger(path).spent() == GAUSSIAN.epsilon(2)
    assert ledger.timeout == 10 and ledger.path == path
    for use in (lambda: ledger.spend(GAUSSIAN, 1), ledger.spent):
        with pytest.raises(ConfigError, match="it records 2 features, fewer than the 3 before"):
            use()


def test_a_ledger_that_is_deleted_while_it_is_written_gives_nothing_out(path, monkeypatch):
    ledger = Ledger(path)
    monkeypatch.setattr(GAUSSIAN.__class__, "describe", lambda self: path.unlink() or {})
    with pytest.raises(ConfigError, match=r"ledger\.sqlite"):
        ledger.spend(GAUSSIAN, 1)
    monkeypatch.undo()
    ledger = Ledger(path)
    monkeypatch.setattr(Ledger, "_cost", lambda self, base, owner: path.unlink() or Cost())
    with pytest.raises(ConfigError, match=r"ledger\.sqlite"):
        ledger.spend(GAUSSIAN, 1, total_epsilon=99)


@pytest.mark.parametrize("name", ["path", "timeout", "spend", "cost", "_open", "anything"])
def test_no_attribute_can_be_set_or_deleted(path, name):
    ledger = Ledger(path)
    for change in (lambda: setattr(ledger, name, None), lambda: delattr(ledger, name)):
        with pytest.raises(AttributeError):
            change()
    with pytest.raises(ConfigError, match="is open and cannot be changed"):
        ledger.__init__(path.with_name("other"))
    assert not hasattr(ledger, "__dict__") and not path.with_name("other").exists()


@pytest.mark.parametrize("timeout", ["1", None, 0, float("nan"), 1e300])
def test_timeouts_that_cannot_be(path, timeout):
    with pytest.raises(ConfigError, match="timeout=.* is not valid"):
        Ledger(path, timeout)
    assert not path.exists()


def test_a_file_that_another_holds(path):
    ledger = Ledger(path, timeout=0.05)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        for use in (lambda: ledger.spend(GAUSSIAN, 1), ledger.spent, lambda: Ledger(path, timeout=0.05)):
            with pytest.raises(ConfigError, match="database is locked"):
                use()
        other.execute("ROLLBACK")
    other.close()
    ledger.spend(GAUSSIAN, 1)
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, holder.close)
    timer.start()
    Ledger(path, timeout=60).spend(GAUSSIAN, 1)  # it waits
    timer.join()
    assert ledger.spent() == GAUSSIAN.epsilon(2)


def connecting(monkeypatch, change) -> None:
    """Has every connection of the ledger opened another way."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda name, **options: change(connect, name, **options))


def test_a_file_that_may_only_be_read(path, monkeypatch):
    ledger = Ledger(path)
    ledger.spend(GAUSSIAN, 1)
    connecting(monkeypatch, lambda connect, name, **options: connect(name.replace("mode=rw", "mode=ro"), **options))
    for use in (lambda: ledger.spend(GAUSSIAN, 1), lambda: Ledger(path)):
        with pytest.raises(ConfigError, match="readonly database"):
            use()
    assert ledger.spent() == GAUSSIAN.epsilon(1)


def test_a_full_disk(path, monkeypatch):
    ledger = Ledger(path)
    ledger.spend(GAUSSIAN, 1)

    def full(connect, name, **options):
        base = connect(name, **options)
        base.execute("PRAGMA max_page_count=1")
        return base

    connecting(monkeypatch, full)
    with pytest.raises(ConfigError, match="full"):
        for number in range(1000):
            ledger.spend(GAUSSIAN, 1, owner=f"a name that takes room {number}" * 20)
    assert ledger.spent() == GAUSSIAN.epsilon(1)
    assert sum(entry.queries for entry in ledger.entries()) == number + 1


@pytest.mark.parametrize("owner", ["", None, 3, "a\nb", "\ud800", b"anna"])
def test_owners_that_cannot_be(path, owner):
    ledger = Ledger(path)
    for use in (lambda: ledger.spend(GAUSSIAN, 1, owner=owner), lambda: ledger.spent(owner)):
        with pytest.raises(ConfigError, match="give a name"):
            use()


@pytest.mark.parametrize("total", [0, -1, "4", True, float("nan"), float("inf")])
def test_totals_that_cannot_be(path, total):
    ledger = Ledger(path)
    for use in (lambda: ledger.spend(GAUSSIAN, 1, total_epsilon=total), lambda: ledger.remaining(GAUSSIAN, total)):
        with pytest.raises(ConfigError, match="is not valid"):
            use()
    for queries in (-1, 1.5, True, 10**16):
        with pytest.raises(ConfigError, match="queries="):
            ledger.spend(GAUSSIAN, queries)
    with pytest.raises(ConfigError, match="is not valid"):
        ledger.spent(delta=2)
    assert ledger.entries() == []

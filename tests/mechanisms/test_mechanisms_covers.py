"""Covers: each is given out once, whatever happens, and two requests that shared one would give it away."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from privzoo.errors import ConfigError, ImageError
from privzoo.mechanisms.covers import Covers
from privzoo.mechanisms.mixing import Key


def chips(count: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)


def hashes(taken: np.ndarray) -> list[bytes]:
    return [chip.tobytes() for chip in taken]


@pytest.mark.parametrize("recorded", [False, True])
def test_a_cover_is_given_out_once(tmp_path, recorded):
    record = tmp_path / "covers.sqlite" if recorded else None
    pool = Covers(chips(), record)
    taken = [*hashes(pool.take(3)), *hashes(pool.take(4))]
    assert len(set(taken)) == 7 and pool.remaining() == 3
    with pytest.raises(ConfigError, match="has 3 unused covers of 10, and 4 are needed"):
        pool.take(4)
    assert pool.remaining() == 3  # none was taken
    again = Covers(chips(), record)
    assert again.remaining() == (3 if recorded else 10)
    if recorded:
        assert not set(hashes(again.take(3))) & set(taken)
        assert record.stat().st_mode & 0o077 == 0


def test_equal_chips_are_one_cover():
    assert Covers(np.concatenate([chips(4), chips(4)])).remaining() == 4


def test_faces_that_were_asked_about_are_no_covers():
    pool = Covers(chips())
    assert hashes(pool.take(1, chips()[:9])) == hashes(chips()[9:]) and pool.remaining() == 0
    pool = Covers(chips())
    with pytest.raises(ConfigError, match="has 1 unused covers of 10, and 2 are needed"):
        pool.take(2, chips()[:9])
    assert pool.remaining() == 10


def test_covers_are_drawn_at_random():
    assert len({hashes(Covers(chips()).take(1))[0] for _ in range(40)}) > 3
    assert hashes(Covers(chips()).take(5, rng=random.Random(1))) == hashes(
        Covers(chips()).take(5, rng=random.Random(1))
    )


def test_nothing_and_the_empty_pool():
    assert Covers(chips()).take(0).shape == (0, 4, 4, 3)
    with pytest.raises(ConfigError, match="has 0 unused covers of 0"):
        Covers(chips(0)).take(1)


def test_threads_and_processes_take_turns(tmp_path):
    record = tmp_path / "covers.sqlite"
    code = (
        "import sys; sys.path[:0] = [sys.argv[2]]; import test_mechanisms_covers as t; "
        "p = t.Covers(t.chips(60), sys.argv[1]); print(*(c.hex() for _ in range(5) for c in t.hashes(p.take(2))))"
    )
    here = os.path.dirname(__file__)
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(record), here], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    pool = Covers(chips(60), record)
    with ThreadPoolExecutor(4) as threads:
        own = [one for part in threads.map(lambda _: hashes(pool.take(2)), range(10)) for one in part]
    taken = [one.hex() for one in own] + [one for other in others for one in other.communicate(timeout=60)[0].split()]
    assert len(taken) == len(set(taken)) == 40 and pool.remaining() == 20


def test_two_requests_that_share_a_cover_give_it_away():
    """Why: the spans of both meet in it. Nothing but the mixtures is used here."""
    rng = np.random.default_rng(0)
    shared, first, second = rng.normal(size=(1, 200)), rng.normal(size=(3, 200)), rng.normal(size=(3, 200))
    one, two = (Key.drawn(1, 4).mix(np.concatenate([shared, rest])) for rest in (first, second))
    bases = [np.linalg.qr(mixtures.T)[0] for mixtures in (one, two)]
    left, cosines, _ = np.linalg.svd(bases[0].T @ bases[1])
    assert cosines[0] > 0.9999 > 0.9 > cosines[1]
    found = bases[0] @ left[:, 0]
    assert abs(np.corrcoef(found, shared[0])[0, 1]) > 0.999


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 5, 3), np.uint8), np.zeros(3, np.uint8)])
def test_what_are_no_face_chips_is_refused(wrong):
    with pytest.raises(ImageError, match="give face chips"):
        Covers(wrong)


def test_a_record_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be used"):
        Covers(chips(), tmp_path / "missing" / "covers.sqlite")
    (tmp_path / "text").write_text("no database at all, but some text that is long enough to be none")
    with pytest.raises(ConfigError, match="cannot be used"):
        Covers(chips(), tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as base:
        base.execute("CREATE TABLE mine (x)")
    with pytest.raises(ConfigError, match="is not a record of covers"):
        Covers(chips(), tmp_path / "other")

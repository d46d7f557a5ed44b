"""Numbers that users give: every kind of number is taken, what only looks like one is refused by its name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from export_fakes import chips, exported, pair
from hypothesis import given
from hypothesis import strategies as st

import privzoo
from privzoo import checks, cli, faces, weights
from privzoo.edge import Client, Head
from privzoo.errors import ConfigError
from privzoo.export import tflite
from privzoo.mechanisms.gaussian import Gaussian, budget_sigma, spent_epsilon

NO_NUMBERS = ["4", True, False, np.True_, None, [4], np.array([4.0]), 4j, math.nan, math.inf, -math.inf, 10**400]
NOISY = "vgg16_gender_advanced_conv5_3"


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 0.0, np.float32(-2)], ids=repr)
def test_what_is_no_number_above_0_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"^size=.* is not valid; give a finite number of metres above 0\.$"):
        checks.number("size", value, above=0, unit="metres")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.0, 3.5, 0, 9, np.float64(2)], ids=repr)
def test_what_is_no_count_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"^many=.* is not valid; give a whole number from 1 to 8\.$"):
        checks.count("many", value, least=1, most=8)


def test_a_refusal_stays_short():
    for value in ("4" * 10_000, 10**10_000, [1] * 10_000):
        with pytest.raises(ConfigError) as caught:
            checks.number("size", value)
        assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@given(st.one_of(st.floats(0.001, 0.999), st.floats(0.5, 0.75, width=32).map(np.float32), st.just(np.float16(0.5))))
def test_numbers_come_back_as_floats(value):
    found = checks.number("share", value, above=0, below=1)
    assert type(found) is float and found == float(value)


@given(st.integers(1, 100), st.sampled_from([int, np.int8, np.uint64]))
def test_counts_come_back_as_ints(value, kind):
    found = checks.count("many", kind(value), least=1)
    assert type(found) is int and found == value


@pytest.mark.parametrize("value", ["4", True, math.nan, math.inf, None], ids=repr)
def test_whoever_takes_a_number_refuses_what_is_none(value):
    path = exported("int8")
    calls = {
        "sigma": lambda: Gaussian(value, 1.0),
        "clip": lambda: Gaussian(1.0, value),
        "epsilon": lambda: budget_sigma(value, 1e-5, 1.0),
        "delta": lambda: budget_sigma(4.0, value, 1.0),
        "queries": lambda: spent_epsilon(Gaussian(1.0, 1.0), value),
        "threads": lambda: Head(path, threads=value),
        "timeout": lambda: Client(Head(path), "http://cloud:8501", timeout=value),
        "attempts": lambda: Client(Head(path), "http://cloud:8501", attempts=value),
        "size": lambda: faces.resize(chips()[0], value),
    }
    if value is not None:  # which means "no bound" or "as usual" here
        calls["deadline"] = lambda: Client(Head(path), "http://cloud:8501", deadline=value)
        calls["version"] = lambda: Client(Head(path), "http://cloud:8501", version=value)
    for name, call in calls.items():
        with pytest.raises(ConfigError, match=f"^{name}=.* is not valid; give a"):
            call()


@pytest.mark.parametrize("epsilon", ["4", True, math.nan, math.inf, 0, -1], ids=repr)
def test_load_refuses_a_budget_before_it_loads(epsilon, monkeypatch):
    monkeypatch.setattr(privzoo.zoo, "load_network", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=r"^epsilon=.* is not valid; give a finite number above 0\.$"):
        privzoo.load(NOISY, epsilon=epsilon)
    with pytest.raises(ConfigError, match="^delta=.* is not valid"):
        privzoo.load(NOISY, epsilon=4, delta="1e-5")


@pytest.mark.parametrize("url", ["gs://bucket/x", "s3://bucket/x", "file:///srv/x", "HTTPS://host/x", "gs:/bucket/x"])
def test_a_url_is_no_path_wherever_files_are_read_or_written(url, tmp_path, monkeypatch):
    """Python would make a folder called gs: of it."""
    from privzoo.data import folder
    from privzoo.edge import Queue, read_manifest
    from privzoo.edge.unprotected import UnprotectedHead
    from privzoo.export import saved_model
    from privzoo.files import write_bytes
    from privzoo.mechanisms.ledger import Ledger
    from privzoo.serving.keys import Keys

    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(exported("int8"))
    monkeypatch.setattr(saved_model, "_write", lambda *_: pytest.fail("written"))
    calls = {
        "Head": lambda: Head(url),
        "UnprotectedHead": lambda: UnprotectedHead(url),
        "read_manifest": lambda: read_manifest(url),
        "Queue": lambda: Queue(url),
        "Ledger": lambda: Ledger(url),
        "Keys": lambda: Keys(url),
        "ca": lambda: Client(Head(exported("int8")), "https://cloud:8501", ca=url),
        "tail": lambda: saved_model.export_tail(pair()[1], url, "m", 1, manifest),
        "head": lambda: tflite.export_head(pair()[0], url, "int8", manifest),
        "data": lambda: folder.load(url),
        "any file": lambda: write_bytes(Path(url), b""),
        "privzoo export": lambda: cli._export(cli._parser().parse_args(["export", "x", "--out", url])),
    }
    advice = "give /srv/x" if url.startswith("file") else "give a path on this machine"
    for name, call in calls.items():
        given = str(Path(url)) if name == "any file" else url
        with pytest.raises(ConfigError, match=f"^The path {given} is not supported: .*; {advice}"):
            call()
    monkeypatch.setenv("PRIVZOO_HOME", url)
    with pytest.raises(ConfigError, match="is not supported"):
        weights.cache_folder()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["a:b", "C:/x", "a b/c:d", "./gs:/x", "/gs://x"])
def test_odd_paths_that_are_no_urls(path):
    assert checks.local_path(path) == Path(path)


def test_numpy_numbers_are_taken():
    head = Head(exported("int8"), threads=np.int64(1))
    with Client(head, "http://cloud:8501", timeout=np.float32(2), attempts=np.uint8(1), version=np.int32(3)):
        pass
    assert budget_sigma(np.float32(4), np.float64(1e-5), 1.0) == budget_sigma(4, 1e-5, 1.0)
    assert faces.resize(chips()[0], np.int16(8)).shape == (8, 8, 3)

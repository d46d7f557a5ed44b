"""The int8 coding of weights, and where their files are found."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privzoo import weights
from privzoo.config import WeightsFile
from privzoo.errors import WeightsError

shapes = hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)
kernels = hnp.arrays(np.float32, shapes, elements=st.floats(-8, 8, width=32))


@given(kernels, st.sampled_from([("int5", 15), ("int8", 127), ("int16", 32767)]))
def test_coding_is_right_to_half_a_step_of_its_channel(kernel, coding):
    dtype, codes = coding
    coded = weights.encode({"conv/kernel": kernel, "conv/bias": kernel[0]}, dtype)
    assert coded["conv/kernel"].dtype == weights.STORED.get(dtype, dtype)
    decoded = weights.decode(coded)
    step = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / codes
    assert (np.abs(decoded["conv/kernel"] - kernel) <= step / 2 + 1e-6).all()
    assert np.array_equal(decoded["conv/bias"], kernel[0])
    again = weights.decode(weights.encode(decoded, dtype))
    np.testing.assert_allclose(again["conv/kernel"], decoded["conv/kernel"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    with pytest.raises(WeightsError, match="conv/kernel"):
        weights.encode({"conv/kernel": np.full((1, 1, 2, 2), value)})


def test_a_file_keeps_the_weights_and_its_bytes(tmp_path):
    values = {"a/kernel": np.random.default_rng(0).normal(size=(3, 3, 4, 5)), "a/bias": np.arange(5.0)}
    first, second = weights.save(values, tmp_path / "w.npz"), weights.save(values, tmp_path / "v.npz")
    assert first.sha256 == second.sha256
    assert first.bytes == (tmp_path / "w.npz").stat().st_size
    assert set(weights.read(tmp_path / "w.npz")) == set(values)
    assert not list(tmp_path.glob("*.part"))


def test_a_child_stores_whole_layers_that_differ():
    parent = {"a/kernel": np.ones(3), "a/bias": np.ones(1), "b/kernel": np.ones(3), "b/bias": np.ones(1)}
    child = parent | {"b/bias": np.zeros(1), "c/kernel": np.ones(2)}
    assert set(weights.differing(child, parent)) == {"b/kernel", "b/bias", "c/kernel"}


@pytest.fixture
def released(tmp_path, monkeypatch):
    """A weights file in a folder of its own, its entry, and an empty cache."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    entry = weights.save({"a/kernel": np.ones((2, 2))}, folder / "a.npz")
    monkeypatch.setenv("PRIVZOO_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PRIVZOO_WEIGHTS_URL", raising=False)
    return folder, entry


@pytest.fixture
def mirror(released):
    """The same folder behind a real HTTP server."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=released[0])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_weights_come_from_the_cache(released, tmp_path):
    folder, entry = released
    (tmp_path / "cache").mkdir()
    (folder / "a.npz").rename(tmp_path / "cache" / "a.npz")
    assert weights.find(entry) == tmp_path / "cache" / "a.npz"


def test_weights_come_from_the_mirror_once(released, mirror, tmp_path, monkeypatch):
    folder, entry = released
    monkeypatch.setenv("PRIVZOO_WEIGHTS_URL", mirror + "/")
    assert weights.find(entry) == tmp_path / "cache" / "a.npz"
    (folder / "a.npz").unlink()
    assert weights.sha256(weights.find(entry)) == entry.sha256


def test_damaged_or_missing_weights_always_raise(released, mirror, tmp_path, monkeypatch):
    folder, entry = released
    with pytest.raises(WeightsError, match="PRIVZOO_WEIGHTS_URL"):
        weights.find(entry)
    monkeypatch.setenv("PRIVZOO_WEIGHTS_URL", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="could not be fetched"):
        weights.find(entry)
    monkeypatch.setenv("PRIVZOO_WEIGHTS_URL", "http://me:secret@127.0.0.1:9/zoo")
    with pytest.raises(WeightsError, match="could not be fetched from http://127.0.0.1:9/zoo/a.npz") as failed:
        weights.find(entry)
    assert "secret" not in str(failed.value)
    monkeypatch.setenv("PRIVZOO_WEIGHTS_URL", mirror)
    with pytest.raises(WeightsError, match="HTTP 404"):
        weights.find(WeightsFile("none.npz", entry.sha256, 1))
    for proxy in ("socks9://127.0.0.1:9", "http://[", "socks5://127.0.0.1:9"):  # without its package, too
        with monkeypatch.context() as patch, pytest.raises(WeightsError, match="could not be fetched.*HTTPS_PROXY"):
            patch.setenv("ALL_PROXY", proxy)
            weights.find(entry)
    other = WeightsFile("a.npz", hashlib.sha256(b"other").hexdigest(), 1)
    with pytest.raises(WeightsError, match="wrong SHA-256"):
        weights.find(other)
    assert not (tmp_path / "cache" / "a.npz").exists()
    weights.find(entry)
    (tmp_path / "cache" / "a.npz").write_bytes(b"half")
    with pytest.raises(WeightsError, match="damaged"):
        weights.find(entry)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"no archive at all"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(WeightsError, match="bad.npz"):
        weights.read(tmp_path / "bad.npz")


def test_pickles_are_never_loaded(tmp_path):
    np.savez(tmp_path / "evil.npz", **{"a/kernel": np.array([{"an": "object"}], dtype=object)})
    with pytest.raises(WeightsError, match="evil.npz"):
        weights.read(tmp_path / "evil.npz")


def head_of(kernels: list[np.ndarray], path, rng: np.random.Generator):
    """A file that holds kernels as LiteRT does, between bytes of other kinds."""
    parts = [rng.bytes(101)]
    for kernel in kernels:
        parts += [np.moveaxis(kernel, -1, 0).tobytes(), rng.bytes(13)]
    path.write_bytes(b"".join(parts))
    return path


@given(st.integers(0, 2**32 - 1), st.lists(st.booleans(), min_size=1, max_size=4))
def test_kernels_that_a_head_holds_are_read_from_it_to_the_bit(tmp_path_factory, seed, held):
    folder, rng = tmp_path_factory.mktemp("shared"), np.random.default_rng(seed)
    values = {f"l{i}/kernel": rng.normal(size=(3, 3, 16, 8 + i)) for i in range(len(held))}
    coded = weights.encode(values | {"l0/bias": np.ones(8)})
    head = head_of([coded[f"l{i}/kernel"] for i, here in enumerate(held) if here], folder / "h_int8.tflite", rng)
    entry = weights.share(coded, folder / "w.npz", head)
    found = weights.read_codes(folder / "w.npz", head)
    assert found.keys() == coded.keys() and all(np.array_equal(found[key], coded[key]) for key in coded)
    assert (entry.kernels_in is not None) == any(held)
    assert entry.bytes < weights.share(coded, folder / "whole.npz", None).bytes or not any(held)


@pytest.fixture
def sharing(released, tmp_path):
    """Entry of weights whose kernel lies in a head, both in the mirror's folder."""
    folder, rng = released[0], np.random.default_rng(0)
    coded = weights.encode({"a/kernel": rng.normal(size=(3, 3, 16, 16))})
    head = head_of([coded["a/kernel"]], folder / "h_int8.tflite", rng)
    return coded, weights.share(coded, folder / "s.npz", head)


def test_a_mirror_gives_the_head_with_the_kernels_too(released, sharing, mirror, tmp_path, monkeypatch):
    coded, entry = sharing
    assert weights.missing(entry) == "s.npz"
    (tmp_path / "cache").mkdir()
    (released[0] / "s.npz").rename(tmp_path / "cache" / "s.npz")
    assert weights.missing(entry) == "h_int8.tflite"
    with pytest.raises(WeightsError, match=r"h_int8.tflite.*checkout \(tflite/\)"):
        weights.stored(entry)
    monkeypatch.setenv("PRIVZOO_WEIGHTS_URL", mirror)
    assert weights.missing(entry) is None
    assert np.array_equal(weights.stored(entry)["a/kernel"], weights.decode(coded)["a/kernel"])
    (tmp_path / "cache" / "h_int8.tflite").write_bytes(b"short")
    with pytest.raises(WeightsError, match="h_int8.tflite is damaged"):
        weights.stored(entry)


def test_a_file_without_its_kernels_is_not_taken_for_a_whole_one(released, sharing):
    with pytest.raises(WeightsError, match="lie in a released head; load it as the weights of its network"):
        weights.read(released[0] / "s.npz")

"""Reading heads' files: whatever is wrong with one, one sentence says so."""

from __future__ import annotations

import json

import pytest
from export_fakes import exported
from hypothesis import given, settings
from hypothesis import strategies as st

from privzoo.edge import Head, read_manifest
from privzoo.edge.manifest import parse_manifest
from privzoo.errors import ConfigError, PrivzooError, WeightsError
from privzoo.export.manifests import append_manifest


@pytest.fixture(scope="module")
def content() -> bytes:
    return exported("int8").read_bytes()


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    return tmp_path_factory.mktemp("broken") / "head.tflite"


def flatbuffer(content: bytes) -> bytes:
    return content[: read_manifest(exported("int8"))["head"]["bytes"]]


@settings(max_examples=60)
@given(data=st.data())
def test_cut_short(content, broken, data):
    broken.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(WeightsError, match="truncated|not a TFLite"):
        read_manifest(broken)


@settings(max_examples=100)
@given(data=st.data())
def test_one_byte_changed(content, broken, data):
    """A changed flatbuffer is always noticed; a changed byte of the archive is, or does not matter."""
    place, change = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    broken.write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
    try:
        manifest = read_manifest(broken)
    except PrivzooError:
        return
    assert place >= len(flatbuffer(content)) and manifest == read_manifest(exported("int8"))


def test_foreign_files(content, tmp_path):
    path = tmp_path / "head.tflite"
    with pytest.raises(WeightsError, match="There is no head at .*head.tflite"):
        Head(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        Head(tmp_path)
    for other in (b"", b"PK\x03\x04", b"a photograph, perhaps"):
        path.write_bytes(other)
        with pytest.raises(WeightsError, match="not a TFLite file"):
            Head(path)
    path.write_bytes(flatbuffer(content))
    with pytest.raises(WeightsError, match="no readable privzoo manifest"):
        Head(path)


def test_a_file_of_the_right_form_with_rubbish_inside(tmp_path):
    path = tmp_path / "head.tflite"
    path.write_bytes(append_manifest(b"0000TFL3" + b"rubbish" * 100, read_manifest(exported("int8"))))
    with pytest.raises(WeightsError, match="interpreter refuses"):
        Head(path)


def with_manifest(content: bytes, path, **changed):
    path.write_bytes(append_manifest(flatbuffer(content), {**read_manifest(exported("int8")), **changed}))
    return path


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"format": 2}, "format 2.*reads format 1"),
        ({"classes": "male"}, "classes = 'male'"),
        ({"tail": {}}, "tail.signature = None"),
        ({"input": {"size": 24}}, "needs .*resize.*update privzoo"),
        ({"feature": {"shape": [0]}}, "impossible sizes"),
        ({"noise": {"kind": "gaussian"}}, "needs noise"),
    ],
)
def test_manifests_that_cannot_be_used(content, tmp_path, changed, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Head(with_manifest(content, tmp_path / "head.tflite", **changed))


def test_a_manifest_that_contradicts_its_head(content, tmp_path):
    path = with_manifest(content, tmp_path / "head.tflite", feature={"shape": [6, 6, 512]})
    with pytest.raises(WeightsError, match=r"output .*\(1, 12, 12, 16\).*\(1, 6, 6, 512\)"):
        Head(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_text_is_refused_in_one_way(data):
    with pytest.raises(ConfigError):
        parse_manifest(data, "it")


@settings(max_examples=200)
@given(st.sampled_from(["model", "version", "classes", "input", "feature", "head", "tail"]), JSON)
def test_any_value_in_any_field(field, value):
    manifest = {**read_manifest(exported("int8")), field: value}
    try:
        assert parse_manifest(json.dumps(manifest).encode(), "it") == manifest
    except ConfigError:
        pass

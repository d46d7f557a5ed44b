"""Folders of models: versions, damage, and what the package imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from privzoo.errors import ConfigError, WeightsError
from privzoo.serving.models.folders import find_versions
from privzoo.serving.models.registry import load_versions, read_tail


def test_versions_to_load(folder):
    assert [s.version for s in load_versions("half", folder / "half")] == [10]
    assert [s.version for s in load_versions("half", folder / "half", [2, 1])] == [1, 2]
    with pytest.raises(ConfigError, match="has no version 3; it has 1, 2, 10"):
        load_versions("half", folder / "half", [3])
    with pytest.raises(ConfigError, match="name 'a/b' is invalid"):
        load_versions("a/b", folder / "half")


@pytest.mark.parametrize("url", ["gs://bucket/m", "s3://bucket/m", "hdfs://host/m", "file:///srv/m", "FILE:/srv/m"])
def test_paths_that_are_urls(url, tmp_path, monkeypatch):
    """A path in Python would fold the slashes of its scheme, and say that the folder gs:/bucket/m is not there."""
    from privzoo.serving.engines.common import configs_of
    from privzoo.serving.settings import Options

    advice = "give /srv/m" if url.lower().startswith("file") else "give a path on this machine"
    for ask in (
        lambda: load_versions("m", url),
        lambda: find_versions(url),
        lambda: configs_of(Options(model_base_path=url)),
    ):
        with pytest.raises(ConfigError, match=f"The path {url} is not supported.*{advice}"):
            ask()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b" / "1").mkdir(parents=True)
    (tmp_path / "a:b" / "1" / "saved_model.pb").touch()
    assert list(find_versions("a:b")) == [1]


def test_folders_that_are_no_models(folder, tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        find_versions(tmp_path / "none")
    with pytest.raises(ConfigError, match="has no version of a model"):
        find_versions(tmp_path)
    with pytest.raises(ConfigError, match="give the folder above"):
        find_versions(folder / "half" / "1")
    (tmp_path / "1").mkdir()
    with pytest.raises(ConfigError, match="1 has no saved_model.pb in it"):
        load_versions("x", tmp_path)
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x08\x01not a model")
    with pytest.raises(WeightsError, match="cannot be loaded as a SavedModel") as damaged:
        load_versions("x", tmp_path)
    assert "\n" not in str(damaged.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"feature": {"name": "f", "shape": [null]}, "tail": 1}', "\xff"])
def test_damaged_manifests_are_refused(tmp_path, text):
    assert read_tail(tmp_path) is None
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "privzoo.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="is damaged"):
        read_tail(tmp_path)


def test_importing_the_package_imports_no_tensorflow_and_no_web_server():
    code = "import sys, privzoo.serving; print({'tensorflow', 'keras', 'starlette', 'uvicorn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"

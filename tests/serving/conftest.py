"""Fixtures of the server's tests: real SavedModels behind real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving_helpers import running
from serving_models import build


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    for package in ("tensorflow", "starlette", "tensorflow_serving"):
        pytest.importorskip(package)
    return build(tmp_path_factory.getbasetemp() / "served")


@pytest.fixture(scope="session")
def models(folder):
    from privzoo.serving import Models, load_versions

    loaded = [s for p in sorted(folder.iterdir()) for s in load_versions(p.name, p, "all")]
    models = Models(loaded)
    models.set_labels("half", {"stable": 2, "canary": 10, "gone": 7, "a b": 1})
    yield models
    models.close()


@pytest.fixture(scope="session")
def server(models):
    with running(models) as server:
        yield server


@pytest.fixture(scope="session")
def http(server):
    httpx = pytest.importorskip("httpx")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client

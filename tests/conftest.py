"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

# A busy machine is slow, and no defect.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the data sets: `PRIVZOO_DATA`, or `shared/data` beside the checkout; skips without it."""
    folder = Path(os.environ.get("PRIVZOO_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "utkface.zip").exists():
        pytest.skip(f"the data sets are not in {folder}; set PRIVZOO_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def astronaut():
    """The public-domain portrait of Eileen Collins that scikit-image carries: uint8 RGB (512, 512, 3)."""
    skimage_data = pytest.importorskip("skimage.data")
    return skimage_data.astronaut()

"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

# The tests ask servers on this machine; what the product does where the environment names a proxy is tested
# by tests that name one.
for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)

# A busy machine is slow, and no defect.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# Skips that continuous integration allows: what needs an environment of its own, or data that nobody may hand on.
ALLOWED_SKIPS = re.compile(
    r"\bray\b|tensorflow-model-optimization|tflite-runtime|the data sets are not in", re.IGNORECASE
)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With `PRIVZOO_NO_SKIPS` set, what is skipped for another reason fails: else it would test nothing."""
    if report.skipped and "PRIVZOO_NO_SKIPS" in os.environ and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not ALLOWED_SKIPS.search(reason):
            report.outcome, report.longrepr = "failed", f"skipped where every test has to run: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """A test that skips itself."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """A module that skips itself while it is collected."""
    report = yield
    _refuse_skip(report)
    return report


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

"""The rules of the suite itself: what may be skipped in continuous integration, and what the inner loop leaves out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"

SKIPS = """
import pytest

@pytest.mark.skipif(True, reason="node is not installed")
def test_marked(): pass

def test_while_running(): pytest.skip("java is not installed")

@pytest.mark.skipif(True, reason="the data sets are not in x; set PRIVZOO_DATA to run this test")
def test_allowed(): pass

def test_runs(): pass
"""
MODULE = "import pytest; pytest.importorskip('no_such_package')"


def outcome(folder: Path, **environment: str) -> str:
    """The last line of pytest on these tests."""
    shutil.copy(CONFTEST, folder)
    (folder / "test_skips.py").write_text(SKIPS)
    (folder / "test_module.py").write_text(MODULE)
    clean = {name: value for name, value in os.environ.items() if name not in ("PRIVZOO_NO_SKIPS", "PYTEST_ADDOPTS")}
    command = [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, folder], cwd=folder, env=clean | environment, capture_output=True, text=True)
    return done.stdout.splitlines()[-1]


def test_skips_fail_in_continuous_integration(tmp_path):
    assert outcome(tmp_path, PRIVZOO_NO_SKIPS="1").startswith("1 failed, 1 passed, 1 skipped, 2 errors")


def test_skips_are_skips_elsewhere(tmp_path):
    assert outcome(tmp_path).startswith("1 passed, 4 skipped")

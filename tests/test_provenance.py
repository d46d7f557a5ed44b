"""The code's revision, as figures note it, and files of figures."""

import json
import subprocess

import numpy as np

from privzoo import files, provenance


def test_code_makes_a_revision_dirty_and_written_figures_do_not(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], cwd=tmp_path, check=True)

    figures = ("zoo_configs/cards/card.json", "zoo_configs/optimised/m.json", "zoo_configs/sweeps/m.json", "RESULTS.md")
    for name in ("privzoo/code.py", *figures):
        files.write_text(tmp_path / name, "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "privzoo/provenance.py"))
    assert provenance.git_revision() == "unknown"
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "m")
    clean = provenance.git_revision()
    assert len(clean) == 12
    for name in figures:
        files.write_text(tmp_path / name, "second")
    assert provenance.git_revision() == clean
    files.write_text(tmp_path / "privzoo/code.py", "second")
    assert provenance.git_revision() == f"{clean}-dirty"


def test_numpys_numbers_and_truths_are_written_as_pythons(tmp_path):
    provenance.write_json(
        tmp_path / "a.json", {"met": np.float64(3) > 2, "count": np.int64(7), "share": np.float32(0.5)}
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {"met": True, "count": 7, "share": 0.5}

"""Tests of the code's revision, as figures note it."""

import subprocess

from privzoo import provenance


def test_code_makes_a_revision_dirty_and_written_figures_do_not(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], cwd=tmp_path, check=True)

    for name in ("privzoo/code.py", "zoo_configs/cards/card.json", "RESULTS.md"):
        provenance.write_text(tmp_path / name, "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "privzoo/provenance.py"))
    assert provenance.git_revision() == "unknown"
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "m")
    clean = provenance.git_revision()
    assert len(clean) == 12
    provenance.write_text(tmp_path / "zoo_configs/cards/card.json", "second")
    provenance.write_text(tmp_path / "RESULTS.md", "second")
    assert provenance.git_revision() == clean
    provenance.write_text(tmp_path / "privzoo/code.py", "second")
    assert provenance.git_revision() == f"{clean}-dirty"

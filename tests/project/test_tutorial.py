"""docs/tutorial.ipynb runs from its first cell to its last, and what it printed when it was written is still so."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient
from pages import ROOT

pytestmark = [pytest.mark.all_models, pytest.mark.slow]

PATH = ROOT / "docs" / "tutorial.ipynb"


def outputs(notebook: nbformat.NotebookNode) -> list[tuple[str, int]]:
    """Each code cell's printed text and its number of pictures."""
    found = []
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        text = "".join(one.text for one in cell.outputs if one.output_type == "stream" and one.name == "stdout")
        found.append((text, sum("image/png" in one.get("data", {}) for one in cell.outputs)))
    return found


def test_the_tutorial_runs_and_shows_what_it_showed(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    written = nbformat.read(PATH, 4)
    nbformat.validate(written)
    run = nbformat.read(PATH, 4)
    client = NotebookClient(run, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(PATH.parent)}})
    client.execute()  # raises at the first cell that fails
    before, now = outputs(written), outputs(run)
    assert [pictures for _, pictures in now] == [pictures for _, pictures in before]
    assert sum(pictures for _, pictures in now) == 4
    (named,) = (text for text, _ in now if "people named" in text)
    assert named in [text for text, _ in before], "figures of cards changed: run the tutorial again and commit it"


def test_the_tutorial_shows_no_place_of_the_machine_it_ran_on():
    text = PATH.read_text(encoding="utf-8")
    assert not any(word in text for word in ("/home/", "/tmp/", "/work/", "site-packages", "Traceback", "WARNING"))

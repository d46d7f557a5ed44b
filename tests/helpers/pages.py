"""The code blocks of README.md and docs/*.md, and who runs each: its fence says so after the language.

`run`: tests/project/test_docs.py, as it stands; `run server`: with a server that holds the page's exported tail.
`serve`: the same, a server; `serve=npm`: that needs npm's packages. `file=NAME`: it is written to that file.
`data`: it needs data sets, without which it has to end in a sentence that says so.
`by=FILE`: that test runs it. `skip="..."`: nobody does, for that reason. `text` without any of these is not code.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\S+)?([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of code."""

    page: str
    line: int
    language: str
    tags: dict[str, str]  # as "run" or "by" -> its value, "" where it has none
    text: str

    def commands(self) -> list[str]:
        """Lines of a shell block, those that end in a backslash joined with the next."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(page: str, language: str | None = None) -> list[Block]:
    """Blocks of a page, of one language or all, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        tags = dict((tag.split("=", 1) + [""])[:2] for tag in shlex.split(match[2]))
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1] or "", tags, match[3]))
    return [block for block in found if language in (None, block.language)]


def write_commands(folder: Path) -> None:
    """Puts `python` and `privzoo` into a folder for PATH, as an installation would."""
    folder.mkdir()
    for name, arguments in (("python", ""), ("privzoo", "-m privzoo")):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        (folder / name).chmod(0o755)

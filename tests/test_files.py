"""Files that are written in whole or not at all, by whoever writes them at once and however a process ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from privzoo import files, weights
from privzoo.training import record

ROOT = Path(__file__).resolve().parent.parent
#: Writes a file of one repeated letter again and again, in pieces, as a slow disk would.
WRITER = """
import sys
from privzoo.files import replacing
path, letter, times = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
for _ in range(times):
    with replacing(path) as temporary, temporary.open("wb") as file:
        for _ in range(64):
            file.write(letter * 4096)
            file.flush()
print("done", flush=True)
"""


def run(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_readers_see_one_whole_file_of_two_writers(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 64 * 4096)
    writers = [run(WRITER, path, letter, "60") for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert len(content) == 64 * 4096 and len(set(content)) == 1
        seen.add(content[:1])
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen == {b"a", b"b"}
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = """
import sys, time
from privzoo.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half of the ne")
    print("written", flush=True)
    time.sleep(60)
"""
    writer = run(code, path)
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_text() == "old"
    files.write_text(path, "new")  # what the dead process left is in nobody's way
    assert path.read_text() == "new"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_writers_within_a_process_have_names_of_their_own(tmp_path):
    with files.replacing(tmp_path / "file") as first, files.replacing(tmp_path / "file") as second:
        assert first != second and first.parent == second.parent == tmp_path
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "file").read_text() == "1"  # the last to finish


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_permissions_are_kept_and_links_followed(tmp_path):
    path, link = tmp_path / "keys", tmp_path / "link"
    files.write_text(path, "1")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link.symlink_to(path)
    files.write_text(link, "2")
    assert link.is_symlink() and path.read_text() == "2" and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_folders_are_made_and_endings_kept(tmp_path):
    with files.replacing(tmp_path / "new" / "array.npz", suffix=".npz") as temporary:
        np.savez(temporary, a=1)
    assert os.listdir(tmp_path / "new") == ["array.npz"]


def test_weights_written_by_two_at_once_are_the_ones_registered(tmp_path):
    """The hash that goes into the registry is that of what this process wrote, whoever renames last."""
    one, two = ({"fc8/kernel": np.full((2, 2), value, np.float32)} for value in (1, 2))
    first, second = weights.save(one, tmp_path / "a.npz"), weights.save(two, tmp_path / "a.npz")
    assert first.sha256 != second.sha256 == weights.sha256(tmp_path / "a.npz")


def test_curves_and_logs_leave_no_temporary_file(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1,0.5,1\n")
    record.plot_curves(tmp_path / "log.csv", tmp_path / "curves.png", "x")
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "log.csv"]


def test_nobody_else_renames():
    """One home for it: what else renames moves folders, which no temporary file stands for."""
    folders = {"files.py", "demo.py", "export/saved_model.py", "loadtest/swap.py"}
    names = ("os.replace(", "os.rename(", "temporary.replace(", "temporary.rename(", '.part"')
    found = {
        path.relative_to(ROOT / "privzoo").as_posix()
        for path in (ROOT / "privzoo").rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in names)
    }
    assert found <= folders

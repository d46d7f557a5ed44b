"""What a test kills or starves: `faults_child.py export|full|send ...`, in a process of its own."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path


def export(folder: str) -> None:
    """Exports one version after the other, until it is killed."""
    from export_fakes import manifest_of, pair

    from privzoo.export import saved_model

    head, tail, _ = pair()
    manifest = manifest_of(head, tail)
    print("ready", flush=True)
    for version in range(1, 10_000):
        saved_model.export_tail(tail, folder, "m", version, manifest)
        saved_model.export_tail(tail, folder, "again", 1, manifest, overwrite=True)


def full(folder: str) -> None:
    """Exports where no file may grow beyond a few bytes, as on a full disk; prints what is said of each try."""
    from export_fakes import chips, manifest_of, pair

    from privzoo.export import saved_model, tflite

    head, tail, _ = pair()
    manifest = manifest_of(head, tail)
    saved_model.export_tail(tail, folder, "warm", 1, manifest)
    files = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    # Less than any file; less than the largest; and so much that only its last byte is missing.
    for most in sorted({1, max(files) // 2, max(files) - 1}):
        starve(most, lambda: saved_model.export_tail(tail, folder, "m", 1, manifest))
    for most in (1, 2000):
        starve(most, lambda: tflite.export_head(head, Path(folder) / "head.tflite", "float32", manifest, chips()))


def starve(most: int, write: Callable[[], object]) -> None:
    """Runs what writes files of which none may have more bytes; prints what it says."""
    from privzoo.errors import PrivzooError

    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    try:
        write()
        said = "written"
    except PrivzooError as error:
        said = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(said.replace("\n", "|"), flush=True)


def send(head: str, url: str, queue: str) -> None:
    """Queues features and sends them to a server that does not answer, until it is killed."""
    from export_fakes import chips

    from privzoo.edge import Client, Head

    with Client(Head(head), url, attempts=1, timeout=300, queue=queue) as client:
        client.later(chips()[:3], face="given")
        print("ready", flush=True)
        list(client.send())


if __name__ == "__main__":
    {"export": export, "full": full, "send": send}[sys.argv[1]](*sys.argv[2:])

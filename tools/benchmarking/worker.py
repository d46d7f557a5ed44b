"""Measures one file in a process of its own: `python worker.py RUNTIME FILE INFERENCES`.

Prints one JSON object. Each file gets a fresh process, so that memory left by one does not count in another's peak.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    On Linux this is not `ru_maxrss`, which starts at the memory of the parent process.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024


def _open_litert(path: str) -> tuple[tuple[int, ...], Callable[[Any], Any]]:
    from privzoo.edge import runtime

    opened = runtime.interpreter(path, threads=1)
    entry, end = opened.get_input_details()[0], opened.get_output_details()[0]["index"]

    def run(image: Any) -> Any:
        opened.set_tensor(entry["index"], image)
        opened.invoke()
        return opened.get_tensor(end)

    return tuple(int(side) for side in entry["shape"]), run


def _open_onnxruntime(path: str) -> tuple[tuple[int, ...], Callable[[Any], Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    return tuple(entry.shape), lambda image: session.run(None, {entry.name: image})[0]


def measure(kind: str, path: str, inferences: int) -> dict[str, Any]:
    """Opens a file, runs it on random images with one thread, and reports time and memory.

    Args:
        kind: "litert" or "onnxruntime".
        path: the file; it is already in the system's cache, since the parent process has just written or read it.
        inferences: how many are timed, after the first.

    Returns:
        `import_ms` of numpy and the runtime, `load_ms`, `first_ms`, `inference_ms` (a list), `before_bytes` (peak
        memory before loading) and `peak_bytes`.
    """
    start = time.perf_counter()
    import numpy as np

    if kind == "litert":  # everything that a device has in memory, so that no import is left while loading is timed
        import ai_edge_litert.interpreter  # noqa: F401

        import privzoo.edge.runtime  # noqa: F401
    else:
        import onnxruntime  # noqa: F401
    imported, before = time.perf_counter(), peak_bytes()
    shape, run = (_open_litert if kind == "litert" else _open_onnxruntime)(path)
    loaded = time.perf_counter()
    rng = np.random.default_rng(0)
    times = []
    for _ in range(inferences + 1):
        image = rng.integers(0, 256, shape).astype(np.float32)
        begin = time.perf_counter()
        run(image)
        times.append((time.perf_counter() - begin) * 1e3)
    return {
        "import_ms": (imported - start) * 1e3,
        "load_ms": (loaded - imported) * 1e3,
        "first_ms": times[0],
        "inference_ms": times[1:],
        "before_bytes": before,
        "peak_bytes": peak_bytes(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))

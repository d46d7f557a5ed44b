"""An exported head's output for many faces, before its noise, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from privzoo.files import write_array

if TYPE_CHECKING:
    from privzoo.edge.unprotected import UnprotectedHead

BATCH = 64  # chips, between two steps of the progress bar


def head_features(path: str | Path, chips: np.ndarray, cache: Path, progress: bool = True) -> tuple[np.ndarray, str]:
    """Features of an exported head without noise: to measure, never to be sent.

    Args:
        path: the `.tflite` file.
        chips: uint8 RGB (N, S, S, 3).
        cache: folder for the features, kept under a hash of the head and the chips.
        progress: show a progress bar.

    Returns:
        float32 (N, *feature shape), and the SHA-256 of the head's flatbuffer.

    Raises:
        WeightsError: the file is not a head.
        ImageError: chips of another shape or type.
    """
    from privzoo.edge.unprotected import UnprotectedHead

    head = UnprotectedHead(path, 1)
    digest = head.manifest["head"]["sha256"]
    seen = hashlib.sha256(str(chips.shape).encode() + np.ascontiguousarray(chips).data).hexdigest()
    kept = Path(cache) / f"head_{digest[:12]}_{seen[:12]}.npy"
    if not kept.exists():
        write_array(kept, outputs(head, chips, progress))
    return np.load(kept), digest


def outputs(head: UnprotectedHead, chips: np.ndarray, progress: bool = True) -> np.ndarray:
    """Output of an exported head for many chips, without noise, not kept anywhere.

    Args:
        head: to run.
        chips, progress: as for `head_features`.

    Returns:
        float32 (N, *feature shape).
    """
    from tqdm import trange

    steps = trange(0, len(chips), BATCH, desc=f"head of {head.manifest['model']}", disable=not progress)
    return np.concatenate([head.features(chips[start : start + BATCH]) for start in steps])

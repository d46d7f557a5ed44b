"""An exported head's output for many faces, before its noise, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from privzoo.files import replacing


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
    from tqdm import trange

    from privzoo.edge.unprotected import UnprotectedHead

    head = UnprotectedHead(path, 1)
    digest = head.manifest["head"]["sha256"]
    seen = hashlib.sha256(str(chips.shape).encode() + np.ascontiguousarray(chips).data).hexdigest()
    kept = Path(cache) / f"head_{digest[:12]}_{seen[:12]}.npy"
    if not kept.exists():
        steps = trange(0, len(chips), 64, desc=f"head of {head.manifest['model']}", disable=not progress)
        features = np.concatenate([head.features(chips[start : start + 64]) for start in steps])
        with replacing(kept) as temporary, temporary.open("wb") as file:
            np.save(file, features)
    return np.load(kept), digest

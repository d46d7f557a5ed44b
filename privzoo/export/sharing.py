"""Kernels that a released head holds are not stored a second time, in the weights file of their network.

The heads of `tflite/` go to devices as whole files, so the weights files refer to them, never the other way round.
Before heads are written anew, the weights files that refer to them are made whole.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from privzoo import config, weights
from privzoo.config import NetworkConfig, WeightsFile
from privzoo.provenance import write_json


def share(heads: Iterable[Path]) -> dict[str, int]:
    """Stores every network's weights without the kernels that one of the heads holds to the bit.

    Args:
        heads: released heads, in `config.heads_folder()`. Of several that hold a network's kernels, the one that holds
            most of them is used.

    Returns:
        Name of each network whose file changed -> bytes saved.

    Raises:
        WeightsError: a weights file is missing or damaged.
    """
    heads = list(heads)
    saved = {}
    for network, entry in _released():
        path, coded = _codes(entry)
        held = {head: sum(coded[key].nbytes for key in weights.places(coded, head)) for head in heads}
        best = max(held, key=held.__getitem__, default=None)
        if best and held[best] and (written := weights.share(coded, path, best)) != entry:
            _enter(network, written)
            saved[network.name] = entry.bytes - written.bytes
    return saved


def unshare() -> None:
    """Makes every weights file whole, so that heads can be written anew.

    Raises:
        WeightsError: a weights file or the head that it refers to is missing or damaged.
    """
    for network, entry in _released():
        if entry.kernels_in:
            path, coded = _codes(entry)
            _enter(network, weights.share(coded, path, None))


def _released() -> Iterable[tuple[NetworkConfig, WeightsFile]]:
    for name in list(config.networks()):
        network = config.network(name)
        if network.weights:
            yield network, network.weights


def _codes(entry: WeightsFile) -> tuple[Path, dict]:
    path = weights.find(entry)
    return path, weights.read_codes(path, weights.find(entry.kernels_in) if entry.kernels_in else None)


def _enter(network: NetworkConfig, entry: WeightsFile) -> None:
    """Writes the file's new hash and size into the network's YAML and into its training record."""
    folder = config.config_folder()
    record = folder / "weights" / f"{network.name}.json"
    if record.exists():
        content = json.loads(record.read_text(encoding="utf-8"))
        content["release"] |= {"bytes": entry.bytes, "sha256": entry.sha256}
        write_json(record, content)
    config.write(dataclasses.replace(network, weights=entry), folder / "networks" / f"{network.name}.yaml")

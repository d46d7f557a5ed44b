"""TF Serving's directory layout: `<base path>/<version>/saved_model.pb`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from privzoo import checks
from privzoo.errors import ConfigError

MAX_VERSION = 2**63 - 1
_NAME = re.compile(r"[^/:\x00-\x1f\x7f]+")  # what TF Serving's paths can name
_DIGITS = 40  # of a folder's name; no version has more

Versions = Literal["latest", "all"] | Iterable[int]  # of a model: the newest, all, or their numbers


def check_name(name: str) -> None:
    """Refuses names that TF Serving's paths cannot hold.

    Raises:
        ConfigError: an empty name, or one with `/`, `:` or control characters in it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"The model name {name!r} is invalid; give a name without / and : in it.")


def versions_in(base: Path) -> dict[int, Path]:
    """Folders in a base path whose names are integers: version -> folder, in the order of the versions.

    Raises:
        ConfigError: the base path is not a folder, or cannot be read.
    """
    try:
        entries = list(base.iterdir())
    except OSError as error:
        raise ConfigError(f"The model folder {base} cannot be read: {error.strerror or error}.") from None
    folders = [p for p in entries if p.name.isascii() and p.name.isdigit() and len(p.name) <= _DIGITS and p.is_dir()]
    found = {int(p.name): p for p in sorted(folders, key=lambda p: (int(p.name), p.name))}
    return {version: path for version, path in found.items() if version <= MAX_VERSION}


def holds_model(folder: Path) -> bool:
    """True for a folder with a SavedModel in it."""
    return any((folder / f"saved_model.{ending}").exists() for ending in ("pb", "pbtxt", "cpb"))


def fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a version's files: changes when the version changes."""
    seen = []
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                stat = os.stat(os.path.join(root, name))
            except OSError:
                continue
            seen.append((os.path.join(root, name), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(seen))


def find_versions(base_path: str | os.PathLike[str], versions: Versions = "latest") -> dict[int, Path]:
    """Finds versions of a model; raises an error for missing ones.

    Args:
        base_path: folder with `<version>/saved_model.pb` in it.
        versions: "latest", "all", or their numbers.

    Returns:
        Version -> folder, in the order of the versions.

    Raises:
        ConfigError: no such folder, no such version in it, or a version without a SavedModel.
    """
    base = checks.local_path(base_path)
    if not base.is_dir():
        raise ConfigError(f"The folder {base} of --model_base_path does not exist; give one with <version>/ in it.")
    found = versions_in(base)
    if not found:
        hint = "; give the folder above the version's" if holds_model(base) else ""
        raise ConfigError(f"{base} has no version of a model in it: TF Serving's layout is <base>/<number>/{hint}.")
    if versions == "latest":
        wanted = [max(found)]
    elif versions == "all":
        wanted = sorted(found)
    else:
        wanted = sorted(set(versions))
    for version in wanted:
        if version not in found:
            raise ConfigError(f"{base} has no version {version}; it has {', '.join(map(str, found))}.")
        if not holds_model(found[version]):
            raise ConfigError(f"{found[version]} has no saved_model.pb in it; export the version again, or remove it.")
    return {version: found[version] for version in wanted}


def file_stamp(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    """What changes when a file is rewritten; None if it cannot be looked at."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino

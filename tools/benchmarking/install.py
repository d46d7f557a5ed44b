"""What the plain install costs a device: megabytes on disk, and seconds to import."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def plain_megabytes() -> float | None:
    """Size on disk of privzoo's code and of every package that the plain install brings, in 10^6 bytes.

    Returns:
        None if one of the packages is not installed, or the requirements cannot be read.
    """
    try:
        packages = _plain_packages()
    except (metadata.PackageNotFoundError, ImportError):
        return None
    files = [Path(str(package.locate_file(path))) for package in packages for path in package.files or ()]
    files += (ROOT / "privzoo").rglob("*.py")
    files += data_files()
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def data_files() -> list[Path]:
    """The files of the checkout that an install brings besides Python's, as setup.cfg names them."""
    config = _setup()
    folders = dict(line.replace(" ", "").split("=") for line in _lines(config["options"]["package_dir"]))
    return [
        path
        for package, patterns in config["options.package_data"].items()
        for pattern in _lines(patterns)
        for path in sorted((ROOT / folders.get(package, package.replace(".", "/"))).glob(pattern))
    ]


def _setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    if not config.read(ROOT / "setup.cfg"):
        raise metadata.PackageNotFoundError("privzoo")
    return config


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _plain_packages() -> list[metadata.Distribution]:
    from packaging.requirements import Requirement

    waiting = [Requirement(line) for line in _lines(_setup()["options"]["install_requires"])]
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        package = metadata.distribution(requirement.name)
        if package.name not in found:
            found[package.name] = package
            waiting += [Requirement(text) for text in package.requires or ()]
    return list(found.values())


def import_seconds(count: int) -> list[float]:
    """Processor time from the start of Python until `privzoo.edge` is imported, in fresh processes.

    Args:
        count: number of processes.
    """
    code = "import time, privzoo.edge; print(time.process_time())"
    return [
        float(
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(count)
    ]

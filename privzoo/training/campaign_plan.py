"""A campaign's plan: which networks, in which order, each with which share of the time; and where results lie."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privzoo import config as configs
from privzoo.config import CampaignConfig, NetworkConfig, Stage
from privzoo.errors import ConfigError, DataError


@dataclass(frozen=True)
class Entry:
    """One network of a plan."""

    network: str  # name of a config in the plan's folder, or planned or released in the zoo
    seconds: float  # share of the time, teachers included
    cpu: tuple[Stage, ...] = ()  # stages without an accelerator, where teachers are left out; none: those of the config


@dataclass(frozen=True)
class Plan:
    """What a campaign trains, the most wanted first."""

    networks: tuple[Entry, ...]
    least: float = 15.0  # seconds; with fewer left, no network is begun

    def __post_init__(self) -> None:
        """Raises ConfigError for an empty plan, or a share that is no time."""
        if not self.networks or any(not entry.seconds > 0 for entry in self.networks):
            raise ConfigError("The plan needs one network or more, each with its seconds above 0.")


@dataclass
class Clock:
    """How far a run is: the larger of its shares of steps and of time."""

    total: int  # steps
    seconds: float  # compiling included, which may take three quarters of it at most
    began: float | None = None  # end of the first dispatch, which compiles
    done: int = 0
    first: int = 0  # steps of the first dispatch

    def __post_init__(self) -> None:
        """Starts it."""
        self.made = time.monotonic()

    def count(self, steps: int) -> None:
        """Adds the steps of a dispatch."""
        self.done += steps
        if self.began is None:
            self.began, self.first = time.monotonic(), steps
            self.seconds = max(self.seconds / 4, self.seconds - (self.began - self.made))

    def share(self) -> float:
        """0 to 1."""
        spent = 0.0 if self.began is None else (time.monotonic() - self.began) / self.seconds
        return min(1.0, max(self.done / self.total, spent))


def find(plan: Path, name: str) -> NetworkConfig:
    """A network's config: beside the plan, planned, or released.

    Raises:
        UnknownNameError, ConfigError: there is none, or it is damaged.
    """
    folder = configs.config_folder()
    for place in (plan.parent / f"{name}.yaml", folder / "planned" / "networks" / f"{name}.yaml"):
        if place.exists():
            return configs.read(NetworkConfig, place)
    return configs.network(name)


def weights_path(out: Path, name: str) -> Path:
    """Where a campaign writes a network's weights, coded as released ones."""
    return out / name / f"{name}.npz"


def without_accelerator(config: NetworkConfig, entry: Entry) -> NetworkConfig:
    """A network's config for processors: the plan's own stages, and no teachers."""
    training, stages = config.training, entry.cpu or config.training.stages
    campaign = dataclasses.replace(training.campaign or CampaignConfig(), teachers=(), taught_by=None, distillation=0.0)
    return dataclasses.replace(config, training=dataclasses.replace(training, stages=stages, campaign=campaign))


def results(out: Path) -> dict[str, dict[str, Any]]:
    """Record of each network that is done: name -> content of its `record.json`.

    Raises:
        DataError: there is none.
    """
    found = sorted(path for path in out.glob("*/record.json") if weights_path(out, path.parent.name).exists())
    if not found:
        raise DataError(f"{out} holds no network that a campaign has trained; give the --out_dir of one.")
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}

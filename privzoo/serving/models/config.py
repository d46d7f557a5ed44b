"""Which models to serve: the flags of one model, or a ModelServerConfig as TF Serving has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privzoo import checks
from privzoo.errors import ConfigError
from privzoo.serving.models.folders import check_name, find_versions, holds_model, versions_in
from privzoo.serving.wire import textproto

FLAG = "model_config_file"


@dataclass(frozen=True)
class ServedModel:
    """One model: its folder, and which of its versions to serve."""

    name: str
    base_path: Path
    latest: int = 1  # so many of the highest versions; 0: all
    specific: tuple[int, ...] = ()  # these versions instead
    labels: Mapping[str, int] = field(default_factory=dict)  # label -> version

    def aspired(self) -> dict[int, Path]:
        """Versions that should be served now: version -> folder; folders without a SavedModel are not ready yet.

        Raises:
            ConfigError: the base path cannot be read.
        """
        found = {version: path for version, path in versions_in(self.base_path).items() if holds_model(path)}
        if self.specific:
            return {version: path for version, path in found.items() if version in self.specific}
        return dict(sorted(found.items())[-self.latest :])

    def check(self) -> None:
        """Raises an error for what is missing from the folder.

        Raises:
            ConfigError: a folder or version is missing, or has no SavedModel in it.
        """
        if self.specific:
            find_versions(self.base_path, self.specific)
        elif not self.base_path.is_dir() or not self.aspired():
            find_versions(self.base_path)


def from_message(message: Any, source: str) -> list[ServedModel]:
    """The models of a ModelServerConfig.

    Args:
        message: the config.
        source: what errors call it.

    Returns:
        The models, in its order.

    Raises:
        ConfigError: no list of models, or an invalid one.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise ConfigError(f"{source} has no model_config_list; this server needs one.")
    configs: dict[str, ServedModel] = {}
    for entry in message.model_config_list.config:
        check_name(entry.name)
        if entry.name in configs:
            raise ConfigError(f"{source} names the model {entry.name!r} twice; give each a different name.")
        if entry.model_platform not in ("", "tensorflow"):
            raise ConfigError(
                f"{source} wants {entry.name!r} on the platform {entry.model_platform!r}; this server has tensorflow."
            )
        if not entry.base_path:
            raise ConfigError(f"{source} gives the model {entry.name!r} no base_path; add it.")
        configs[entry.name] = ServedModel(
            entry.name, checks.local_path(entry.base_path), *_policy(entry, source), labels=dict(entry.version_labels)
        )
    return list(configs.values())


def read_config(path: str | os.PathLike[str]) -> list[ServedModel]:
    """The models of the file of `--model_config_file`.

    Raises:
        ConfigError: a file that is not a ModelServerConfig, or an invalid one.
    """
    from tensorflow_serving.config import model_server_config_pb2

    message = textproto.parse(model_server_config_pb2.ModelServerConfig(), path, FLAG)
    configs = from_message(message, f"The file {path} of --{FLAG}")
    if not configs:
        raise ConfigError(f"The file {path} of --{FLAG} has no model in it; add one.")
    return configs


def _policy(entry: Any, source: str) -> tuple[int, tuple[int, ...]]:
    """How many of the highest versions (0: all), or which."""
    choice = entry.model_version_policy.WhichOneof("policy_choice")
    if choice == "all":
        return 0, ()
    if choice == "specific":
        versions = tuple(sorted(set(entry.model_version_policy.specific.versions)))
        if not versions or versions[0] < 0:
            raise ConfigError(f"{source} asks for an invalid version of {entry.name!r}; give numbers of 0 or more.")
        return 0, versions
    number = entry.model_version_policy.latest.num_versions if choice == "latest" else 0
    return number or 1, ()

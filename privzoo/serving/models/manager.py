"""The life of models: loads them, watches for new versions and configs, swaps them in, and unloads old ones.

A new version takes requests before the old one leaves, and the old one leaves after its last request. A version that
cannot be loaded only changes its own status, and is tried again when its files change.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from privzoo.errors import ConfigError, PrivzooError
from privzoo.serving import settings
from privzoo.serving.models import warmup
from privzoo.serving.models.config import ServedModel, from_message, read_config
from privzoo.serving.models.folders import fingerprint
from privzoo.serving.models.registry import Models, Servable

_log = logging.getLogger(__name__)
# Python releases its lock after so long. TensorFlow builds a graph in Python: with the default 5 ms, every request
# running at the time would wait that long, several times.
POLITE_SECONDS = 0.0005


class Manager:
    """Keeps the models of a server as their configs and folders say.

    Args:
        models: registry to fill.
        warm: run the warm-up requests of each version.
        free_labels: labels may name versions that are not served, as `--allow_version_labels_for_unavailable_models`.
        drain_seconds: for the requests on a version that is leaving, before others are handled.
    """

    def __init__(
        self,
        models: Models,
        warm: bool = True,
        free_labels: bool = False,
        drain_seconds: float = settings.DRAIN_SECONDS,
    ) -> None:
        self.models = models
        self.configs: list[ServedModel] = []
        self._warm, self._free_labels, self._drain_seconds = warm, free_labels, drain_seconds
        self._lock = threading.RLock()  # one change at a time
        self._failed: dict[tuple[str, int], Any] = {}  # version -> its files when it could not be loaded
        self._leaving: list[Servable] = []  # versions whose last requests still run
        self._said: dict[str, str] = {}  # model -> its last complaint, so that it is logged once
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def apply(self, configs: Sequence[ServedModel]) -> None:
        """Replaces the list of models, and waits until the new ones serve.

        Args:
            configs: the models to have from now on.

        Raises:
            PrivzooError: a model has nothing to serve, or cannot be loaded; the previous models stay.
        """
        with self._lock:
            before, self._failed = self.configs, {}
            for config in configs:
                config.check()
            try:
                for config in configs:
                    self._load(config, strict=True)
                self._check_labels(configs)
            except PrivzooError:
                self._keep(before)
                raise
            self._keep(configs)
            self.configs = list(configs)

    def reload(self, message: Any) -> None:
        """As `apply`, for a ModelServerConfig; in it, a config without models unloads them all.

        Raises:
            PrivzooError: as `apply`.
        """
        self.apply(from_message(message, "The request's config"))

    def watch(self, seconds: float, file: Any = None, file_seconds: float = 0.0) -> None:
        """Watches for changes, on a separate thread, until `close`.

        Args:
            seconds: between checks for versions; 0: never.
            file: of `--model_config_file`, or None.
            file_seconds: between checks of it; 0: never.
        """
        if seconds > 0 or (file is not None and file_seconds > 0):
            arguments = [seconds, file, file_seconds]
            self._watcher = threading.Thread(target=self._run, args=arguments, daemon=True, name="privzoo-models")
            self._watcher.start()

    def close(self) -> None:
        """Stops watching for changes."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(self._drain_seconds)

    def poll(self) -> None:
        """Checks once for new and removed versions."""
        with self._lock:
            for config in self.configs:
                try:
                    self._load(config, strict=False)
                    self._leave(config)
                    self._said.pop(config.name, None)
                except PrivzooError as error:
                    self._complain(config.name, str(error))
            self._leaving = [s for s in self._leaving if not self.models.retire(s, 0.0)]

    def _run(self, seconds: float, file: Any, file_seconds: float) -> None:
        begin = time.monotonic()
        due = {"versions": begin + seconds if seconds > 0 else None}
        due["file"] = begin + file_seconds if file is not None and file_seconds > 0 else None
        while not self._stop.wait(max(0.0, min(t for t in due.values() if t is not None) - time.monotonic())):
            try:
                if due["file"] is not None and time.monotonic() >= due["file"]:
                    due["file"] = time.monotonic() + file_seconds
                    self._reread(file)
                if due["versions"] is not None and time.monotonic() >= due["versions"]:
                    self.poll()
                    due["versions"] = time.monotonic() + seconds
            except Exception as error:  # the watch must go on, whatever the disk or TensorFlow does
                _log.error("%s while looking for changes: %s", type(error).__name__, error)

    def _reread(self, file: Any) -> None:
        try:
            configs = read_config(file)
            if configs != self.configs:
                self.apply(configs)
            self._said.pop("", None)
        except PrivzooError as error:
            self._complain("", f"{error} The previous models stay.")

    def _load(self, config: ServedModel, strict: bool) -> None:
        """Loads the missing versions of a config, the highest first."""
        serving = {servable.version: servable for servable in self.models.available(config.name)}
        for version, folder in sorted(config.aspired().items(), reverse=True):
            if self._stop.is_set():
                return
            before = serving.get(version)
            if before is not None and before.folder == folder:
                continue
            files = fingerprint(folder)
            if not strict and self._failed.get((config.name, version)) == files:
                continue
            try:
                self._bring(config.name, version, folder, before)
                self._failed.pop((config.name, version), None)
            except PrivzooError as error:
                self._failed[config.name, version] = files
                if before is None:
                    self.models.mark(config.name, version, "END", "DATA_LOSS", str(error))
                if strict:
                    raise
                _log.error("%s", error)

    def _bring(self, name: str, version: int, folder: Path, before: Servable | None) -> None:
        if before is None:
            self.models.mark(name, version, "LOADING")
        with _polite():
            servable = Servable(name, version, folder)
            try:
                if self._warm:
                    warmup.warm(servable)
            except PrivzooError:
                servable.model.close()
                raise
        self.models.publish(servable)
        if before is not None:
            self._retire(before)
        if self._watcher is not None:  # the server itself reports what it serves from the start
            _log.info("%s version %s is available.", name, version)

    def _leave(self, config: ServedModel) -> None:
        """Unloads versions that a config no longer wants, once one that it wants is available."""
        wanted = config.aspired()
        serving = self.models.available(config.name)
        if any(servable.version in wanted for servable in serving):
            for servable in serving:
                if servable.version not in wanted:
                    self._retire(servable)
                    _log.info("%s version %s is unloaded.", config.name, servable.version)

    def _retire(self, servable: Servable) -> None:
        if not self.models.retire(servable, self._drain_seconds):
            self._leaving.append(servable)

    def _keep(self, configs: Sequence[ServedModel]) -> None:
        """Unloads every model and version that these configs do not want."""
        wanted = {config.name for config in configs}
        for name in self.models.known():
            if name not in wanted:
                for servable in self.models.available(name):
                    self._retire(servable)
                self.models.forget(name)
        for config in configs:
            self._leave(config)
            self.models.set_labels(config.name, config.labels)

    def _check_labels(self, configs: Sequence[ServedModel]) -> None:
        for config in configs:
            serving = {servable.version for servable in self.models.available(config.name)}
            for version in config.labels.values():
                if version not in serving and not self._free_labels:
                    raise ConfigError(
                        f"Request to assign label to version {version} of model {config.name}, which is not currently "
                        "available for inference; serve that version, or start with "
                        "--allow_version_labels_for_unavailable_models."
                    )

    def _complain(self, model: str, sentence: str) -> None:
        if self._said.get(model) != sentence:
            self._said[model] = sentence
            _log.error("%s", sentence)


@contextlib.contextmanager
def _polite() -> Iterator[None]:
    """Lets requests get Python's lock quickly while a version is loading."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(POLITE_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)

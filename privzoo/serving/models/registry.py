"""The models that a server has: names, versions, labels and states; requests lease a version while it serves them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from privzoo.serving.models.servable import Servable, load_versions, read_tail
from privzoo.serving.wire.refusal import bad_request, not_found

__all__ = ["Models", "Servable", "load_versions", "read_tail"]
KEPT_ENDED = 8  # ended versions of a model that its status still lists


@dataclass
class State:
    """The state of a version, in the terms of TF Serving's ModelVersionStatus."""

    state: str  # START, LOADING, AVAILABLE, UNLOADING, END
    servable: Servable | None = None  # while it is AVAILABLE or UNLOADING
    error_code: str = "OK"
    error_message: str = ""

    @property
    def available(self) -> Servable | None:
        """What takes new requests; None in any other state."""
        return self.servable if self.state == "AVAILABLE" else None


class Models:
    """The models of a server, by name and version; its methods may be called from several threads.

    Args:
        servables: loaded versions, in any order.
    """

    def __init__(self, servables: Iterable[Servable] = ()) -> None:
        self._changed = threading.Condition()
        self._models: dict[str, dict[int, State]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        for servable in servables:
            self.publish(servable)

    def publish(self, servable: Servable) -> None:
        """Makes a loaded version available; the one it replaces takes no new request."""
        with self._changed:
            self._versions(servable.name)[servable.version] = State("AVAILABLE", servable)

    def mark(self, name: str, version: int, state: str, error_code: str = "OK", error_message: str = "") -> None:
        """Records the state of a version that takes no requests."""
        with self._changed:
            versions = self._versions(name)
            versions[version] = State(state, None, error_code, error_message)
            ended = [number for number in sorted(versions) if versions[number].state == "END"]
            for number in ended[: max(0, len(ended) - KEPT_ENDED)]:
                del versions[number]

    def retire(self, servable: Servable, timeout: float) -> bool:
        """Takes a version out of service: it gets no new requests, and running ones are waited for.

        Args:
            servable: the version; if it has been replaced already, its replacement stays.
            timeout: seconds to wait for the requests.

        Returns:
            True if it was closed; False if requests still run on it.
        """
        with self._changed:
            place = self._models.get(servable.name, {}).get(servable.version)
            if place is not None and place.servable is servable:
                place.state = "UNLOADING"
            done = self._changed.wait_for(lambda: servable.uses == 0, timeout)
        if done:
            servable.model.close()
            with self._changed:
                place = self._models.get(servable.name, {}).get(servable.version)
                if place is not None and place.servable is servable:
                    self.mark(servable.name, servable.version, "END")
        return done

    def forget(self, name: str) -> None:
        """Drops a model from the status and its labels; its versions have been retired."""
        with self._changed:
            self._models.pop(name, None)
            self._labels.pop(name, None)

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Replaces the labels of a model: label -> version."""
        with self._changed:
            self._labels[name] = dict(labels)

    def available(self, name: str) -> list[Servable]:
        """Available versions of a model, the oldest first."""
        with self._changed:
            versions = self._models.get(name, {})
            return [found for v in sorted(versions) if (found := versions[v].available) is not None]

    def names(self) -> list[str]:
        """Names of the models with an available version."""
        with self._changed:
            return [n for n, versions in self._models.items() if any(s.state == "AVAILABLE" for s in versions.values())]

    def known(self) -> list[str]:
        """Names of all models in the status."""
        with self._changed:
            return list(self._models)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The version of a model; None: its latest.

        Raises:
            Refusal: no such model, version or label.
        """
        with self._changed:
            if label is not None:
                version = self._labelled(name, label)
            states = self._models.get(name, {})
            serving = {number: found for number, s in states.items() if (found := s.available) is not None}
            if version is None and serving:
                return serving[max(serving)]
            if version in serving:
                return serving[version]
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise not_found(f"Servable not found for request: {wanted}")

    @contextlib.contextmanager
    def lease(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """The version of a model, which is not unloaded before the block ends.

        Raises:
            Refusal: no such model, version or label.
        """
        with self._changed:
            servable = self.find(name, version, label)
            servable.uses += 1
        try:
            yield servable
        finally:
            with self._changed:
                servable.uses -= 1
                if servable.uses == 0:
                    self._changed.notify_all()

    def status(self, name: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """State of one or, with None, all versions of a model, as TF Serving's GetModelStatusResponse.

        Raises:
            Refusal: no such model, version or label.
        """
        with self._changed:
            if label is not None:
                version = self._labelled(name, label)
            states = self._models.get(name, {})
            if version is None:
                if not states:
                    raise not_found(f"Could not find any versions of model {name}")
                wanted = sorted(states)
            elif version in states:
                wanted = [version]
            else:
                raise not_found(f"Could not find version {version} of model {name}")
            return {
                "model_version_status": [
                    {
                        "version": str(number),
                        "state": states[number].state,
                        "status": {
                            "error_code": states[number].error_code,
                            "error_message": states[number].error_message,
                        },
                    }
                    for number in wanted
                ]
            }

    def metadata(self, name: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Signatures of a version, as TF Serving's GetModelMetadataResponse.

        Raises:
            Refusal: no such model, version or label.
        """
        servable = self.find(name, version, label)
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(servable.version)},
            "metadata": {"signature_def": {"signature_def": servable.model.signature_defs}},
        }

    def close(self) -> None:
        """Frees the memory of all models."""
        with self._changed:
            states = [state for versions in self._models.values() for state in versions.values()]
            self._models.clear()
        for state in states:
            if state.servable is not None:
                state.servable.model.close()

    def _versions(self, name: str) -> dict[int, State]:
        return self._models.setdefault(name, {})

    def _labelled(self, name: str, label: str) -> int:
        version = self._labels.get(name, {}).get(label)
        if version is None:
            raise bad_request(f"Unrecognized servable version label: {label[:80]}")
        return version

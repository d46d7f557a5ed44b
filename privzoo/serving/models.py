"""The models that a server has: names, versions, and what is special about a tail of the zoo."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.errors import ConfigError
from privzoo.serving import predict_json
from privzoo.serving.refusal import bad_request, not_found
from privzoo.serving.savedmodel import SavedModel
from privzoo.serving.tensors import Signature, show_shape

MANIFEST = Path("assets.extra") / "privzoo.json"  # written by the export of a tail
TAIL_SIGNATURE = re.compile(r"tail_[0-9a-f]{12}")
_NAME = re.compile(r"[^/:]+")  # what TF Serving's paths can name


@dataclass(frozen=True)
class Tail:
    """What the manifest beside a tail says of it."""

    signature: str  # "tail_" and the first 12 hex digits of the hash of its weights
    feature: str  # name of its input
    shape: tuple[int, ...]  # of one feature


class Servable:
    """One version of a model, loaded.

    Args:
        name: of the model.
        version: of the model.
        folder: of the version.

    Raises:
        WeightsError: no SavedModel, or a damaged one.
        ConfigError: a damaged manifest.
        MissingExtraError: TensorFlow is not installed.
    """

    def __init__(self, name: str, version: int, folder: Path) -> None:
        self.name, self.version = name, version
        self.tail = read_tail(folder)
        self.model = SavedModel(folder)

    def signature(self, name: str) -> Signature:
        """The signature of that name.

        Raises:
            Refusal: the model has no such signature; for a head's, that this is not its tail.
        """
        found = self.model.signatures.get(name)
        if found is not None:
            return found
        if self.tail is not None and TAIL_SIGNATURE.fullmatch(name):
            raise bad_request(
                f'This head does not belong to this tail: the head asks for "{name}", and version {self.version} of '
                f'the model "{self.name}" is "{self.tail.signature}"; use the head and the tail of one export.'
            )
        raise bad_request(f'Serving signature name: "{name[:80]}" not found in signature def')

    def predict(self, document: Mapping[str, Any]) -> bytes:
        """Answers a predict request.

        Args:
            document: JSON object of the body.

        Returns:
            JSON text of the answer.

        Raises:
            Refusal: anything wrong with the request.
        """
        signature = self.signature(predict_json.signature_name(document))
        inputs, row = predict_json.inputs(document, signature)
        if self.tail is not None:
            self._check_features(inputs)
        return predict_json.answer(self.model.run(signature, inputs), row)

    def _check_features(self, inputs: Mapping[str, np.ndarray]) -> None:
        features = inputs.get(self.tail.feature)
        if features is None:
            return
        if features.shape[:1] == (0,):
            raise bad_request("The request has no features in it; send at least one.")
        if features.shape[1:] != self.tail.shape:
            raise bad_request(
                f"The features have the shape {show_shape(features.shape)}, and the tail takes "
                f"{show_shape((-1, *self.tail.shape))}; send what its head gives."
            )
        wrong = features.size - int(np.isfinite(features).sum())
        if wrong:
            raise bad_request(
                f"{wrong} of the {features.size} numbers in the features are not finite (NaN or infinity); "
                "a tail takes finite numbers only."
            )


class Models:
    """The loaded models of a server, by name and version.

    Args:
        servables: loaded versions, in any order.
    """

    def __init__(self, servables: Iterable[Servable]) -> None:
        self._models: dict[str, dict[int, Servable]] = {}
        for servable in sorted(servables, key=lambda s: (s.name, s.version)):
            self._models.setdefault(servable.name, {})[servable.version] = servable

    def find(self, name: str, version: int | None = None) -> Servable:
        """The version of a model; None: its latest.

        Raises:
            Refusal: no such model or version.
        """
        versions = self._models.get(name, {})
        if version is None and versions:
            return versions[max(versions)]
        if version in versions:
            return versions[version]
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise not_found(f"Servable not found for request: {wanted}")

    def status(self, name: str, version: int | None = None) -> dict[str, Any]:
        """State of one or, with None, all versions of a model, as TF Serving's GetModelStatusResponse.

        Raises:
            Refusal: no such model or version.
        """
        versions = self._models.get(name, {})
        if version is None:
            if not versions:
                raise not_found(f"Could not find any versions of model {name}")
            wanted = list(versions)
        elif version in versions:
            wanted = [version]
        else:
            raise not_found(f"Could not find version {version} of model {name}")
        ok = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(v), "state": "AVAILABLE", "status": ok} for v in wanted]}

    def metadata(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Signatures of a version, as TF Serving's GetModelMetadataResponse.

        Raises:
            Refusal: no such model or version.
        """
        servable = self.find(name, version)
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(servable.version)},
            "metadata": {"signature_def": {"signature_def": servable.model.signature_defs}},
        }

    def close(self) -> None:
        """Frees the memory of all models."""
        for versions in self._models.values():
            for servable in versions.values():
                servable.model.close()


def find_versions(base_path: str | os.PathLike[str], versions: str | Iterable[int] = "latest") -> dict[int, Path]:
    """Finds versions of a model in TF Serving's directory layout: folders whose names are whole numbers.

    Args:
        base_path: folder with `<version>/saved_model.pb` in it.
        versions: "latest", "all", or their numbers.

    Returns:
        Version -> folder, in the order of the versions.

    Raises:
        ConfigError: no such folder, no such version in it, or a version without a SavedModel.
    """
    base = Path(base_path)
    if not base.is_dir():
        raise ConfigError(f"The folder {base} of --model_base_path is not there; give a folder with <version>/ in it.")
    folders = [p for p in base.iterdir() if p.name.isascii() and p.name.isdigit() and p.is_dir()]
    if not folders:
        hint = "; give the folder above the version's" if _holds_model(base) else ""
        raise ConfigError(f"{base} has no version of a model in it: TF Serving's layout is <base>/<number>/{hint}.")
    found = {int(p.name): p for p in sorted(folders, key=lambda p: (int(p.name), p.name))}
    if versions == "latest":
        wanted = [max(found)]
    else:
        wanted = sorted(found if versions == "all" else set(versions))
    for version in wanted:
        if version not in found:
            raise ConfigError(f"{base} has no version {version}; it has {', '.join(map(str, found))}.")
        if not _holds_model(found[version]):
            raise ConfigError(f"{found[version]} has no saved_model.pb in it; export the version again, or remove it.")
    return {version: found[version] for version in wanted}


def load_versions(
    name: str, base_path: str | os.PathLike[str], versions: str | Iterable[int] = "latest"
) -> list[Servable]:
    """Loads versions of a model.

    Args:
        name: under which clients ask for it.
        base_path: folder with `<version>/saved_model.pb` in it.
        versions: "latest", "all", or their numbers.

    Returns:
        The loaded versions.

    Raises:
        ConfigError: a name, folder or version that cannot be.
        WeightsError: a version that is damaged.
        MissingExtraError: TensorFlow is not installed.
    """
    check_name(name)
    return [Servable(name, version, path) for version, path in find_versions(base_path, versions).items()]


def check_name(name: str) -> None:
    """Refuses names that TF Serving's paths cannot hold.

    Raises:
        ConfigError: an empty name, or one with `/` or `:` in it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"The model name {name!r} cannot be; give a name without / and : in it.")


def _holds_model(folder: Path) -> bool:
    return any((folder / f"saved_model.{ending}").exists() for ending in ("pb", "pbtxt", "cpb"))


def read_tail(folder: Path) -> Tail | None:
    """Reads what the zoo's manifest says of a tail; None for any other SavedModel.

    Raises:
        ConfigError: the manifest is damaged.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    try:
        manifest = json.loads(file.read_bytes())
        feature, signature = manifest["feature"], manifest["tail"]["signature"]
        tail = Tail(str(signature), str(feature["name"]), tuple(int(side) for side in feature["shape"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"The manifest {file} is damaged ({type(error).__name__}); export the tail again.") from None
    return tail

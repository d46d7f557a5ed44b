"""From a model to its slim head: channels chosen, weights fitted layer by layer, then distilled from the parent."""

from __future__ import annotations

import datetime
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from privzoo import activations
from privzoo.architectures import graph
from privzoo.config import given, to_dict
from privzoo.data import Dataset
from privzoo.embeddings import slim as heads
from privzoo.embeddings.rounding import unrounded
from privzoo.errors import ConfigError, WeightsError
from privzoo.export.manifests import model_sha256
from privzoo.files import replacing, write_arrays
from privzoo.model import SplitModel
from privzoo.provenance import git_revision, write_json
from privzoo.slim import distil, patches, reconstruct, selection
from privzoo.slim.distil import Distillation, Taught
from privzoo.slim.selection import Order

ORDERS, START, START_FACTS = "orders.npz", "start.npz", "start.json"
TRAIN, VALIDATION = "train.npz", "validation.npz"
FINISHED, RECORD = "slim.npz", "record.json"


@dataclass(frozen=True)
class Pruning:
    """Everything that, with the parent, the data and the code, determines the start of a slim head."""

    budget: float = 0.12  # share of the whole network's multiply-adds, head and tail, that the slim head may have
    images: int = 1024  # training chips on which channels are chosen and layers fitted
    seed: int = 1  # of the positions in them

    def __post_init__(self) -> None:
        """Raises ConfigError for an invalid pruning."""
        if not 0 < self.budget < 1 or self.images < 2:
            raise ConfigError(
                f"A budget of {self.budget} of the multiply-adds on {self.images} images is invalid; give a share "
                "between 0 and 1, and 2 images or more."
            )


def save(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Writes arrays unchanged and atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        write_arrays(file, arrays)  # an open file: NumPy would add its ending to a path


def prune(model: SplitModel, train: Taught, validation: Taught, settings: Pruning, run: Path) -> dict[str, Any]:
    """Chooses channels and fits the layers, unless the run's folder holds that already.

    Args:
        model: the parent.
        train, validation: of `slim_distil.teach`; the second only measures.
        settings: of the pruning.
        run: folder; gets `start.npz` and `start.json`.

    Returns:
        What `start.json` holds: `channels`, `multiply_adds`, `lost` at the choice and `left` after the fit by layer,
        and `before_training`, of `check`.

    Raises:
        ConfigError: another model or other settings are in the run's folder, or the budget cannot be kept.
    """
    network, cost = model.card.network, model.card.cost
    mark = {"model": model.name, "head": model_sha256(model.head), **to_dict(settings), "faces": len(train.images)}
    mark["images_key"] = activations.key(features=train.features)
    if (run / START_FACTS).exists():
        facts = json.loads((run / START_FACTS).read_text(encoding="utf-8"))
        if facts["of"] != mark:
            raise ConfigError(f"{run} holds a slim head of {facts['of']}; give another --run_dir, or --restart.")
        return facts
    step = max(1, len(train.images) // settings.images)
    images = np.ascontiguousarray(train.images[::step][: settings.images])
    parent = patches.stages(unrounded(model.head))
    orders = _orders(parent, images, settings.seed, run / ORDERS, {k: v for k, v in mark.items() if k != "budget"})
    whole = cost.head_multiply_adds + cost.tail_multiply_adds
    dimensions = given(model.config.dimensions, f"{model.name} has no dimensions")
    where = (network.architecture, model.config.cut, network.input_size, dimensions)
    channels = selection.widths(orders, *where, settings.budget * whole)
    kept = {name: np.sort(order.kept[: channels[name]]) for name, order in orders.items()}
    head = heads.build(network, model.config, channels)
    slim = patches.stages(unrounded(head))
    left = reconstruct.reconstruct(parent, slim, kept, images, settings.seed)
    save(graph.get_weights(head), run / START)
    facts = {
        "of": mark,
        "channels": channels,
        "multiply_adds": selection.head_multiply_adds(*where, channels),
        "multiply_adds_of_parent": cost.head_multiply_adds,
        "multiply_adds_of_network": whole,
        "lost": {name: round(float(orders[name].lost[count]), 5) for name, count in channels.items()},
        "left": left,
        "before_training": check(model, head, validation),
        "kept": {name: [int(i) for i in chosen] for name, chosen in kept.items()},
    }
    write_json(run / START_FACTS, facts)
    logging.info("Before training: %s.", facts["before_training"])
    return facts


def _orders(parent: list, images: np.ndarray, seed: int, path: Path, mark: dict[str, Any]) -> dict[str, Order]:
    """Orders of channels, which are the same for every budget: kept in a file."""
    of = json.dumps(mark, sort_keys=True)
    arrays = read(path) if path.exists() else {}
    if arrays and str(arrays["of"]) != of:
        raise ConfigError(f"{path} was made for {arrays['of']}; give another --run_dir, or --restart.")
    if not arrays:
        found = selection.orders(parent, images, seed)
        arrays = {f"{name}/{part}": getattr(order, part) for name, order in found.items() for part in ("kept", "lost")}
        save({"of": np.array(of), **arrays}, path)
    names = [key.removesuffix("/kept") for key in arrays if key.endswith("/kept")]
    return {name: Order(arrays[f"{name}/kept"], arrays[f"{name}/lost"]) for name in names}


def read(path: Path) -> dict[str, np.ndarray]:
    """Arrays of `save`.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} cannot be read ({error}); make the slim head again with --restart.") from None


def kept_taught(path: Path, copies: int = 0) -> Taught | None:
    """Images and features of a resumed run, without reading the data set again; None: missing."""
    if not path.exists():
        return None
    kept = read(path)
    files = [Path(str(file)) for file in kept["files"]]
    if int(kept["copies"]) != copies or not all(file.exists() for file in files):
        return None
    return Taught(distil.read_images(files), kept["features"], kept["labels"])


def _taught(model: SplitModel, data: Dataset, cache: Path, copies: int, path: Path) -> Taught:
    """As `slim_distil.teach`, once for each run."""
    if (kept := kept_taught(path, copies)) is not None:
        return kept
    taught, files = distil.teach(model, data, cache, copies)
    facts = {"copies": np.array(copies), "files": np.array([str(file.resolve()) for file in files])}
    save({**facts, "features": taught.features, "labels": taught.labels}, path)
    return taught


def make(
    model: SplitModel,
    train_set: Dataset,
    validation_set: Dataset,
    run: Path,
    cache: Path,
    pruning: Pruning,
    training: Distillation,
) -> dict[str, Any]:
    """Prunes and distils, resuming if the run's folder holds a part of it.

    Args:
        model: the parent.
        train_set, validation_set: of `privzoo.data`; the second only measures.
        run: folder; in the end it holds `slim.npz`, float32, and `record.json`. If training made validation
            results worse, the weights are those from before it.
        cache: folder for images and activations, shared by all tools.
        pruning, training: settings.

    Returns:
        The record.
    """
    network, git = model.card.network, git_revision()  # now: the checkout may move on while a long run goes on
    if model.config.dimensions is None:
        raise ConfigError(f"{model.name} sends an activation; only heads of reduced features are made slim.")
    train = _taught(model, train_set, cache, training.copies, run / TRAIN)
    validation = _taught(model, validation_set, cache, 0, run / VALIDATION)
    facts = prune(model, train, validation, pruning, run)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(training.precision)
    try:
        head = heads.build(network, model.config, facts["channels"])
    finally:
        keras.config.set_dtype_policy(before)
    graph.set_weights(head, read(run / START))
    mark = distil.fingerprint(
        training, facts["channels"], facts["of"]["head"], [len(train.images), len(validation.images)]
    )
    seconds = distil.distil(head, model, train, validation, training, run, mark) if training.steps else 0
    trained = graph.get_weights(head)
    after = check(model, heads.filled(network, model.config, facts["channels"], trained), validation)
    # Chosen on validation faces: weights made worse by training are not released.
    better = after["error"] < facts["before_training"]["error"]
    save(trained if better else read(run / START), run / FINISHED)
    record = {
        "model": model.name,
        "pruning": to_dict(pruning),
        "training": to_dict(training),
        "data": {
            "name": train_set.name,
            "train": len(train.labels) // training.copies,
            "images": len(train.images),
            "validation": len(validation.labels),
            "images_key": facts["of"]["images_key"],
        },
        **{key: facts[key] for key in facts if key not in ("of", "kept")},
        "parent_head_weights_sha256": facts["of"]["head"],
        "seconds": seconds,
        "git": git,
        "date": datetime.date.today().isoformat(),
        "backend": keras.backend.backend(),
        "after_training": after,
        "training_kept": better,
        "validation": after if better else facts["before_training"],
    }
    write_json(run / RECORD, record)
    logging.info("The slim head of %s is in %s.", model.name, run)
    return record


def check(model: SplitModel, head: keras.Model, data: Taught) -> dict[str, float]:
    """A slim head's results on validation chips, without noise and quantization.

    Returns:
        `error`: mean squared error in units of the feature's variance; `agreement` with the parent's labels;
        `accuracy` and `accuracy_of_parent`.
    """
    bare = unrounded(head)
    found = np.concatenate(
        [
            keras.ops.convert_to_numpy(bare(data.images[i : i + 64].astype(np.float32), training=False))
            for i in range(0, len(data.images), 64)
        ]
    )
    labels = {
        name: distil.answers(model, features).argmax(1)
        for name, features in (("slim", found), ("parent", data.features))
    }
    return {
        "error": round(float(np.square(found - data.features).sum(1).mean() / data.features.var(0).sum()), 5),
        "agreement": round(float(np.mean(labels["slim"] == labels["parent"])), 5),
        "accuracy": round(float(np.mean(labels["slim"] == data.labels)), 5),
        "accuracy_of_parent": round(float(np.mean(labels["parent"] == data.labels)), 5),
    }

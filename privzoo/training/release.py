"""From a finished run to released weights: batch norm folded, kernels quantized, the cost of quantization measured."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from privzoo import activations, outputs, weights
from privzoo import config as configs
from privzoo.architectures import graph
from privzoo.config import ModelConfig, NetworkConfig, to_dict
from privzoo.data import Dataset, arrays
from privzoo.embeddings import coded
from privzoo.errors import ConfigError, UnknownNameError
from privzoo.files import write_bytes
from privzoo.mechanisms.codebook import Codebook
from privzoo.provenance import write_json
from privzoo.training import mixing, obfuscation, primary, record, siamese
from privzoo.training.checkpoint import Checkpoint

PLANNED = "planned"  # folder in zoo_configs of networks and models that have no weights yet
ARRAYS_DTYPE = "int16"  # encoding of embeddings' arrays: sums over a whole activation need more than int8
LARGEST_FILE = 50_000_000  # bytes; the repository's limit


def find_models(pattern: str) -> list[ModelConfig]:
    """Registered and planned models by a shell pattern of their names, or the one of a YAML file.

    Raises:
        UnknownNameError: none matches.
    """
    if pattern.endswith(".yaml"):
        return [configs.read(ModelConfig, Path(pattern))]
    planned = (configs.config_folder() / PLANNED / "models").glob("*.yaml")
    known = {**{path.stem: path for path in planned}, **configs.models()}
    names = sorted(fnmatch.filter(known, pattern))
    if not names:
        raise UnknownNameError(f"No registered or planned model matches {pattern!r}.")
    return [configs.read(ModelConfig, known[name]) for name in names]


def trained_weights(config: NetworkConfig, run: Path) -> dict[str, np.ndarray]:
    """Float32 weights of a finished run, batch norm folded: `<layer>/kernel` and `<layer>/bias`.

    Args:
        config: the network.
        run: folder of `tools/train.py`'s run, or of the network in a campaign's results, which are coded already.

    Raises:
        ConfigError: the run is missing, of another config, or not finished.
    """
    network: keras.Model
    if (coded_file := run / f"{config.name}.npz").exists():
        _check_campaign(config, run)
        inherited = weights.load(configs.network(config.parent)) if config.parent else {}
        return inherited | weights.read(coded_file)
    if config.siamese:
        _, network = siamese.build(config)
        siamese.compile_network(network, config, 1)
    elif config.obfuscation:
        network = obfuscation.build(config)
        obfuscation.compile_players(network, config, 1)
    else:
        network = mixing.build(config) if config.mixing else primary.build(config, config.training)
        primary.compile_network(network, config, 1)
    done = Checkpoint(run, record.fingerprint(config)).resume(network)
    epochs = sum(stage.epochs for stage in config.training.stages)
    if done < epochs:
        raise ConfigError(f"The run in {run} has {done} of {epochs} epochs; finish it with tools/train.py first.")
    if config.siamese:
        parent = configs.given(config.parent, f"{config.name} has no parent")
        return weights.load(configs.network(parent)) | graph.get_weights(network)
    if config.obfuscation:
        return obfuscation.trained_weights(config, network)
    folded = graph.fold_batch_norm(graph.get_weights(network)) | primary.unchanged(network, config)
    return {key: value for key, value in folded.items() if key.rpartition("/")[0] not in config.training.auxiliary}


def _check_campaign(config: NetworkConfig, run: Path) -> None:
    """Refuses a campaign's results of another config; another seed of the same would be one too."""
    trained = configs.from_dict(NetworkConfig, json.loads((run / "record.json").read_text())["config"], str(run))
    if record.fingerprint(trained) != record.fingerprint(config):
        raise ConfigError(f"{run} holds {config.name} of another config; give the config that it was trained with.")


def golden_output(network: keras.Model) -> list[float]:
    """Probabilities for the image whose values count 0, 1, ... 255, 0, ...; every later release must reproduce them."""
    return np.asarray(network(_counting(network.input_shape[1:])))[0].round(6).tolist()


def coded_output(head: keras.Model, tail: keras.Model, book: Codebook, epsilon: float) -> list[float]:
    """As `golden_output`, of a coded model that happens to send the true symbol."""
    symbols = book.encode(np.asarray(head(_counting(head.input_shape[1:])))).astype(np.int32)
    answer = tail({coded.SYMBOL: symbols, coded.EPSILON: np.full(1, epsilon, np.float32)})
    return np.asarray(answer)[0].round(6).tolist()


def _counting(shape: tuple[int, ...]) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 256).astype(np.float32).reshape(1, *shape)


def whole_answers(network: keras.Model, chips: np.ndarray, size: int | None, cache: Path) -> np.ndarray:
    """Probabilities of chips or clips, (N, classes); the first layers' outputs are cached, which children share."""
    kept, rest = activations.trunk(network, activations.whole_chips(chips, size), cache)
    return rest.predict(kept.values, batch_size=activations.BATCH, verbose=0)


def release(config: NetworkConfig, run: Path, validation_set: Dataset, cache: Path) -> NetworkConfig:
    """Writes a run's weights, record and curves into `zoo_configs` and enters them in the network's YAML.

    Args:
        config: the network.
        run: folder of its finished run.
        validation_set: on which float and coded weights are compared, for the record.
        cache: folder for the networks' first layers' outputs.

    Returns:
        The config with its `weights` entry.
    """
    values = trained_weights(config, run)
    folder = configs.config_folder()
    parent = weights.load(configs.network(config.parent)) if config.parent else {}
    stored = weights.differing(values, parent)
    path = folder / "weights" / f"{config.name}.npz"
    entry = weights.save(stored, path, config.coding)
    if entry.bytes > LARGEST_FILE:
        raise ConfigError(f"{path} has {entry.bytes:,} bytes, over {LARGEST_FILE:,}; use a compact classifier.")
    chips, labels = arrays(validation_set, config.training.chip_size)
    released_network = graph.inference_network(config, parent | weights.read(path))
    networks = {"float32": graph.inference_network(config, values), "released": released_network}
    answers, wanted = {}, labels[config.task]
    for name, network in networks.items():
        if config.mixing:  # what it is for: the same mixtures of both
            answers[name], order = mixing.answers(network, config.mixing, chips, config.input_size)
            wanted = labels[config.task][order]
        else:
            answers[name] = whole_answers(network, chips, config.input_size, cache)
    labels_of = {name: outputs.decided(answer, config.output) for name, answer in answers.items()}
    accuracy = {name: float(np.mean(found == wanted)) for name, found in labels_of.items()}
    run_record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    if (before := run_record.get("campaign", {}).get("float_validation_accuracy")) is not None:
        accuracy["float32"] = before  # a campaign's results are coded already
    run_record["golden_output"] = golden_output(released_network)
    run_record["release"] = {
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "validation_faces": len(wanted),
        "validation_accuracy": accuracy,
        "largest_probability_change_by_coding": float(np.abs(answers["float32"] - answers["released"]).max()),
        "labels_changed_by_coding": int((labels_of["float32"] != labels_of["released"]).sum()),
    }
    write_json(path.with_suffix(".json"), run_record)
    if not (run / "curves.png").exists():  # a campaign plots nothing
        record.plot_curves(run / "log.csv", run / "curves.png", config.name)
    write_bytes(path.with_suffix(".png"), (run / "curves.png").read_bytes())
    released = dataclasses.replace(config, weights=entry)
    _register(released, "networks")
    return released


def release_model(model: ModelConfig, arrays: Mapping[str, np.ndarray], facts: dict[str, Any]) -> ModelConfig:
    """Writes an embedding's arrays and record into `zoo_configs` and enters them in the model's YAML.

    Args:
        model: the model.
        arrays: as `privzoo.embeddings` takes them; empty for an embedding without any.
        facts: for the record.

    Returns:
        The config with its `weights` entry.
    """
    if model.code:
        symbols = int(arrays[coded.JOINT].shape[1])
        slim = configs.model(model.code.base).slim if model.code.base else None
        model = dataclasses.replace(model, code=dataclasses.replace(model.code, symbols=symbols), slim=slim)
    if arrays:
        path = configs.config_folder() / "weights" / f"{model.name}.npz"
        model = dataclasses.replace(model, weights=weights.save(arrays, path, dtype=ARRAYS_DTYPE))
        write_json(path.with_suffix(".json"), {**facts, "release": to_dict(model.weights)})
    _register(model, "models")
    return model


def _register(config: NetworkConfig | ModelConfig, kind: str) -> None:
    """Writes a released config's YAML, which is then no longer planned."""
    folder = configs.config_folder()
    configs.write(config, folder / kind / f"{config.name}.yaml")
    (folder / PLANNED / kind / f"{config.name}.yaml").unlink(missing_ok=True)
    configs.networks.cache_clear()
    configs.models.cache_clear()

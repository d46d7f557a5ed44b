"""From a finished run to a released slim head: kernels quantized, its cost measured, the model's YAML."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from privzoo import config as configs
from privzoo import weights
from privzoo.architectures import graph
from privzoo.config import ModelConfig, SlimConfig, to_dict
from privzoo.embeddings import slim as heads
from privzoo.errors import ConfigError
from privzoo.model import SplitModel
from privzoo.provenance import write_json
from privzoo.slim import fit
from privzoo.training.release import golden_output


def golden(head: keras.Model, tail: keras.Model) -> list[float]:
    """Probabilities for the image of `training.release.golden_output`: which every later release must reproduce."""
    whole = graph.chain([*graph.layers(head), *graph.layers(tail)], head.input_shape[1:], "image", "whole")
    return golden_output(whole)


def release(model: SplitModel, run: Path) -> ModelConfig:
    """Writes a run's weights and record into `zoo_configs` and enters them in the YAML of the model and of its codes.

    Args:
        model: the parent.
        run: folder of the finished run.

    Returns:
        The model's config with its `slim` entry.

    Raises:
        ConfigError: the run is not finished, or was made for another head of this model.
    """
    if not (run / fit.RECORD).exists() or not (run / fit.FINISHED).exists():
        raise ConfigError(f"{run} holds no finished slim head; run tools/slim.py without --release first.")
    record: dict[str, Any] = json.loads((run / fit.RECORD).read_text(encoding="utf-8"))
    own = model.manifest()["head"]["weights_sha256"]
    if (record["model"], record["parent_head_weights_sha256"]) != (model.name, own):
        raise ConfigError(f"{run} was distilled from an earlier head of {model.name}; start over with --restart.")
    network, channels = model.card.network, record["channels"]
    trained = fit.read(run / fit.FINISHED)
    path = configs.config_folder() / "weights" / f"{model.name}_slim.npz"
    entry = weights.save(trained, path)
    validation = fit.kept_taught(run / fit.VALIDATION)
    if validation is None:
        raise ConfigError(f"{run} lacks its validation images; run tools/slim.py without --release again.")
    head = heads.filled(network, model.config, channels, weights.read(path))
    record["release"] = {
        **to_dict(entry),
        "validation": fit.check(model, head, validation),
        "largest_weight_change_by_coding": float(
            max(np.abs(value - trained[key]).max() for key, value in weights.read(path).items())
        ),
    }
    record["golden_output"] = golden(head, model.tail)
    write_json(path.with_suffix(".json"), record)
    slim = SlimConfig(channels, entry)
    for name, file in configs.models().items():
        one = configs.model(name)
        if name == model.name or (one.code and one.code.base == model.name):  # the code is of the same feature
            configs.write(dataclasses.replace(one, slim=slim), file)
    configs.models.cache_clear()
    return configs.model(model.name)

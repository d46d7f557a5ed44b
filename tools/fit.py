"""Fits reduced, noisy and coded models to training features: `tools/fit.py --model PATTERN --data_dir DIR`."""

from __future__ import annotations

import json
import sys

from absl import app, flags, logging

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "model", None, "name or shell pattern of registered and planned models, or a YAML file", required=True
)
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_string("cache_dir", "runs/cache", "folder for features, some 10 to 40 KB per face or clip and cut")
flags.DEFINE_integer("limit", None, "fit on this many faces or clips only, for a trial run", lower_bound=8)
flags.DEFINE_bool("augment", True, "augment training chips or clips, as in the network's training")
flags.DEFINE_integer(
    "seed", 1, "seed of the order of faces or clips, their augmentation, and the noise that the tail is fitted to"
)
flags.DEFINE_bool("release", False, "write arrays, record and YAML into zoo_configs")


def main(_: list[str]) -> None:
    """Fits every matching model, network by network, and prints its validation accuracy."""
    from privzoo import config, embeddings, weights
    from privzoo.architectures import graph
    from privzoo.data import splits
    from privzoo.errors import ConfigError, UnknownNameError
    from privzoo.training import release
    from privzoo.training.fitting import Fitter

    if FLAGS.release and FLAGS.limit:
        raise ConfigError("--release does not go with --limit: releases are fitted on all of the training part.")
    models, fitted = release.find_models(FLAGS.model), 0
    for name in sorted({model.network for model in models}):
        own = [model for model in models if model.network == name]
        if name not in config.networks():
            logging.warning("%s is not released yet; its %d models are left out.", name, len(own))
            continue
        fitted += len(own)
        network = config.network(name)
        for model in own:
            embeddings.check(model, network)
        # Codes use only some of the training faces, as their configs say.
        limits = {model.name: model.code.faces if model.code else None for model in own if model.dimensions}
        fitters = {}
        if limits:
            train, validation = splits.of_network(network, FLAGS.data_dir)
            built = graph.inference_network(network, weights.load(network))
            if FLAGS.limit:
                train, validation = (splits.take(part, FLAGS.limit) for part in (train, validation))
        for limit in set(limits.values()):
            cuts = [model.cut for model in own if limits.get(model.name, 0) == limit]
            some = splits.take(train, limit) if limit else train
            options = (checks.local_path(FLAGS.cache_dir), FLAGS.augment, FLAGS.seed)
            fitters[limit] = Fitter(network, built, cuts, some, validation, *options)
        for model in own:
            arrays, facts = fitters[limits[model.name]].fit(model) if model.dimensions else ({}, {})
            print(json.dumps({model.name: facts}, indent=1), flush=True)
            if FLAGS.release:
                release.release_model(model, arrays, facts)
    if not fitted:
        raise UnknownNameError("None of these models' networks is released yet; train them with tools/train.py first.")


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"fit: {error}")

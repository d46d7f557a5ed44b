"""Trains a network of the zoo: `tools/train.py --config zoo_configs/networks/NAME.yaml --data_dir DIR`."""

from __future__ import annotations

import shutil
import sys

from absl import app, flags, logging

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_string("config", None, "YAML file of the network", required=True)
flags.DEFINE_string("data_dir", None, "folder with the data set, as a zip or in its official layout", required=True)
flags.DEFINE_string("init_dir", None, "folder of the start weights, if the config names any")
flags.DEFINE_string("run_dir", None, "folder for checkpoints, log and record; default runs/NAME")
flags.DEFINE_string("cache_dir", None, "folder for the first layers' activations; default next to the run")
flags.DEFINE_integer(
    "limit", None, "train and validate on this many faces or clips only, for a trial run", lower_bound=8
)
flags.DEFINE_bool("release", False, "after training, write the weights and the record into zoo_configs")
flags.DEFINE_bool("restart", False, "discard the run in the folder instead of resuming it")


def main(_: list[str]) -> None:
    """Trains, then prints where the run is."""
    from privzoo import config
    from privzoo.data import splits
    from privzoo.training import mixing, obfuscation, primary, release, siamese

    network = config.read(config.NetworkConfig, checks.local_path(FLAGS.config))
    run = checks.local_path(FLAGS.run_dir or f"runs/{network.name}")
    if FLAGS.restart:
        shutil.rmtree(run, ignore_errors=True)
    train_set, validation_set = splits.of_network(network, FLAGS.data_dir)
    if FLAGS.limit:
        train_set, validation_set = (splits.take(part, FLAGS.limit) for part in (train_set, validation_set))
    cache = checks.local_path(FLAGS.cache_dir) if FLAGS.cache_dir else run.parent / "cache"
    if (run / f"{network.name}.npz").exists():  # of a campaign
        logging.info("%s has a campaign's results; nothing is trained.", run)
    elif network.training.campaign:
        raise config.ConfigError(
            f"{network.name} is trained by tools/campaign.py; give its folder of results as --run_dir."
        )
    elif network.siamese:
        siamese.train(network, train_set, validation_set, run, cache)
    elif network.mixing:
        mixing.train(network, train_set, validation_set, run)
    elif network.obfuscation:
        obfuscation.train(network, train_set, validation_set, run)
    else:
        primary.train(
            network, train_set, validation_set, run, checks.local_path(FLAGS.init_dir) if FLAGS.init_dir else None
        )
    logging.info("Trained %s; the run is in %s.", network.name, run)
    if FLAGS.release:
        entered = release.release(network, run, validation_set, cache).weights
        released = config.given(entered, f"{network.name} has no released weights")
        logging.info("Released %s: %d bytes, SHA-256 %s.", released.file, released.bytes, released.sha256)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"train: {error}")

"""Makes a model's slim head, for the same tail: `tools/slim.py --model NAME --data_dir DIR`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

from privzoo import checks

if TYPE_CHECKING:
    from privzoo.model import SplitModel

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "name of the model", required=True)
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_string("run_dir", None, "folder for checkpoints, log and record; default runs/slim_NAME")
flags.DEFINE_string("cache_dir", "runs/cache", "folder for images and activations, shared by all tools")
flags.DEFINE_float("budget", 0.12, "the slim head's maximum share of the whole network's multiply-adds")
flags.DEFINE_integer("images", 1024, "training chips for choosing channels and fitting layers")
flags.DEFINE_integer("steps", 600, "total steps of the distillation; 0: none")
flags.DEFINE_integer("steps_per_epoch", 50, "steps between two checkpoints", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "images per step", lower_bound=1)
flags.DEFINE_float("learning_rate", 2e-5, "peak learning rate of the distillation")
flags.DEFINE_integer("copies", 1, "augmented versions of each training chip", lower_bound=1)
flags.DEFINE_string("precision", "float32", "Keras dtype policy of the distillation, such as mixed_bfloat16")
flags.DEFINE_integer("seed", 1, "seed of all randomness")
flags.DEFINE_integer("limit", None, "train and validate on this many faces only, for a trial run", lower_bound=8)
flags.DEFINE_bool("release", False, "write weights, record and YAML into zoo_configs")
flags.DEFINE_string("heads_dir", None, "folder with exported heads to measure; missing ones are exported now")
flags.DEFINE_bool(
    "measure", False, "compare the released slim head with the full one, and decide the goals on validation data"
)
flags.DEFINE_bool("make", True, "make the head, resuming if possible; without it, only release or measure")
flags.DEFINE_list("seeds", ["1", "2", "3"], "seeds of noise and attackers, when measuring")
flags.DEFINE_list(
    "attackers", ["lda", "logistic", "knn", "mlp"], "names in privzoo.audit.attacks.attackers, when measuring"
)
flags.DEFINE_string(
    "results", None, "Markdown file whose section on slim heads is rewritten; default RESULTS.md; empty for none"
)
flags.DEFINE_bool("restart", False, "discard the run in the folder instead of resuming it")


def _make(model: SplitModel, run: Path) -> None:
    from privzoo.data import splits
    from privzoo.slim import fit
    from privzoo.slim.distil import Distillation
    from privzoo.slim.fit import Pruning

    parts = splits.of_network(model.card.network, FLAGS.data_dir)
    train, validation = (splits.take(part, FLAGS.limit) for part in parts) if FLAGS.limit else parts
    pruning = Pruning(FLAGS.budget, FLAGS.images, FLAGS.seed)
    training = Distillation(
        steps=FLAGS.steps,
        steps_per_epoch=FLAGS.steps_per_epoch,
        batch_size=FLAGS.batch_size,
        peak_learning_rate=FLAGS.learning_rate,
        copies=FLAGS.copies,
        precision=FLAGS.precision,
        seed=FLAGS.seed,
    )
    record = fit.make(model, train, validation, run, checks.local_path(FLAGS.cache_dir), pruning, training)
    print(json.dumps({key: record[key] for key in ("channels", "left", "validation")}, indent=1), flush=True)


def _measure(model: SplitModel) -> None:
    from slimming import report

    import privzoo
    from privzoo.audit import own
    from privzoo.audit.report import families
    from privzoo.data import splits
    from privzoo.errors import ConfigError
    from privzoo.slim import measure

    try:
        seeds = tuple(map(int, FLAGS.seeds))
    except ValueError:
        raise ConfigError(f"--seeds {FLAGS.seeds} are not numbers; give 1,2,3.") from None
    measured = measure.measure(
        model,
        privzoo.load(model.name, head="slim"),
        splits.test_set(model.card.network, FLAGS.data_dir),
        splits.of_network(model.card.network, FLAGS.data_dir)[1],
        own.data_of(model.card.network, FLAGS.data_dir),
        checks.local_path(FLAGS.cache_dir),
        seeds,
        FLAGS.attackers,
        checks.local_path(FLAGS.heads_dir) if FLAGS.heads_dir else None,
    )
    heads = f" --heads_dir {FLAGS.heads_dir}" if FLAGS.heads_dir else ""
    command = f"tools/slim.py --model {model.name} --data_dir DIR --nomake --measure{heads}"
    report.write(measured, command, families.file(families.family(model.card.network), FLAGS.results))
    print("\n".join(report.lines(measured)))


def main(_: list[str]) -> None:
    """Prunes and distils, releases, and measures, as the flags ask."""
    import privzoo
    from privzoo import config
    from privzoo.errors import ConfigError
    from privzoo.slim import release

    if FLAGS.release and FLAGS.limit:
        raise ConfigError("--release does not go with --limit: releases are made on all faces.")
    config.check_uncoded(config.model(FLAGS.model))
    model = privzoo.load(FLAGS.model)
    run = checks.local_path(FLAGS.run_dir or f"runs/slim_{model.name}")
    if FLAGS.restart:
        shutil.rmtree(run, ignore_errors=True)
    if FLAGS.make:
        _make(model, run)
    if FLAGS.release:
        entry = config.given(release.release(model, run).slim, f"{model.name} has no slim head").weights
        print(f"Released {entry.file}: {entry.bytes:,} bytes, SHA-256 {entry.sha256}.", flush=True)
    if FLAGS.measure:
        _measure(model)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"slim: {error}")

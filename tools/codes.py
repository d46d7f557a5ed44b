"""Fits a code on a reduced model and measures it: `tools/codes.py --model NAME --data_dir DIR`.

The code stands on the reduced feature of a released model, without that model's noise. Codebook and posterior are
fitted on `--faces` of the network's training faces, each changed at random as in its training; figures are of the
exported int8 head on the task's test set.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "name of a released model with a reduced feature", required=True)
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_string("cache_dir", "runs/cache", "folder for activations, shared by all tools")
flags.DEFINE_string("heads_dir", None, "folder with exported heads, NAME_int8.tflite; others are made now")
flags.DEFINE_integer("faces", 4000, "training faces that the code is fitted on, evenly spaced", lower_bound=64)
flags.DEFINE_list("symbols", ["best"], "numbers of symbols to fit; best: as many as answer best")
flags.DEFINE_float("epsilon", 3.0, "budget that `best` is for")
flags.DEFINE_list("budgets", ["1", "2", "3", "4", "6", "8"], "epsilons to measure")
flags.DEFINE_string("write", None, "JSON file for the figures; without it, they are only printed")


def main(_: list[str]) -> None:
    """Fits each code, prints its figures at each budget, and writes them."""
    import numpy as np

    import privzoo
    from privzoo.data import arrays, fer2013, lfw, splits
    from privzoo.embeddings import coded
    from privzoo.errors import ConfigError
    from privzoo.evaluation.coded import measure
    from privzoo.evaluation.deployed import head_features
    from privzoo.export import released
    from privzoo.mechanisms.bounds import QUERIES, bounds
    from privzoo.mechanisms.randomized_response import RandomizedResponse
    from privzoo.provenance import git_revision, write_json
    from privzoo.training import codes, fitting, reduction

    try:
        budgets = [float(text) for text in FLAGS.budgets]
        sizes = [None if text == "best" else int(text) for text in FLAGS.symbols]
    except ValueError:
        raise ConfigError("--budgets takes numbers, and --symbols whole numbers or best.") from None
    git, cache = git_revision(), Path(FLAGS.cache_dir)
    model = privzoo.load(FLAGS.model)
    config, network = model.config, model.card.network
    if not config.dimensions:
        raise ConfigError(f"{FLAGS.model} sends an activation; a code needs a reduced feature.")
    train = splits.take(splits.load_splits(network.training.dataset, FLAGS.data_dir)[0], FLAGS.faces)
    activations, classes = fitting.cut_features(network, model.network, [config.cut], train, cache, True)
    layer = model.head.get_layer("reduce")
    kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    reduced = reduction.mapped(activations[config.cut], reduction.Linear(kernel.reshape(-1, config.dimensions), bias))
    test = lfw.load(FLAGS.data_dir) if network.task == "gender" else fer2013.load(FLAGS.data_dir, split="test")
    chips, labels = arrays(test, model.input_size, network.task)
    with tempfile.TemporaryDirectory(prefix="privzoo-") as folder:
        path = FLAGS.heads_dir and released.find(model, "int8", Path(FLAGS.heads_dir))
        features, digest = head_features(path or model.export_head(Path(folder) / "head.tflite"), chips, cache)
    own = model.classify(features).argmax(1)
    results = []
    for size in sizes:
        fitted = codes.fit(reduced, classes, FLAGS.epsilon, size)
        tail = coded.tail_of(fitted.joint)

        def answer(symbols, epsilon, tail=tail):
            return tail({coded.SYMBOL: symbols, coded.EPSILON: np.full(len(symbols), epsilon, np.float32)})

        k = fitted.book.k
        for found in measure(answer, k, fitted.book.encode(features), labels, own, budgets):
            limits = [dict(bounds(RandomizedResponse(k, found.epsilon), queries).rows()) for queries in QUERIES]
            results.append({**dataclasses.asdict(found), "share_of_ceiling": found.share, "bounds": limits})
            print(
                f"k={k} epsilon {found.epsilon:g}: {found.accuracy:.2%} ({found.lowest:.2%} to {found.highest:.2%}), "
                f"{found.share:.2%} of the ceiling {found.ceiling:.2%}, calibration error "
                f"{found.calibration_error:.2%}; any attacker's top-1 of 100 people: "
                f"{limits[0]['top-1 of 100 people']}",
                flush=True,
            )
        results[-1]["fitted"] = fitted.facts
    print(f"the network on the head's feature: {np.mean(own == labels):.2%} of {len(labels):,} faces")
    if FLAGS.write:
        command = (
            f"tools/codes.py --model {FLAGS.model} --data_dir DIR --faces {FLAGS.faces} --epsilon {FLAGS.epsilon:g} "
            f"--symbols {','.join(FLAGS.symbols)} --budgets {','.join(FLAGS.budgets)}"
        )
        facts = {"model": FLAGS.model, "data": test.name, "head": f"int8, {digest}", "git": git, "command": command}
        facts["network_accuracy"] = float(np.mean(own == labels))
        write_json(Path(FLAGS.write), {**facts, "figures": results})


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"codes: {error}")

"""Makes a model's head cheaper in several ways, and compares them all: `tools/optimise.py --help`.

    tools/optimise.py --model vgg_s_emotion_advanced_conv5 --data_dir DIR --heads_dir tflite

Heads go to --out with their manifests inside, figures to zoo_configs/optimised/NAME.json and into RESULTS.md. Trained
heads are kept: a run that was stopped continues, and a second one only measures. Which head wins is decided on
validation data and on people who are not measured (protocol 7).
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from typing import TYPE_CHECKING

from absl import app, flags
from optimising.heads import EXPORTED, METHODS
from optimising.process import LEARNING_RATES, TRAINED

from privzoo import checks
from privzoo.config import SLIM

if TYPE_CHECKING:
    from optimising.heads import Faces
    from optimising.process import Job

    from privzoo.model import SplitModel

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "name of the model", required=True)
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_list("methods", None, f"some of {', '.join(METHODS)}; default: all that apply to the model")
flags.DEFINE_string(
    "heads_dir", None, f"folder with exported heads, such as tflite: {', '.join(EXPORTED)} are taken from it"
)
flags.DEFINE_integer("steps", 300, "training steps, for each method that trains", lower_bound=1)
flags.DEFINE_integer("batch", 16, "chips per step", lower_bound=1)
flags.DEFINE_integer("chips", 4096, "training faces to learn from, evenly spaced", lower_bound=8)
flags.DEFINE_list(
    "learning_rates", [f"{name}={rate}" for name, rate in LEARNING_RATES.items()], "initial learning rates"
)
flags.DEFINE_float("sparsity", 0.6, "share of each convolution's weights to prune")
flags.DEFINE_integer("clusters", 32, "number of distinct values of each convolution's weights", lower_bound=2)
flags.DEFINE_integer("seed", 1, "seed of training")
flags.DEFINE_string("out", "runs/optimise", "folder for heads and training runs")
flags.DEFINE_string("cache_dir", "runs/cache", "folder for features, shared by all tools")
flags.DEFINE_bool("measure", True, "measure the heads; without it, only make them")
flags.DEFINE_integer("every", 1, "measure accuracy on every Nth test face only", lower_bound=1)
flags.DEFINE_integer("limit", None, "measure accuracy on about this many faces only, for a trial run", lower_bound=8)
flags.DEFINE_list("seeds", ["1", "2", "3"], "seeds of attackers and noise")
flags.DEFINE_list("attackers", ["lda", "logistic", "knn"], "names in privzoo.audit.attacks.attackers")
flags.DEFINE_integer("rounds", 5, "how often time and memory are measured, in random order", lower_bound=1)
flags.DEFINE_integer("inferences", 20, "inferences timed in each process", lower_bound=1)
flags.DEFINE_bool("write", True, "write the figures into zoo_configs; without it, only print them")
flags.DEFINE_string("results", None, "Markdown file whose section is rewritten; default RESULTS.md; empty for none")


def _faces(model: SplitModel) -> Faces:
    """Training faces, and the float head's output for them."""
    import numpy as np
    from optimising import heads, tf_keras_copy

    from privzoo.audit.features import keep
    from privzoo.data import arrays, splits
    from privzoo.embeddings.rounding import unrounded
    from privzoo.export.manifests import model_sha256

    data, _ = splits.of_network(model.card.network, FLAGS.data_dir)
    chips, _ = arrays(splits.take(data, FLAGS.chips), model.input_size)
    head = unrounded(model.head)

    def make() -> np.ndarray:
        parts = (chips[i : i + 64].astype(np.float32) for i in range(0, len(chips), 64))
        return np.concatenate([np.asarray(head(part, training=False)) for part in parts])

    facts = {"head before rounding": model_sha256(head), "layers": tf_keras_copy.describe(head), "chips": chips}
    return heads.Faces(chips, np.array(keep(facts, make, checks.local_path(FLAGS.cache_dir)).read()))


def _job(method: str) -> Job:
    from optimising.process import Job

    from privzoo.errors import ConfigError

    try:
        rates = LEARNING_RATES | {
            name: float(rate) for name, rate in (pair.split("=") for pair in FLAGS.learning_rates)
        }
    except ValueError:
        raise ConfigError(f"--learning_rates {FLAGS.learning_rates} is invalid; give qat=1e-6,pruned=3e-5.") from None
    rate = rates[method]
    options = {"sparsity": FLAGS.sparsity, "clusters": FLAGS.clusters, "seed": FLAGS.seed}
    return Job(method, FLAGS.steps, FLAGS.batch, learning_rate=rate, **options)


def main(_: list[str]) -> None:
    """Makes the heads, measures them, and writes and prints the figures."""
    from benchmarking import goals, machine
    from optimising import figures, heads, report

    import privzoo
    from privzoo import config, costs
    from privzoo.audit.report import families
    from privzoo.data import splits
    from privzoo.errors import ConfigError
    from privzoo.provenance import git_revision

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    has_slim = SLIM in costs.heads(privzoo.show(FLAGS.model).model)
    methods = list(dict.fromkeys(FLAGS.methods or [name for name in METHODS if name != SLIM or has_slim]))
    heads.check_methods(methods)
    if FLAGS.measure and heads.POST_TRAINING not in methods:
        raise ConfigError(f"Heads are compared with the method {heads.POST_TRAINING}; add it to --methods.")
    if FLAGS.limit and FLAGS.write:
        raise ConfigError("Figures of --limit must not be stored; add --nowrite.")
    try:
        seeds = tuple(map(int, FLAGS.seeds))
    except ValueError:
        raise ConfigError(f"--seeds {FLAGS.seeds} are not numbers; give 1,2,3.") from None
    described, git = machine.describe(), git_revision()
    config.check_uncoded(config.model(FLAGS.model))
    model = privzoo.load(FLAGS.model)
    network = model.card.network
    slim = privzoo.load(FLAGS.model, head=SLIM) if SLIM in methods else None
    exported = checks.local_path(FLAGS.heads_dir) if FLAGS.heads_dir else None
    faces, jobs = _faces(model), {name: _job(name) for name in methods if name in TRAINED}
    paths = {}
    for name in methods:
        say(f"making {name}")
        which = slim if name == SLIM and slim else model
        paths[name] = heads.make(
            which, name, faces, jobs.get(name), checks.local_path(FLAGS.out) / model.name, exported
        )
        print(f"{paths[name]}  {paths[name].stat().st_size:,} bytes", flush=True)
    if not FLAGS.measure:
        return
    test, validation = splits.test_set(network, FLAGS.data_dir), splits.of_network(network, FLAGS.data_dir)[1]
    data, goal = (test.name, goals.OWN_AGREEMENT) if network.own_data else goals.AGREEMENT[network.task]
    if FLAGS.limit:
        test, validation = splits.take(test, FLAGS.limit), splits.take(validation, FLAGS.limit)
    plan = figures.Plan(
        FLAGS.data_dir,
        checks.local_path(FLAGS.cache_dir),
        FLAGS.every,
        seeds,
        tuple(FLAGS.attackers),
        FLAGS.rounds,
        FLAGS.inferences,
    )
    deciding, published = figures.measure(model, test, validation, paths, plan, say)
    options = {"steps": FLAGS.steps, "batch": FLAGS.batch, "chips": FLAGS.chips, "every": FLAGS.every}
    command = f"tools/optimise.py --model {model.name} --data_dir DIR --methods {','.join(methods)} " + " ".join(
        f"--{name} {value}" for name, value in options.items()
    )
    command += f" --heads_dir {FLAGS.heads_dir}" if FLAGS.heads_dir else ""
    found = report.document(
        model.name,
        deciding,
        published,
        {
            "date": datetime.date.today().isoformat(),
            "git": git,
            "command": command,
            "machine": described,
            "data": data,
            "people": published.people,
            "goal": goal,
            "seeds": list(seeds),
            "attackers": FLAGS.attackers,
            "rounds": FLAGS.rounds,
            "inferences": FLAGS.inferences,
            "jobs": {name: dataclasses.asdict(job) for name, job in jobs.items()},
            "released": [name for name, path in paths.items() if path.parent == exported],
        },
    )
    print(report.text(found))
    if FLAGS.write:
        folder = config.config_folder() / "optimised"
        print(report.write(folder, found, families.file(families.family(network), FLAGS.results)))


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"optimise: {error}")

"""Tries settings of models: what each costs in accuracy, and how many people can still be identified.

    tools/sweep.py --model 'vgg16_gender_advanced_*' --data_dir DIR --try sigma=0.1,clip=0.3 --try sigma=0.2,clip=0.5

Settings are chosen on what is never measured (protocol 7): accuracy on validation data, identity on the people who
rank 101 to 200 by their number of LFW images. `sweeping.report.RULE` says how.
"""

from __future__ import annotations

import sys

from absl import app, flags, logging

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "name or shell pattern of models, planned ones too", required=True)
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_multi_string(
    "try", None, "settings such as `relevance=1,sigma=0.4,clip=1`; may be repeated", required=True
)
flags.DEFINE_string("cache_dir", "runs/cache", "folder for features, shared by all tools")
flags.DEFINE_list("attackers", ["lda", "logistic", "knn"], "names in privzoo.audit.attacks.attackers")
flags.DEFINE_list("seeds", ["1", "2", "3"], "of attackers and noise")
flags.DEFINE_integer(
    "faces", None, "training faces that reductions are fitted on, evenly spaced; default: all", lower_bound=64
)
flags.DEFINE_string(
    "results", None, "Markdown file whose section on settings is rewritten; default RESULTS.md; empty for none"
)


def main(_: list[str]) -> None:
    """Tries every setting on every matching model, and writes each result as soon as it is known."""
    from sweeping import report
    from sweeping.bench import Bench

    from privzoo import config
    from privzoo.audit.report import families
    from privzoo.errors import ConfigError, UnknownNameError
    from privzoo.training import release

    try:
        seeds = tuple(map(int, FLAGS.seeds))
    except ValueError:
        raise ConfigError(f"--seeds {','.join(FLAGS.seeds)} are not whole numbers; give 1,2,3.") from None

    folder = config.config_folder() / "sweeps"
    folder.mkdir(exist_ok=True)
    benches: dict[str, Bench] = {}
    models = [model for model in release.find_models(FLAGS.model) if model.network in config.networks()]
    if not models:
        raise UnknownNameError("None of these models' networks is released yet; train them with tools/train.py first.")
    for model in models:
        config.check_uncoded(model)
    for model in models:
        cuts = [m.cut for m in models if m.network == model.network]
        bench = benches.get(model.network) or Bench(
            model.network, cuts, FLAGS.data_dir, checks.local_path(FLAGS.cache_dir), seeds, FLAGS.attackers, FLAGS.faces
        )
        benches = {model.network: bench}  # one at a time in memory
        for trial in FLAGS["try"].value or ():
            how = f"--attackers {','.join(FLAGS.attackers)} --seeds {','.join(FLAGS.seeds)}"
            how += f" --faces {FLAGS.faces}" if FLAGS.faces else ""
            command = f"tools/sweep.py --model {model.name} --data_dir DIR {how} --try {trial}"
            row = bench.measure(report.changed(model, trial))
            report.add_trial(folder / f"{model.name}.json", trial, command, seeds, row)
            people = ", ".join(f"{q} queries {f['value']:.1%} ({f['attacker']})" for q, f in row["identity"].items())
            logging.info("%s, %s: accuracy %.2f %%, identity %s", model.name, trial, 100 * row["accuracy"], people)
    every = {path: families.family_of(path.stem) for path in sorted(folder.glob("*.json"))}
    for family in sorted({families.family(config.network(model.network)) for model in models}):
        if file := families.file(family, FLAGS.results):
            report.write(file, [path for path, own in every.items() if own == family])


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"sweep: {error}")

"""Tries settings of models, and says what each costs in accuracy and leaves of identity: `tools/sweep.py --help`.

    tools/sweep.py --model 'vgg16_gender_advanced_*' --data_dir DIR --try sigma=0.1,clip=0.3 --try sigma=0.2,clip=0.5

Accuracy is on validation data, where settings are chosen; identity is who of LFW-100 the attackers recognise.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "name or shell pattern of models, planned ones too", required=True)
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_multi_string("try", None, "settings as `relevance=1,sigma=0.4,clip=1`; may be given often", required=True)
flags.DEFINE_string("cache_dir", "runs/cache", "folder for features, shared by all tools")
flags.DEFINE_list("attackers", ["lda", "logistic", "knn"], "names in privzoo.audit.attacks.attackers")
flags.DEFINE_list("seeds", ["1", "2", "3"], "of attackers and noise")
flags.DEFINE_string(
    "results", None, "Markdown file whose table of sweeps is written anew; default RESULTS.md; empty for none"
)


def changed(model: Any, trial: str) -> Any:
    """The model's config with changes as `sigma=0.4,clip=1`: of its noise, or else of itself."""
    import yaml

    from privzoo import config

    data = config.to_dict(model)
    for change in trial.split(","):
        name, _, value = change.partition("=")
        part = data["noise"] if data["noise"] and name in data["noise"] else data
        part[name] = yaml.safe_load(value)
    return config.from_dict(config.ModelConfig, data, f"--try={trial}")


class Bench:
    """A network with validation faces, on which settings are tried, and people who are attacked."""

    def __init__(self, name: str, cuts: list[str], cache: Path):
        from privzoo import config, weights
        from privzoo.architectures import graph
        from privzoo.audit import own
        from privzoo.data import splits
        from privzoo.training.fitting import Fitter

        network = config.network(name)
        self.network = graph.inference_network(network, weights.load(network))
        parts = splits.of_network(network, FLAGS.data_dir)
        self.fitter = Fitter(network, self.network, cuts, *parts, cache)
        self.people = own.data_of(network, FLAGS.data_dir).lfw100(network.input_size)
        self.cache = cache

    def _activations(self, cut: str) -> list[np.ndarray]:
        """Of the people's training and scored faces at a cut."""
        from privzoo import activations

        images = (activations.whole_chips(faces.chips, faces.chips.shape[1]) for faces in self.people)
        kept = (activations.at_cuts(self.network, source, [cut], self.cache, np.float32) for source in images)
        return [found[cut].values for found in kept]

    def measure(self, model: Any) -> dict[str, Any]:
        """Accuracy on validation faces, and identity."""
        from privzoo import embeddings
        from privzoo.architectures import graph
        from privzoo.audit.attacks import identity
        from privzoo.mechanisms.gaussian import Noise
        from privzoo.training import fitting, reduction

        heldout, labels = self.fitter.validation[0][model.cut], self.fitter.validation[1]
        sides = self._activations(model.cut)
        facts: dict[str, Any] = {}
        if model.dimensions:
            arrays, facts = self.fitter.fit(model)
            right = fitting.accuracy(model, self.network, arrays, heldout, labels, seed=1)
            down = reduction.Linear(arrays["reduce/kernel"], arrays["reduce/bias"])
            sides = [reduction.mapped(side, down).astype(np.float32) for side in sides]
            sides = [np.rint(side) if model.step else side for side in sides]
        else:
            _, tail = embeddings.get("simple").attach(*graph.split(self.network, model.cut), {}, model)
            step = model.step or 0
            sides = [np.rint(side / step) if step else side for side in sides]
            parts = (np.float32(heldout[i : i + 64]) for i in range(0, len(heldout), 64))
            answers = [np.asarray(tail(np.rint(part / step) if step else part)).argmax(1) for part in parts]
            right = float(np.mean(np.concatenate(answers) == labels))
            facts["levels"] = [len(np.unique(sides[0]))] if step else []
        train, test = self.people
        noise = Noise(model.noise.sigma, model.noise.clip) if model.noise else None
        figures = {}
        for queries in (1, 100) if noise else (1,):
            result = identity.attack(
                sides[0],
                train.labels["identity"],
                sides[1],
                test.labels["identity"],
                noise=noise,
                queries=queries,
                seeds=tuple(map(int, FLAGS.seeds)),
                attackers=tuple(FLAGS.attackers),
                train_ids=train.ids,
                test_ids=test.ids,
            )
            figures[str(queries)] = {"attacker": result.best, **result.figure(result.best).ends()}
        epsilon = facts.get("epsilon_at_delta_1e-5")
        return {"accuracy": right, "faces": len(labels), "identity": figures, "epsilon": epsilon, "facts": facts}


def main(_: list[str]) -> None:
    """Tries every setting on every matching model, and writes what it finds as soon as it has it."""
    from privzoo import config
    from privzoo.audit.report import results
    from privzoo.errors import UnknownNameError
    from privzoo.training import release

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
        bench = benches.get(model.network) or Bench(model.network, cuts, Path(FLAGS.cache_dir))
        benches = {model.network: bench}  # one at a time in memory
        for trial in FLAGS["try"].value or ():
            how = f"--attackers {','.join(FLAGS.attackers)} --seeds {','.join(FLAGS.seeds)}"
            command = f"tools/sweep.py --model {model.name} --data_dir DIR {how} --try {trial}"
            row = bench.measure(changed(model, trial))
            results.add_trial(folder / f"{model.name}.json", trial, command, tuple(map(int, FLAGS.seeds)), row)
            people = ", ".join(f"{q} queries {f['value']:.1%} ({f['attacker']})" for q, f in row["identity"].items())
            logging.info("%s, %s: accuracy %.2f %%, identity %s", model.name, trial, 100 * row["accuracy"], people)
    every = {path: results.family_of(path.stem) for path in sorted(folder.glob("*.json"))}
    for family in sorted({results.family(config.network(model.network)) for model in models}):
        if file := results.file(family, FLAGS.results):
            results.write_sweeps(file, [path for path, own in every.items() if own == family])


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"sweep: {error}")

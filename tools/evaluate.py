"""Measures models' accuracy and writes it into their cards: `tools/evaluate.py --model PATTERN --data_dir DIR`."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

from absl import app, flags

from privzoo import checks

if TYPE_CHECKING:
    from privzoo.card import Card
    from privzoo.data import Dataset

FLAGS = flags.FLAGS
flags.DEFINE_list("model", ["*"], "names or shell patterns of the models")
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_enum("head", "full", ["full", "slim"], "which head to measure, of models that have it")
flags.DEFINE_list("quantizations", ["int8"], "exported heads to measure in addition to the float head")
flags.DEFINE_string(
    "heads_dir", None, "folder with exported heads to measure, NAME_QUANTIZATION.tflite; missing ones are exported now"
)
flags.DEFINE_integer("limit", None, "measure on about this many faces or clips only, for a trial run", lower_bound=8)
flags.DEFINE_integer("every", 1, "measure exported heads and budgets on every Nth face or clip only", lower_bound=1)
flags.DEFINE_string("cache_dir", "runs/cache", "folder for the first layers' activations, shared by all tools")
flags.DEFINE_integer(
    "draws",
    20,
    "seeded draws of a noisy model's noise, or of groups and keys; figures are means over them",
    lower_bound=1,
)
flags.DEFINE_bool("subgroups", True, "also measure gender by subgroup on UTKFace's validation faces")
flags.DEFINE_bool("detect", False, "also let the detector find the faces in LFW's frames, as predict() does")
flags.DEFINE_bool("write", True, "write the figures into the cards; without it, only print them")
flags.DEFINE_string(
    "results",
    None,
    "Markdown file whose table of all cards is rewritten; default RESULTS.md, or RESULTS_<network>.md for a network "
    "trained on your own data; empty for none",
)


def _task(name: str) -> str:
    from privzoo import config

    return config.network(config.model(name).network).task


def _say_of_own_data(card: Card, data: Dataset) -> None:
    """Says how many images are measured on, and whether they are still those that training left out."""
    counts = data.facts["parts"]
    print(f"{data.name}: {len(data)} of {sum(counts.values())} images, held out: {data.facts['held_out']}.")
    trained = ((card.record or {}).get("data") or {}).get("own", {})
    if trained.get("seen") != data.facts["seen"]:
        print(
            "The training images are not those that the network was trained on: images have been added, removed or "
            "renamed since, or this is another folder. The network may now be measured on images that it has seen.",
            file=sys.stderr,
        )


def main(_: list[str]) -> None:
    """Measures every matching model under its task's protocol, network by network."""
    from evaluating import accuracy, results

    import privzoo
    from privzoo import card, card_files, card_text, config, costs, measurement
    from privzoo.audit.report import families
    from privzoo.data import lfw, splits, utkface
    from privzoo.errors import ConfigError, UnknownNameError
    from privzoo.evaluation import subgroups

    names = sorted({name for pattern in FLAGS.model for name in privzoo.list_models(pattern)})
    names = [name for name in names if FLAGS.head in costs.heads(config.model(name))]
    if not names:
        raise UnknownNameError(
            f"No model with a {FLAGS.head} head matches {', '.join(FLAGS.model)}; privzoo list shows all names."
        )
    if FLAGS.detect:
        # FER2013 holds chips, not photographs, in which there is nothing to detect.
        names = [name for name in names if families.family_of(name) == "" and _task(name) == "gender"]
        if not names:
            raise ConfigError("--detect needs whole photographs, which only LFW has: give it a gender model.")
    if FLAGS.limit and FLAGS.write:
        raise ConfigError("Figures of --limit do not belong in the cards; add --nowrite.")

    def drawn(name: str) -> bool:
        return bool(config.model(name).noise) or config.model(name).embedding == config.DATAMIX

    def command(name: str) -> str:
        every = f" --every {FLAGS.every}" if FLAGS.every > 1 else ""
        head = "" if FLAGS.head == config.FULL else f" --head {FLAGS.head}"
        heads = f" --heads_dir {FLAGS.heads_dir}" if FLAGS.heads_dir else ""
        detect = " --detect" if FLAGS.detect else ""
        draws = f" --draws {FLAGS.draws}" if FLAGS.draws != FLAGS["draws"].default and drawn(name) else ""
        return f"tools/evaluate.py --model {name}{head} --data_dir DIR{every}{draws}{detect}{heads}"

    def network_of(name: str) -> str:
        return config.model(name).network

    seeds = tuple(range(1, FLAGS.draws + 1))
    for _network, of_network in itertools.groupby(sorted(names, key=network_of), network_of):
        models = [privzoo.load(name, head=FLAGS.head) for name in of_network]
        network = models[0].card.network
        data = lfw.load(FLAGS.data_dir, chip=False) if FLAGS.detect else splits.test_set(network, FLAGS.data_dir)
        if network.own_data:
            _say_of_own_data(models[0].card, data)
        if FLAGS.limit:
            data = splits.take(data, FLAGS.limit)
        for model, measurements in accuracy.evaluate(
            models,
            data,
            FLAGS.quantizations,
            command,
            checks.local_path(FLAGS.cache_dir),
            every=FLAGS.every,
            heads=checks.local_path(FLAGS.heads_dir) if FLAGS.heads_dir else None,
            seeds=seeds,
            detect=FLAGS.detect,
        ):
            if FLAGS.write:
                measurement.write(model.name, measurements, FLAGS.head)
            for m in measurements:
                interval = f"{m.low:.2%} to {m.high:.2%}, {m.count} {card_text.nouns(network)}"
                print(f"{model.name}: {m.metric}, {m.variant}, on {m.data}: {m.value:.2%} ({interval})", flush=True)
        if FLAGS.subgroups and not FLAGS.detect and not network.own_data and network.task == "gender":
            faces = utkface.load(FLAGS.data_dir, split="validation")
            faces = splits.take(faces, FLAGS.limit) if FLAGS.limit else faces
            for model, found in accuracy.subgroups_of(
                models, faces, command, checks.local_path(FLAGS.cache_dir), seeds=seeds
            ):
                if FLAGS.write:
                    card_files.write_subgroups(model.name, found, FLAGS.head)
                rows = [subgroups.Subgroup(**row) for row in found["subgroups"]]
                print(f"{model.name}: {subgroups.sentence(rows)}", flush=True)
    if not FLAGS.write:
        return
    cards = [card.read(name) for name in privzoo.list_models()]
    for family in sorted({families.family_of(name) for name in names}):
        if file := families.file(family, FLAGS.results):
            results.write(file, [one for one in cards if families.family(one.network) == family])


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"evaluate: {error}")

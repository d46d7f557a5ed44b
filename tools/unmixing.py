"""What comes back from DataMix's mixtures without their key: `tools/unmixing.py --data_dir DIR`.

Linear mixing is no encryption. This measures how much of a request of faces an attacker recovers, for groups of 2, 4, 8
and 16, for groups that are shuffled, for protections that might help, and for one face that is sent several times; and
who is recognised in what was recovered. With `--model NAME` it attacks a DataMix model's own requests, and writes what
comes back into its card.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags

if TYPE_CHECKING:
    from privzoo.audit.features import Features

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder with LFW, as a zip or in its official layout", required=True)
flags.DEFINE_string("model", None, "a DataMix model: attack its requests only, and write the figures into its card")
flags.DEFINE_string("network", "vgg16_gender", "whose first blocks run before images are mixed")
flags.DEFINE_list("blocks", ["0", "1"], "blocks of the network before mixing; 0: pixels are mixed")
flags.DEFINE_integer("requests", 80, "for each size of group", lower_bound=2)
flags.DEFINE_integer("tries", 24, "requests for each protection, and faces that are sent several times", lower_bound=2)
flags.DEFINE_integer("people", 1600, "whose faces are sent", lower_bound=1)
flags.DEFINE_string("reduced", "vgg16_gender_reduced_simple_conv5_3", "model whose feature is mixed; empty for none")
flags.DEFINE_bool("identity", True, "measure who is recognised, too")
# The attack's settings were chosen on draws of seed 1.
flags.DEFINE_integer("seed", 2, "of faces, coefficients and noise")
flags.DEFINE_string("cache_dir", "runs/cache", "folder for features and results, shared by all tools")
flags.DEFINE_enum("engine", "processes", ["local", "processes", "ray"], "where attacks run")
flags.DEFINE_bool(
    "kept_only", False, "attack nothing: write the rows whose results are all in --cache_dir, and name the others"
)
flags.DEFINE_bool("progress", True, "show a progress bar")
flags.DEFINE_string("out", "docs/mechanisms/unmixing.json", "file for what was found")
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose section is written anew; empty for none")

DECIDING = (
    "network",
    "blocks",
    "requests",
    "tries",
    "people",
    "reduced",
    "identity",
    "kept_only",
    "seed",
)  # flags that decide the figures


def _of_model() -> None:
    """Attacks the requests of one DataMix model."""
    import privzoo
    from privzoo import measurement
    from privzoo.audit import mixed_cards
    from privzoo.provenance import git_revision

    card, facts = privzoo.show(FLAGS.model), {"git": git_revision()}
    changed = [
        FLAGS[flag].serialize() for flag in ("requests", "people", "seed") if FLAGS[flag].value != FLAGS[flag].default
    ]
    facts["command"] = " ".join([f"tools/unmixing.py --model {FLAGS.model} --data_dir DIR", *changed])
    found = mixed_cards.measure(
        card.model,
        card.network,
        FLAGS.data_dir,
        Path(FLAGS.cache_dir),
        FLAGS.requests,
        FLAGS.people,
        FLAGS.seed,
        FLAGS.engine,
        facts,
    )
    measurement.write(FLAGS.model, found)
    for m in found:
        print(f"{FLAGS.model}: {m.metric}, {m.variant}: {m.value:.1%} ({m.low:.1%} to {m.high:.1%})", flush=True)


def main(_: list[str]) -> None:
    """Mixes and unmixes requests, prints what comes back, and writes it down."""
    if FLAGS.model is not None:
        _of_model()
        return
    from privzoo import config, zoo
    from privzoo.audit import covers, mixtures, reduced_mixtures, runner, unmixed
    from privzoo.audit.report import unmixing as report
    from privzoo.errors import ConfigError
    from privzoo.provenance import git_revision, write_json

    try:
        blocks = [int(number) for number in FLAGS.blocks]
    except ValueError:
        raise ConfigError(f"--blocks {','.join(FLAGS.blocks)} are no whole numbers; give 0,1.") from None
    rows, linked = mixtures.settings(blocks, FLAGS.requests, FLAGS.tries), covers.settings()
    if FLAGS.people < (largest := max(row.faces for row in rows)):
        raise ConfigError(f"--people {FLAGS.people} are fewer than a request has faces; give {largest} or more.")
    network, cache = config.network(FLAGS.network), Path(FLAGS.cache_dir)
    if FLAGS.identity and network.task != "gender":
        raise ConfigError(
            f"{network.name} tells {network.task}, of which LFW-100 has no labels; name a network for gender, or give "
            "--noidentity."
        )
    pool = mixtures.pool(FLAGS.data_dir, FLAGS.people, FLAGS.seed)

    def features(count: int) -> tuple[Features, Features]:
        sent, own = (mixtures.features(faces, count, network, cache) for faces in (pool.sent, pool.own))
        return sent, own

    sides = {count: features(count) for count in sorted({0, *blocks})}
    sent, own = sides[0]
    found: dict[str, list[dict[str, Any]]] = {"requests": [], "covers": [], "reduced": [], "people": []}

    def add(part: str, name: str, figure: dict[str, Any]) -> None:
        found[part].append(figure)
        print(f"{name}: {figure['recovered']:.1%} recovered", flush=True)

    missing: list[str] = []

    def results(name: str, cells: list[runner.Cell]) -> list[dict[str, Any]] | None:
        if FLAGS.kept_only and not all(cell.path(cache).exists() for cell in cells):
            missing.append(name)
            return None
        return runner.run(cells, cache, FLAGS.engine, FLAGS.progress)

    # A row at a time: what is measured can be read while the rest runs.
    for row, cells in zip(rows, mixtures.cells(rows, sides, FLAGS.seed), strict=True):
        name = row.name or f"groups of {row.size}, after {row.blocks} blocks"
        if (got := results(name, cells)) is not None:
            add("requests", name, mixtures.figure(row, got))
    for one, cells in zip(linked, covers.cells(linked, FLAGS.tries, sent, own, FLAGS.seed), strict=True):
        if (got := results(one.name, cells)) is not None:
            add("covers", one.name, covers.figure(one, got))
    if FLAGS.kept_only:
        missing += [
            *(["mixtures of a few numbers"] if FLAGS.reduced else []),
            *(["identity"] if FLAGS.identity else []),
        ]
    if FLAGS.reduced and not FLAGS.kept_only:
        few = pool.part(max(reduced_mixtures.SIZES) * FLAGS.tries)
        found["reduced"] = reduced_mixtures.measure(zoo.load(FLAGS.reduced), few, FLAGS.tries, cache, FLAGS.seed)
    if FLAGS.identity and not FLAGS.kept_only:
        found["people"] = unmixed.measure(FLAGS.data_dir, blocks, network, cache, FLAGS.seed)
    changed = [FLAGS[flag].serialize() for flag in DECIDING if FLAGS[flag].value != FLAGS[flag].default]
    facts = {
        "date": datetime.date.today().isoformat(),
        "git": git_revision(),
        "command": " ".join(["tools/unmixing.py", "--data_dir=DIR", *changed]),
        "seed": FLAGS.seed,
        "own": mixtures.OWN,
        "missing": missing,
    }
    write_json(Path(FLAGS.out), {**facts, **found})
    if FLAGS.results:
        report.write(Path(FLAGS.results), Path(FLAGS.out))


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"unmixing: {error}")

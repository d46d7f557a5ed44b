"""Measures heads and whole networks on this machine: `tools/benchmark.py`; see section VI.C of Osia et al. 2017.

A full run takes about an hour on an idle machine; figures from a busy machine are worthless. `--rounds 2 --inferences 3
--sizes 96 --nopublished` tries everything out in a few minutes.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

from privzoo import checks
from privzoo.export.manifests import QUANTIZATIONS

if TYPE_CHECKING:
    from benchmarking.goals import Row
    from benchmarking.report import Report

    from privzoo.card import Card

FLAGS = flags.FLAGS
flags.DEFINE_enum("architecture", "vgg16", ["vgg16", "vgg_s"], "architecture of the networks")
flags.DEFINE_list("sizes", ["96", "224"], "input sides in pixels, starting with the released models'")
flags.DEFINE_list("quantizations", list(QUANTIZATIONS), "quantizations of the heads")
flags.DEFINE_bool("published", True, "also measure the network as published: 4096-wide classifiers, 553 MB, at 224 px")
flags.DEFINE_bool("onnx", True, "also measure the last cut's head on ONNX Runtime")
flags.DEFINE_integer("rounds", 10, "how often everything is measured, in random order", lower_bound=1)
flags.DEFINE_integer("inferences", 20, "inferences timed in each process", lower_bound=1)
flags.DEFINE_bool(
    "measure", True, "without it, report the run stored in --out again, with the goals according to the current cards"
)
flags.DEFINE_string("out", "docs/benchmark", "folder for benchmark.json and the plots")
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose benchmark section is rewritten; empty for none")

IMPORTS = 5


def main(arguments: list[str]) -> None:
    """Builds the files in a temporary folder, measures them, and writes and prints the figures."""
    from benchmarking import goals, plots, report

    from privzoo.provenance import write_json

    out, answered = checks.local_path(FLAGS.out), goals.zoo_rows()
    if FLAGS.measure:
        found = _measured(answered, goals.slim_cards())
    else:
        found = report.renewed(report.read(out / report.BENCHMARK), answered)
    plots.write(found.results, out)
    write_json(out / report.BENCHMARK, found.to_dict())
    if FLAGS.results:
        report.publish(checks.local_path(FLAGS.results), found, out)
    print("\n".join(row.line for row in found.rows))


def _measured(answered: list[Row], slim: list[Card]) -> Report:
    """A new run, including the goals judged by the cards."""
    from benchmarking import files, goals, install, machine, onnx_files, report, runs, wire

    from privzoo import architectures
    from privzoo.errors import ConfigError
    from privzoo.provenance import git_revision

    sizes = [int(size) for size in FLAGS.sizes if size.isdigit()]
    if len(sizes) != len(FLAGS.sizes) or not sizes:
        raise ConfigError(f"--sizes={','.join(FLAGS.sizes)} is invalid; give whole numbers of pixels, such as 96,224.")
    for quantization in FLAGS.quantizations:
        if quantization not in QUANTIZATIONS:
            raise ConfigError(f"There is no quantization {quantization!r}; use some of {', '.join(QUANTIZATIONS)}.")
    if FLAGS.onnx:
        onnx_files.require()
    described, git = machine.describe(), git_revision()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="privzoo-benchmark-") as folder:
        candidates = list(
            files.build(
                Path(folder),
                FLAGS.architecture,
                sizes,
                FLAGS.quantizations,
                FLAGS.published,
                FLAGS.onnx,
                say,
                next((c for c in slim if c.network.architecture == FLAGS.architecture), None),
            )
        )
        results = runs.run(candidates, FLAGS.rounds, FLAGS.inferences, say)
    transfers = [t for size in sizes for t in wire.transfers(FLAGS.architecture, size)]
    rows = [
        *goals.cost_rows(results, architectures.cuts(FLAGS.architecture)[-1], sizes),
        *answered,
        *goals.install_rows(install.import_seconds(IMPORTS), install.plain_megabytes()),
    ]
    return report.Report(
        machine=described,
        date=datetime.date.today().isoformat(),
        git=git,
        command=" ".join(["tools/benchmark.py", *sys.argv[1:]]),
        rounds=FLAGS.rounds,
        inferences=FLAGS.inferences,
        results=results,
        transfers=transfers,
        rows=rows,
    )


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"benchmark: {error}")

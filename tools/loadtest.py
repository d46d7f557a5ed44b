"""Puts `privzoo serve` under load on this machine: `tools/loadtest.py --mode load`.

Modes: `load` (throughput and latency, compared with the bare tail in this process), `million` requests, `swap` (new
versions under load), `malformed` requests, `soak` (mixed load for a long time), `large` bodies (does memory stay within
its budget?) and `ray` (replicas). Each writes its JSON to --out, and rewrites the section of RESULTS.md on load from
all of these files. `--quick`, which takes seconds, writes neither unless --out or --results is given.

The server is started here, on the loopback interface; no other address can be given. The clients are locust's, in a
separate process. All runs are bounded in time, clients and requests.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags
from loadtesting.generator import MOST_CLIENTS

from privzoo import checks

if TYPE_CHECKING:
    from loadtesting.report import Result
    from loadtesting.target import Target

FLAGS = flags.FLAGS
MODES = ("load", "million", "swap", "malformed", "soak", "large", "ray")
# Defaults of flags in each mode, without and with --quick; a flag that is given overrides them in every mode.
CLIENTS = {
    "load": ["1", "8", "64"],
    "million": ["64"],
    "swap": ["8"],
    "soak": ["8"],
    "large": ["256"],
    "ray": ["8", "64"],
}
SECONDS = {"load": (10, 1), "soak": (3600, 5), "large": (60, 5), "ray": (10, 1)}
COUNT = {"million": (1_000_000, 2_000), "swap": (10, 2), "malformed": (100_000, 400)}
flags.DEFINE_enum("mode", "load", MODES, "what to measure")
flags.DEFINE_bool("quick", False, "a run of a few seconds, to check that everything works; its figures mean nothing")
flags.DEFINE_list(
    "models",
    ["vgg16_gender_reduced_simple_conv5_3", "vgg16_gender_simple_conv5_1"],
    "models whose tails get requests: a small feature and a large one; million, malformed and ray use the first, and "
    "large sends its large bodies to the last",
)
flags.DEFINE_string(
    "served", None, "folder with NAME/VERSION/ of their tails; by default they are exported for the run"
)
flags.DEFINE_list("clients", None, "numbers of clients, up to 256 each; only load and ray take several")
flags.DEFINE_list("protocols", ["rest", "grpc"], "rest and/or grpc, for load, million and swap")
flags.DEFINE_list("batching", ["off", "on"], "off and/or on, for load; the other modes use on")
flags.DEFINE_integer("seconds", None, "seconds per run, for load, soak, large and ray", lower_bound=1, upper_bound=7200)
flags.DEFINE_integer("count", None, "number of requests for million and malformed, of swaps for swap", lower_bound=1)
flags.DEFINE_float("pause", 5.0, "seconds between two swaps", lower_bound=0.1, upper_bound=60)
flags.DEFINE_list("replicas", ["1", "2"], "numbers of replicas, up to 16 each, for ray")
flags.DEFINE_integer("seed", 1, "seed of malformed requests")
flags.DEFINE_integer("bare_runs", 300, "runs of the bare tail, for load", lower_bound=1, upper_bound=100_000)
flags.DEFINE_string("out", "docs/load", "folder for the JSON files; empty for none")
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose section on load is rewritten; empty for none")


def counts(name: str, most: int, default: list[str]) -> list[int]:
    """The numbers in a list flag."""
    from privzoo.errors import ConfigError

    given = getattr(FLAGS, name) or default
    if not all(text.isdigit() and 1 <= int(text) <= most for text in given):
        raise ConfigError(f"--{name} {','.join(given)} is invalid; give numbers from 1 to {most}.")
    return [int(text) for text in given]


def check() -> list[int]:
    """Refuses invalid flags; returns the numbers of clients."""
    from privzoo.errors import ConfigError

    clients = counts("clients", MOST_CLIENTS, CLIENTS.get(FLAGS.mode, ["1"]))
    if len(clients) > 1 and FLAGS.mode not in ("load", "ray"):
        raise ConfigError(
            f"--clients {','.join(FLAGS.clients)} cannot be used with --mode {FLAGS.mode}; give one count."
        )
    for name, allowed in (("protocols", {"rest", "grpc"}), ("batching", {"off", "on"})):
        given = getattr(FLAGS, name)
        if not given or not set(given) <= allowed:
            raise ConfigError(f"--{name} {','.join(given)} is invalid; give some of {', '.join(sorted(allowed))}.")
    if not FLAGS.models:
        raise ConfigError("--models names no model; give one or more.")
    return clients


def measure(targets: list[Target], clients: list[int]) -> Result:
    """Runs the mode once, and returns its result."""
    from loadtesting import cluster, large, load, malformed, soak, swap

    mode, quick = FLAGS.mode, FLAGS.quick
    seconds = FLAGS.seconds or SECONDS.get(mode, (1, 1))[quick]
    count = FLAGS.count or COUNT.get(mode, (1, 1))[quick]
    if mode == "load":
        batching = [text == "on" for text in FLAGS.batching]
        return load.run(targets, FLAGS.protocols, batching, clients, seconds, FLAGS.bare_runs)
    if mode == "million":
        return load.million(targets[0], FLAGS.protocols, clients[0], count)
    if mode == "swap":
        return swap.run(targets, FLAGS.protocols, clients[0], count, 0.5 if quick else FLAGS.pause)
    if mode == "malformed":
        return malformed.run(targets, count, FLAGS.seed)
    if mode == "soak":
        return soak.run(targets, clients[0], seconds, FLAGS.seed)
    if mode == "large":
        return large.run(targets[0], targets[-1], clients[0], seconds)
    return cluster.run(targets[0], counts("replicas", 16, []), clients, seconds)


def main(_: list[str]) -> None:
    """Exports the tails, runs the mode, and writes and prints its figures."""
    from benchmarking import machine
    from loadtesting import report
    from loadtesting.target import Target

    import privzoo

    clients, described = check(), machine.describe(report.PACKAGES)
    with tempfile.TemporaryDirectory(prefix="privzoo-served-") as exported:
        served = checks.local_path(FLAGS.served or exported)
        for model in FLAGS.models if FLAGS.served is None else []:
            privzoo.load(model).export_tail(served)
        result = measure([Target.find(served, model) for model in FLAGS.models], clients)
    written = {
        name: getattr(FLAGS, name) if not FLAGS.quick or FLAGS[name].present else "" for name in ("out", "results")
    }
    if written["out"]:
        report.save(result, Path(written["out"]), " ".join(["tools/loadtest.py", *sys.argv[1:]]), described)
        if written["results"]:
            report.publish(Path(written["out"]), Path(written["results"]))
    print("\n".join([*(goal.line for goal in result.goals), *result.notes]))


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"loadtest: {error}")

"""Measures a code at several budgets: `tools/codes.py --model NAME --data_dir DIR [--write]`.

For a released coded model, its own code is measured. For a model with a reduced feature, new codes are fitted to try
them out: on `--faces` of the network's training faces, each augmented as in training, without that model's noise.
Figures are of the exported int8 head on the task's test set; the ceiling is that of the released network's labels. The
time that a code takes on the device in addition to its head is measured too; `--device` measures only that, and needs
no data.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags

from privzoo import checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras
    import numpy as np

    from privzoo.mechanisms.codebook import Codebook
    from privzoo.model import SplitModel
    from privzoo.training.codes import Fitted

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "name of a coded model, or of a released one with a reduced feature", required=True)
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts")
flags.DEFINE_string("cache_dir", "runs/cache", "folder for activations, shared by all tools")
flags.DEFINE_string("heads_dir", None, "folder with exported heads, NAME_int8.tflite; missing ones are exported now")
flags.DEFINE_integer("faces", 4000, "number of training faces, evenly spaced, to fit a new code on", lower_bound=64)
flags.DEFINE_list("symbols", ["best"], "numbers of symbols of new codes; best: the most accurate on training faces")
flags.DEFINE_float("epsilon", 3.0, "budget that a new code is fitted for")
flags.DEFINE_list("budgets", ["1", "2", "3", "4", "6", "8"], "epsilons to measure at")
flags.DEFINE_bool(
    "device", False, "only measure the time that the code takes on the device, and keep the other figures"
)
flags.DEFINE_bool("write", False, "for a coded model: write the figures into zoo_configs/codes and --results")
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose table of codes is rewritten; empty for none")


def _fitted_now(model: SplitModel, sizes: list[int | None]) -> Iterator[Fitted]:
    """Codes on a model's reduced feature, one for each number of symbols."""
    import numpy as np

    from privzoo.data import splits
    from privzoo.training import codes, fitting, reduction

    config, network = model.config, model.card.network
    train = splits.take(splits.of_network(network, FLAGS.data_dir)[0], FLAGS.faces)
    activations, classes = fitting.cut_features(
        network, model.network, [config.cut], train, checks.local_path(FLAGS.cache_dir), True
    )
    layer = model.head.get_layer("reduce")
    kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    linear = reduction.Linear(kernel.reshape(-1, len(bias)), bias)
    reduced = reduction.mapped(activations[config.cut], linear)
    for size in sizes:
        yield codes.fit(reduced, classes, FLAGS.epsilon, size)


def _command(model: SplitModel) -> str:
    fitted = f"--faces {FLAGS.faces} --epsilon {FLAGS.epsilon:g} --symbols {','.join(FLAGS.symbols)} "
    return (
        f"tools/codes.py --model {model.name} --data_dir DIR {'' if model.book else fitted}"
        f"--budgets {','.join(FLAGS.budgets)}" + (f" --heads_dir {FLAGS.heads_dir}" if FLAGS.heads_dir else "")
    )


def _on_device(book: Codebook, model: SplitModel) -> dict[str, Any]:
    """Times a code on this machine; prints it, and gives the entry `device` of the figures."""
    import numpy as np
    from benchmarking import codes, machine, report

    from privzoo.evaluation import bars
    from privzoo.export.calibration import calibrating
    from privzoo.mechanisms.randomized_response import RandomizedResponse
    from privzoo.provenance import git_revision

    described, git = report.on(machine.describe()), git_revision()
    feature = np.asarray(model.head(model.input.tensors(calibrating(model.input, 2)[:1])))
    response = model.code[1] if model.code else RandomizedResponse(book.k, FLAGS.epsilon)
    found = codes.beyond_head(book, response, feature)
    for way, one in found.items():
        print(
            f"k={book.k} on the device in addition to the head, {way} answers: {one.value:.4f} ms per face "
            f"({one.low:.4f} to {one.high:.4f}); under {codes.LIMIT_MS:g} ms: {bars.judge(one, codes.LIMIT_MS)}"
        )
    print(described)
    return {
        "ms": {way: {"value": one.value, "low": one.low, "high": one.high} for way, one in found.items()},
        "limit_ms": codes.LIMIT_MS,
        "rounds": codes.ROUNDS,
        "calls": codes.CALLS,
        "machine": described,
        "date": datetime.date.today().isoformat(),
        "git": git,
        "command": f"tools/codes.py --model {model.name} --device",
    }


def _write(found: dict[str, Any]) -> None:
    """Writes a model's figures and, unless --results is empty, the section on all models."""
    from privzoo import config
    from privzoo.audit.report import codes
    from privzoo.provenance import write_json

    folder = config.config_folder() / "codes"
    folder.mkdir(exist_ok=True)
    write_json(folder / f"{found['model']}.json", found)
    if FLAGS.results:
        codes.write(checks.local_path(FLAGS.results), sorted(folder.glob("*.json")))


def _time_only(model: SplitModel) -> None:
    from privzoo import config
    from privzoo.errors import ConfigError

    if model.book is None:
        raise ConfigError(f"{model.name} is not a coded model; --device times the code of one.")
    file = config.config_folder() / "codes" / f"{model.name}.json"
    if FLAGS.write and not file.exists():
        raise ConfigError(f"{model.name} has no figures at {file} yet; run tools/codes.py without --device first.")
    timed = _on_device(model.book, model)
    if FLAGS.write:
        _write({**json.loads(file.read_text(encoding="utf-8")), "device": timed})


def main(_: list[str]) -> None:
    """Measures each code at each budget, prints the figures, and writes those of a released one."""
    import numpy as np

    import privzoo
    from privzoo.data import arrays, splits
    from privzoo.embeddings import coded
    from privzoo.errors import ConfigError
    from privzoo.evaluation.coded import measure
    from privzoo.evaluation.deployed import head_features
    from privzoo.export import released
    from privzoo.mechanisms.bounds import QUERIES, bounds
    from privzoo.mechanisms.randomized_response import RandomizedResponse
    from privzoo.provenance import git_revision
    from privzoo.training.release import whole_answers

    try:
        budgets = [float(text) for text in FLAGS.budgets]
        sizes = [None if text == "best" else int(text) for text in FLAGS.symbols]
    except ValueError:
        raise ConfigError("--budgets takes numbers, and --symbols whole numbers or best.") from None
    if FLAGS.data_dir is None and not FLAGS.device:
        raise ConfigError("There are no faces to measure on; give their folder with --data_dir, or --device.")
    git, cache = git_revision(), checks.local_path(FLAGS.cache_dir)
    model = privzoo.load(FLAGS.model)
    if FLAGS.device:
        _time_only(model)
        return
    if not model.config.dimensions or model.config.step:
        raise ConfigError(f"{FLAGS.model} has no reduced feature that is not rounded; a code needs one.")
    if FLAGS.write and model.book is None:
        raise ConfigError(f"{FLAGS.model} is not a coded model; figures of codes that are fitted now are only printed.")
    test = splits.test_set(model.card.network, FLAGS.data_dir)
    chips, labels = arrays(test, model.card.network.input_size, model.card.network.task)
    with tempfile.TemporaryDirectory(prefix="privzoo-") as folder:
        path = FLAGS.heads_dir and released.find(model, "int8", checks.local_path(FLAGS.heads_dir))
        features, digest = head_features(path or model.export_head(Path(folder) / "head.tflite"), chips, cache)
    own = whole_answers(model.network, chips, model.card.network.input_size, cache).argmax(1)
    pairs: Iterator[tuple[Codebook, keras.Model]]
    if model.book is None:
        pairs = ((one.book, coded.tail_of(one.joint)) for one in _fitted_now(model, sizes))
    else:
        pairs = iter([(model.book, model.tail)])
    figures = []
    for book, tail in pairs:

        def answer(symbols: np.ndarray, epsilon: float, tail: keras.Model = tail) -> np.ndarray:
            return tail({coded.SYMBOL: symbols, coded.EPSILON: np.full(len(symbols), epsilon, np.float32)})

        for found in measure(answer, book.k, book.encode(features), labels, own, budgets):
            limits = [bounds(RandomizedResponse(book.k, found.epsilon), queries) for queries in QUERIES]
            top1 = {str(limit.queries): round(limit.top1(), 6) for limit in limits}
            rows = [{"queries": limit.queries, **dict(limit.rows())} for limit in limits]
            figures.append({**dataclasses.asdict(found), "share_of_ceiling": found.share, "top1": top1, "bounds": rows})
            print(
                f"k={book.k} epsilon {found.epsilon:g}: {found.accuracy:.2%} ({found.lowest:.2%} to "
                f"{found.highest:.2%}), {found.share:.2%} of the ceiling {found.ceiling:.2%}, calibration error "
                f"{found.calibration_error:.2%}; any attacker's top-1 of 100 people: {limits[0].top1():.2%}",
                flush=True,
            )
    accuracy = float(np.mean(own == labels))
    print(f"the network as released: {accuracy:.2%} of {len(labels):,} faces")
    if FLAGS.write:
        assert model.book is not None, "only figures of a coded model are written"
        facts = {"model": FLAGS.model, "data": test.name, "head": f"int8, {digest}", "network_accuracy": accuracy}
        facts |= {"date": datetime.date.today().isoformat(), "git": git, "command": _command(model)}
        _write({**facts, "figures": figures, "device": _on_device(model.book, model)})


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"codes: {error}")

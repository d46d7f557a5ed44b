"""Measures a code at several budgets: `tools/codes.py --model NAME --data_dir DIR [--write]`.

For a released coded model, its own code is measured; with `--compare`, codes of other numbers of symbols and Gaussian
noise on the same feature, or on one of the same network if the zoo has no such model. For a model with a reduced
feature, new codes are fitted to try them out: on `--faces` of the network's training faces, each augmented as in
training, without that model's noise. Figures are of the exported int8 head on the task's test set; the ceiling is that
of the released network's labels. The time that a code takes on the device in addition to its head is measured too;
`--device` measures only that, and needs no data. `--goals` judges the figures that were written, without measuring.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags

from privzoo import checks

if TYPE_CHECKING:
    from privzoo.mechanisms.codebook import Codebook
    from privzoo.model import SplitModel

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "name of a coded model, or of a released one with a reduced feature")
flags.DEFINE_enum("head", "full", ["full", "slim"], "which of a coded model's heads")
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts")
flags.DEFINE_string("cache_dir", "runs/cache", "folder for activations, shared by all tools")
flags.DEFINE_string("heads_dir", None, "folder with exported heads, NAME_int8.tflite; missing ones are exported now")
flags.DEFINE_integer("faces", 4000, "number of training faces, evenly spaced, to fit a new code on", lower_bound=64)
flags.DEFINE_list("symbols", ["best"], "numbers of symbols of new codes; best: the most accurate on training faces")
flags.DEFINE_float("epsilon", 3.0, "budget that a new code is fitted for")
flags.DEFINE_list("budgets", ["1", "2", "3", "4", "6", "8"], "epsilons to measure at")
flags.DEFINE_bool(
    "compare",
    False,
    "of a coded model, measure codes of --symbols that are fitted now, and Gaussian noise, on the same feature; keep "
    "the other figures",
)
flags.DEFINE_bool(
    "device", False, "only measure the time that the code takes on the device, and keep the other figures"
)
flags.DEFINE_bool("goals", False, "print all goals of codes with what was found, from the figures that were written")
flags.DEFINE_bool("write", False, "for a coded model: write the figures into zoo_configs/codes, docs_dir and --results")
flags.DEFINE_string("docs_dir", "docs", "folder for what --compare finds, and with what tools/draws.py found")
flags.DEFINE_string(
    "results",
    None,
    "Markdown file whose table of codes is rewritten; default RESULTS.md, or RESULTS_<network>.md for a network "
    "trained on your own data; empty for none",
)


def _budgets() -> list[float]:
    from privzoo.errors import ConfigError

    try:
        return [float(text) for text in FLAGS.budgets]
    except ValueError:
        raise ConfigError(f"--budgets {','.join(FLAGS.budgets)} are not numbers; give 1,2,3.") from None


def _sizes() -> list[int | None]:
    from privzoo.errors import ConfigError

    try:
        return [None if text == "best" else int(text) for text in FLAGS.symbols]
    except ValueError:
        raise ConfigError(f"--symbols {','.join(FLAGS.symbols)} are not whole numbers or best; give 2,4,8.") from None


def _command(model: SplitModel) -> str:
    fitted = f" --faces {FLAGS.faces} --epsilon {FLAGS.epsilon:g} --symbols {','.join(FLAGS.symbols)}"
    return (
        f"tools/codes.py --model {model.name}{_head()} --data_dir DIR{' --compare' if FLAGS.compare else ''}"
        f"{'' if model.book and not FLAGS.compare else fitted} --budgets {','.join(FLAGS.budgets)}"
        + (f" --heads_dir {FLAGS.heads_dir}" if FLAGS.heads_dir else "")
    )


def _head() -> str:
    return "" if FLAGS.head == "full" else f" --head {FLAGS.head}"


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
        "command": f"tools/codes.py --model {model.name}{_head()} --device",
    }


def _kept(name: str) -> Path:
    """File of the figures of a model's head."""
    from privzoo import card_files

    return card_files.path("codes", name, FLAGS.head)


def _publish(family: str = "") -> None:
    """Writes the section on all figures that were written of a family of models."""
    from privzoo.audit.report import codes, families

    if page := families.file(family, FLAGS.results):
        codes.publish(page, checks.local_path(FLAGS.docs_dir), family)


def _write(path: Path, found: dict[str, Any]) -> None:
    from privzoo.audit.report import families
    from privzoo.provenance import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    _publish(families.family_of(found["model"]))


def _time_only(model: SplitModel) -> None:
    from privzoo.errors import ConfigError

    if model.book is None:
        raise ConfigError(f"{model.name} is not a coded model; --device times the code of one.")
    file = _kept(model.name)
    if FLAGS.write and not file.exists():
        raise ConfigError(f"{model.name} has no figures at {file} yet; run tools/codes.py without --device first.")
    timed = _on_device(model.book, model)
    if FLAGS.write:
        _write(file, {**json.loads(file.read_text(encoding="utf-8")), "device": timed})


def _compare(model: SplitModel, facts: dict[str, Any]) -> None:
    """Codes of other numbers of symbols, and noise, on the feature of a coded model."""
    from coding import measured

    from privzoo.audit.report import codes
    from privzoo.embeddings import coded
    from privzoo.evaluation.coded import measure_noise

    cache, budgets = checks.local_path(FLAGS.cache_dir), _budgets()
    heads = FLAGS.heads_dir and checks.local_path(FLAGS.heads_dir)
    noisy, same = measured.noisy(model)
    on = measured.faces(model, FLAGS.data_dir, cache, heads)
    rows = []
    for one in measured.fitted_now(model, _sizes(), FLAGS.epsilon, FLAGS.data_dir, cache, FLAGS.faces):
        for row in measured.rows_of(one.book, coded.tail_of(one.joint), on, budgets):
            rows.append({"mechanism": codes.CODE, "delta": 0, **{k: v for k, v in row.items() if k != "bounds"}})
    assert noisy.gaussian is not None, "it was chosen for its noise"
    if not same:  # a reduction that was fitted for noise, as is fair to it
        on = measured.faces(noisy, FLAGS.data_dir, cache, heads)
    for found in measure_noise(noisy.classify, on.features, on.labels, noisy.gaussian.clip, budgets, people=on.people):
        rows.append({"mechanism": codes.NOISE, **dataclasses.asdict(found)})
        print(f"{noisy.name} at epsilon {found.epsilon:g}: {found.accuracy:.2%} ({found.low:.2%} to {found.high:.2%})")
    if FLAGS.write:
        facts |= {"data": on.name, "noise_of": noisy.name, "same_feature": same}
        _write(codes.compared_folder(checks.local_path(FLAGS.docs_dir)) / f"{model.name}.json", {**facts, "rows": rows})


def _measure(model: SplitModel, facts: dict[str, Any]) -> None:
    """A coded model's own code, or codes that are fitted now on another's feature."""
    from coding import measured

    from privzoo import card_text
    from privzoo.embeddings import coded

    cache, budgets, sizes = checks.local_path(FLAGS.cache_dir), _budgets(), _sizes()
    on = measured.faces(model, FLAGS.data_dir, cache, FLAGS.heads_dir and checks.local_path(FLAGS.heads_dir))
    if model.book is None:
        for one in measured.fitted_now(model, sizes, FLAGS.epsilon, FLAGS.data_dir, cache, FLAGS.faces):
            list(measured.rows_of(one.book, coded.tail_of(one.joint), on, budgets))
        figures = []
    else:
        figures = list(measured.rows_of(model.book, model.tail, on, budgets))
    count = f"{len(on.labels):,} {card_text.nouns(model.card.network)}"
    print(f"the network as released: {on.network_accuracy:.2%} of {count}")
    if FLAGS.write and model.book:
        file = _kept(model.name)
        earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        # A time does not depend on faces, and is worth more of an idle machine.
        device = earlier.get("device") or _on_device(model.book, model)
        facts |= {"data": on.name, "head": f"int8, {on.head}", "network_accuracy": on.network_accuracy}
        _write(file, {**facts, "figures": figures, "device": device})


def main(_: list[str]) -> None:
    """Measures each code at each budget, prints the figures, and writes those of a released one."""
    import privzoo
    from privzoo.errors import ConfigError
    from privzoo.provenance import git_revision

    if sum((FLAGS.compare, FLAGS.device, FLAGS.goals)) > 1:
        raise ConfigError("--compare, --device and --goals exclude each other; give one.")
    if FLAGS.goals:
        from privzoo.audit.report import code_goals

        for row in code_goals.all_rows(checks.local_path(FLAGS.docs_dir)):
            print(row.line)
        if FLAGS.write:
            _publish()
        return
    if FLAGS.model is None:
        raise ConfigError("There is no model to measure; give one with --model, or --goals.")
    if FLAGS.data_dir is None and not FLAGS.device:
        raise ConfigError("There are no faces to measure on; give their folder with --data_dir, or --device.")
    facts = {"date": datetime.date.today().isoformat(), "git": git_revision()}  # before the checkout moves on
    described = privzoo.show(FLAGS.model, FLAGS.head).model  # refuses before anything is loaded, which takes seconds
    if FLAGS.device and not described.code:
        raise ConfigError(f"{FLAGS.model} is not a coded model; --device times the code of one.")
    if not described.dimensions or described.step:
        raise ConfigError(f"{FLAGS.model} has no reduced feature that is not rounded; a code needs one.")
    if FLAGS.write and not described.code:
        raise ConfigError(f"{FLAGS.model} is not a coded model; figures of codes that are fitted now are only printed.")
    if FLAGS.compare and FLAGS.head != "full":
        raise ConfigError("--compare is about the feature of the full head; leave --head out.")
    if FLAGS.compare and not (described.code and described.code.base):
        raise ConfigError(f"{FLAGS.model} has no code of a reduced feature; --compare needs one.")
    model = privzoo.load(FLAGS.model, head=FLAGS.head)
    if FLAGS.device:
        _time_only(model)
        return
    facts = {"model": model.name, "kind": model.card.head, **facts, "command": _command(model)}
    (_compare if FLAGS.compare else _measure)(model, facts)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"codes: {error}")

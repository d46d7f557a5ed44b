"""Attacks models as an adversary in the cloud would: `tools/audit.py --model PATTERN --data_dir DIR` writes cards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags

from privzoo import checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from privzoo.audit.cells import Plan
    from privzoo.audit.model_audit import Data
    from privzoo.model import SplitModel

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "*", "name or shell pattern of the models")
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_enum("head", "full", ["full", "slim"], "which head to attack, of models that have it")
flags.DEFINE_string(
    "heads_dir", None, "folder with exported heads to measure, NAME_QUANTIZATION.tflite; missing ones are exported now"
)
flags.DEFINE_bool("quick", False, "two attackers, one seed, fewer faces, float heads only, for a trial run")
flags.DEFINE_enum(
    "engine",
    "processes",
    ["local", "processes", "ray"],
    "where attacks run: in this process, on all cores, or on a Ray cluster",
)
flags.DEFINE_list("quantizations", ["float", "int8"], "heads to attack")
flags.DEFINE_list("seeds", ["1", "2", "3"], "seeds of attackers and noise; figures are means over them")
flags.DEFINE_list("attackers", ["lda", "logistic", "knn", "mlp"], "names in privzoo.audit.attacks.attackers")
flags.DEFINE_enum(
    "deep",
    "last",
    ["last", "spatial", "all", "none"],
    "float heads for the deep attacker: activations of the last cut, of every cut, all, none",
)
flags.DEFINE_integer("deep_epochs", 12, "maximum epochs of the deep attackers", lower_bound=1)
flags.DEFINE_list(
    "epsilons", [], "further budgets to attack models with noise or a code at; codes without it: 1, 2 and 4"
)
flags.DEFINE_multi_enum(
    "attacks",
    ["people", "pairs"],
    ["people", "pairs"],
    "people: who and what a single feature reveals; pairs: do two features show the same person, here or at two "
    "services; the figures of attacks that are not run are kept",
)
flags.DEFINE_string("cache_dir", "runs/cache", "folder for features and results, shared by all tools")
flags.DEFINE_bool("write", True, "write the figures into the cards; without it, only into the cache and the terminal")
flags.DEFINE_bool(
    "yardstick",
    True,
    "attack raw pixels, or raw spectrograms, first; without it, reuse the last audit's figures of them",
)
flags.DEFINE_bool(
    "looks", True, "also reconstruct faces from features, and measure the trade-off of accuracy and privacy under noise"
)
flags.DEFINE_list("decoders", ["linear", "up-convolution"], "decoders for --looks; adversarial is pix2pix's, and slow")
flags.DEFINE_bool("report", False, "write the page about all audited models")
flags.DEFINE_string("report_dir", None, "folder of the page; by default the folder audit/report of --cache_dir")
flags.DEFINE_string(
    "results",
    None,
    "Markdown file whose tables --report rewrites; default RESULTS.md, or RESULTS_<network>.md for a network "
    "trained on your own data; empty for none",
)
flags.DEFINE_bool("people", False, "show reconstructed people of research data sets; not for pages to be published")


def _plan() -> Plan:
    from privzoo.audit.cells import Plan
    from privzoo.errors import ConfigError

    try:
        seeds, epsilons = tuple(map(int, FLAGS.seeds)), tuple(map(float, FLAGS.epsilons))
    except ValueError:
        raise ConfigError(f"--seeds {FLAGS.seeds} --epsilons {FLAGS.epsilons} are not numbers; give 1,2,3.") from None
    cache = checks.local_path(FLAGS.cache_dir)
    if FLAGS.quick:
        return Plan(cache, seeds[:1], (1, 100), ("lda", "mlp"), deep="none", epsilons=epsilons)
    return Plan(
        cache,
        seeds,
        attackers=tuple(FLAGS.attackers),
        epsilons=epsilons,
        deep=FLAGS.deep,
        deep_epochs=FLAGS.deep_epochs,
    )


SETTINGS = (
    "head",
    "quick",
    "quantizations",
    "heads_dir",
    "seeds",
    "attackers",
    "deep",
    "deep_epochs",
    "epsilons",
    "attacks",
    "looks",
    "decoders",
)


def _command(name: str) -> str:
    """The command that repeats the figures, with every flag that affects them and is not at its default."""
    changed = [FLAGS[flag].serialize() for flag in SETTINGS if FLAGS[flag].value != FLAGS[flag].default]
    return " ".join(["tools/audit.py", f"--model={name}", "--data_dir=DIR", *changed])


def _earlier(path: Path) -> dict | None:
    """The result of an earlier run, so that attacks that are not run keep their figures."""
    import json

    from privzoo.errors import DataError

    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(f"The result {path} is damaged; delete it and run the audit again.") from None


def _yardstick(data: Data, plan: Plan, folder: Path, progress: bool, keep: Callable[..., Any]) -> bool:
    """Attacks raw inputs; returns whether even the best attacker is too weak there for its other figures to count."""
    from privzoo.audit import model_audit, pair_cells, runner
    from privzoo.errors import DataError

    people, pairs = [], []
    if FLAGS.yardstick and "people" in FLAGS.attacks:
        people = model_audit.measure(model_audit.yardstick(data, plan), plan, FLAGS.engine, progress)
    if FLAGS.yardstick and "pairs" in FLAGS.attacks:
        asked = pair_cells.yardstick(data, plan, FLAGS.quick)
        pairs = pair_cells.measure(asked, plan, FLAGS.engine, progress)
        pairs += [] if FLAGS.quick else pair_cells.recognised(data, plan)
    weak, path = False, folder / f"{data.yardstick}.json"
    if "people" in FLAGS.attacks:
        earlier = [f for f in (_earlier(path) or {}).get("figures", ()) if runner.group(f["attack"]) == "people"]
        if not (people or earlier):
            raise DataError(f"{path} has no attack on raw inputs yet, which the others are judged by; add --yardstick.")
        weak = model_audit.too_weak(people or earlier)
    if people or pairs:
        keep(None, [*people, *pairs], weak, folder, data.yardstick)
    return weak


def main(_: list[str]) -> None:
    """Attacks raw inputs first, then every matching model, network by network."""
    import privzoo
    from privzoo import config, costs, measurement
    from privzoo.audit import limits, model_audit, own, pair_cells
    from privzoo.audit.report import families, tables
    from privzoo.errors import ConfigError, DefectError, UnknownNameError
    from privzoo.provenance import git_revision, write_json

    revision = git_revision()  # before cards are written, which change the checkout
    names = [n for n in privzoo.list_models(FLAGS.model) if FLAGS.head in costs.heads(config.model(n))]
    if not names:
        raise UnknownNameError(
            f"No model with a {FLAGS.head} head matches {FLAGS.model!r}; privzoo list shows all names."
        )
    if FLAGS.quick and FLAGS.write:
        raise ConfigError("Figures of --quick do not belong in the cards; add --nowrite.")
    plan, progress, defects = _plan(), sys.stderr.isatty(), []
    ran = [*FLAGS.attacks, *(["looks"] if FLAGS.looks else [])]
    quantizations = ["float"] if FLAGS.quick else FLAGS.quantizations

    def keep(
        model: SplitModel | None,
        figures: list[dict],
        weak: bool,
        folder: Path,
        yardstick: str,
        heads: dict[str, str] | None = None,
    ) -> dict:
        command = _command(model.name if model else FLAGS.model)
        marked = model_audit.marked(figures, weak)
        document = model_audit.document(model, marked, command, FLAGS.quick, revision, yardstick)
        whole = model_audit.merged(document, _earlier(folder / f"{document['model']}.json"), ran, heads)
        write_json(folder / f"{document['model']}.json", whole)
        print(tables.terminal(document), flush=True)
        return document

    def kind_of(name: str) -> tuple[str, str]:
        return families.family_of(name), config.network(config.model(name).network).input

    # Figures of a user's own data are kept apart from the zoo's, with their own yardstick: people and chance differ.
    # Speech has a yardstick of its own too.
    for family, given in sorted({kind_of(name) for name in names}):
        # The page is on full heads.
        head = "" if FLAGS.head == config.FULL else f"_{FLAGS.head}"
        kind = ("_quick" if FLAGS.quick else "") + head + (f"_{family}" if family else "")
        folder = plan.cache / f"audit{kind}"
        members = [name for name in names if kind_of(name) == (family, given)]
        data = own.data_of(config.network(config.model(members[0]).network), FLAGS.data_dir, FLAGS.quick)
        weak = _yardstick(data, plan, folder, progress, keep)
        for name in sorted(members, key=lambda name: (config.model(name).network, name)):
            model = privzoo.load(name, head=FLAGS.head)
            views = model_audit.views(
                model, quantizations, plan.cache, checks.local_path(FLAGS.heads_dir) if FLAGS.heads_dir else None
            )
            figures = []
            if "people" in FLAGS.attacks:
                attacks = [attack for view in views for attack in model_audit.attacks(model, view, data, plan)]
                figures += model_audit.measure(attacks, plan, FLAGS.engine, progress)
            if "pairs" in FLAGS.attacks:
                asked = pair_cells.of_model(model, data, plan, FLAGS.quick)
                figures += pair_cells.measure(asked, plan, FLAGS.engine, progress)
            if FLAGS.looks and model.book is None:  # k symbols give k pictures
                from privzoo.audit import reconstruction_cells

                looks = reconstruction_cells.QUICK if FLAGS.quick else reconstruction_cells.Looks(tuple(FLAGS.decoders))
                figures += reconstruction_cells.measure(model, data, plan, folder, looks, FLAGS.engine, progress)
            heads = {view.name: view.sha256 for view in views}
            document = keep(model, figures, weak, folder, data.yardstick, heads)
            found = limits.defects(figures)
            defects += [f"{name}: {words}" for words in found]
            if FLAGS.write and not found:
                measurement.write(name, model_audit.measurements(document), FLAGS.head)
        if family and "pairs" in FLAGS.attacks:
            print(f"{family}: no pairs were verified; ten folds of people with two photographs are LFW's.")
        if given == config.SPEECH:
            print(f"{', '.join(members)}: there are no pairs and no pictures of speech; only people were looked for.")
        elif FLAGS.looks and family:
            print(f"{family}: no faces were reconstructed; decoders learn from the research data sets' faces.")
        if FLAGS.report:
            from privzoo.audit.report import audit_page

            out = FLAGS.report_dir and checks.local_path(FLAGS.report_dir) / family
            print(audit_page.write(folder, out, results=families.file(family, FLAGS.results), people=FLAGS.people))
    if defects:
        raise DefectError(
            f"{len(defects)} figures exceed the bound of their mechanism, so the program does not do what was proved: "
            f"{'; '.join(defects)}. Their models' cards were left unchanged."
        )


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"audit: {error}")

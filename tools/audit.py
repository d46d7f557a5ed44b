"""Attacks models as a clever cloud would, and writes what it gets: `tools/audit.py --model PATTERN --data_dir DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

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
flags.DEFINE_list("epsilons", [], "additional budgets at which to attack models with noise")
flags.DEFINE_string("cache_dir", "runs/cache", "folder for features and results, shared by all tools")
flags.DEFINE_bool("write", True, "write the figures into the cards; without it, only into the cache and the terminal")
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


def _plan():
    from privzoo.audit.cells import Plan
    from privzoo.errors import ConfigError

    try:
        seeds, epsilons = tuple(map(int, FLAGS.seeds)), tuple(map(float, FLAGS.epsilons))
    except ValueError:
        raise ConfigError(f"--seeds {FLAGS.seeds} --epsilons {FLAGS.epsilons} are not numbers; give 1,2,3.") from None
    cache = Path(FLAGS.cache_dir)
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
    "looks",
    "decoders",
)


def _command(name: str) -> str:
    """What repeats the figures: with the flags that decide them where they are not the usual ones."""
    changed = [FLAGS[flag].serialize() for flag in SETTINGS if FLAGS[flag].value != FLAGS[flag].default]
    return " ".join(["tools/audit.py", f"--model={name}", "--data_dir=DIR", *changed])


def main(_: list[str]) -> None:
    """Attacks raw pixels first, then every matching model, network by network."""
    import privzoo
    from privzoo import card, config
    from privzoo.audit import model_audit, own
    from privzoo.audit.report import results, tables
    from privzoo.errors import ConfigError, UnknownNameError
    from privzoo.provenance import git_revision, write_json

    revision = git_revision()  # before cards are written, which change the checkout
    names = [n for n in privzoo.list_models(FLAGS.model) if FLAGS.head in card.heads(config.model(n))]
    if len(names) == 1:
        config.check_uncoded(config.model(names[0]))
    names = [name for name in names if not config.model(name).code]  # codes have bounds in place of attacks
    if not names:
        raise UnknownNameError(
            f"No model with a {FLAGS.head} head matches {FLAGS.model!r}; privzoo list shows all names."
        )
    if FLAGS.quick and FLAGS.write:
        raise ConfigError("Figures of --quick do not belong into the cards; add --nowrite.")
    plan, progress = _plan(), sys.stderr.isatty()
    quantizations = ["float"] if FLAGS.quick else FLAGS.quantizations

    def keep(model, figures: list[dict], weak: bool, folder: Path) -> dict:
        name = model.name if model else FLAGS.model
        document = model_audit.document(model, model_audit.marked(figures, weak), _command(name), FLAGS.quick, revision)
        write_json(folder / f"{document['model']}.json", document)
        print(tables.terminal(document), flush=True)
        return document

    # Figures of one's own data stand apart from the zoo's, with a yardstick of their own: other people, another chance.
    for family in sorted({results.family_of(name) for name in names}):
        # The page is on full heads.
        head = "" if FLAGS.head == config.FULL else f"_{FLAGS.head}"
        kind = ("_quick" if FLAGS.quick else "") + head + (f"_{family}" if family else "")
        folder = plan.cache / f"audit{kind}"
        members = [name for name in names if results.family_of(name) == family]
        data = own.data_of(config.network(config.model(members[0]).network), FLAGS.data_dir, FLAGS.quick)
        pixels = model_audit.measure(model_audit.yardstick(data, plan), plan, FLAGS.engine, progress)
        weak = model_audit.too_weak(pixels)
        keep(None, pixels, weak, folder)
        for name in sorted(members, key=lambda name: (config.model(name).network, name)):
            model = privzoo.load(name, head=FLAGS.head)
            views = model_audit.views(
                model, quantizations, plan.cache, Path(FLAGS.heads_dir) if FLAGS.heads_dir else None
            )
            attacks = [attack for view in views for attack in model_audit.attacks(model, view, data, plan)]
            figures = model_audit.measure(attacks, plan, FLAGS.engine, progress)
            if FLAGS.looks:
                from privzoo.audit import reconstruction_cells

                looks = reconstruction_cells.QUICK if FLAGS.quick else reconstruction_cells.Looks(tuple(FLAGS.decoders))
                figures += reconstruction_cells.measure(model, data, plan, folder, looks, FLAGS.engine, progress)
            document = keep(model, figures, weak, folder)
            if FLAGS.write:
                card.write_measurements(name, model_audit.measurements(document), FLAGS.head)
        if FLAGS.looks and family:
            print(f"{family}: no faces were reconstructed; decoders learn from the research data sets' faces.")
        if FLAGS.report:
            from privzoo.audit.report import audit_page

            out = FLAGS.report_dir and Path(FLAGS.report_dir) / family
            print(audit_page.write(folder, out, results=results.file(family, FLAGS.results), people=FLAGS.people))


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"audit: {error}")

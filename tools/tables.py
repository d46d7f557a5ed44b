"""Rewrites RESULTS.md, its csv files and README's table from stored figures, without measuring: `tools/tables.py`.

Needed when their text changes, and after cards of several checkouts were merged.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose sections are rewritten")
flags.DEFINE_string("readme", "README.md", "Markdown file whose table of recommended models is rewritten")
flags.DEFINE_string("docs_dir", "docs", "folder with what audit, benchmark, faces and load tests keep")


def main(_: list[str]) -> None:
    """Writes every section from what its command keeps, in the order in which a reader wants them."""
    from benchmarking import goals
    from benchmarking import report as benchmark
    from comparing import report as comparison
    from detecting import report as faces
    from drawing import report as draws
    from evaluating import choices, results
    from loadtesting import report as load
    from obfuscating import report as obfuscated
    from optimising import report as optimised
    from slimming import report as slim
    from sweeping import report as settings

    import privzoo
    from privzoo import card, config
    from privzoo.audit.report import audit_page, codes, families

    page, docs, kept = checks.local_path(FLAGS.results), checks.local_path(FLAGS.docs_dir), config.config_folder()

    def own(folder: str) -> list[Path]:
        return [path for path in sorted((kept / folder).glob("*.json")) if not families.family_of(path.stem)]

    cards = [card.read(name) for name in privzoo.list_models() if not families.family_of(name)]
    comparison.publish(page, docs)
    results.write_accuracy(page, cards)
    audit_page.write_tables(docs / "audit", page)
    settings.write(page, own("sweeps"))
    codes.publish(page, docs)
    if (docs / "mechanisms" / "draws.json").exists():
        draws.write(page, docs / "mechanisms" / "draws.json")
    if (docs / "mechanisms" / "obfuscation.json").exists():
        obfuscated.write(page, docs / "mechanisms" / "obfuscation.json")
    results.write_subgroups(page, cards)
    slim.write_table(page)
    optimised.write_table(kept / "optimised", page)
    for path in sorted((docs / "benchmark").rglob(benchmark.BENCHMARK)):
        # Other processors' runs stand beside their figures.
        target = page if path.parent == docs / "benchmark" else path.parent / "README.md"
        report = benchmark.renewed(benchmark.read(path), goals.zoo_rows() if target == page else [])
        benchmark.publish(target, report, path.parent)
    if (docs / "faces" / "faces.json").exists():
        faces.publish(docs / "faces" / "faces.json", page)
    load.publish(docs / "load", page)
    if FLAGS.readme:
        choices.write(checks.local_path(FLAGS.readme), {name: card.read(name) for name, _ in choices.CHOICES})


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"tables: {error}")

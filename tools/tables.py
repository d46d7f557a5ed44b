"""Rewrites tables from stored figures, without measuring: `tools/tables.py`; needed when their text changes."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose tables are rewritten")
flags.DEFINE_string("readme", "README.md", "Markdown file whose table of recommended models is rewritten")
flags.DEFINE_string("audit_dir", "docs/audit", "folder with the audit's results")


def main(_: list[str]) -> None:
    """Writes all tables but those of loads and benchmarks: tools/benchmark.py --nomeasure writes its own."""
    from optimising import report as optimised

    import privzoo
    from privzoo import card, config
    from privzoo.audit.report import audit_page as audit
    from privzoo.audit.report import results
    from privzoo.slim import report as slim

    path = Path(FLAGS.results)
    results.write(path, [card.read(name) for name in privzoo.list_models() if not results.family_of(name)])
    results.write_codes(path, sorted((config.config_folder() / "codes").glob("*.json")))
    zoos = (config.config_folder() / "sweeps").glob("*.json")
    results.write_sweeps(path, sorted(one for one in zoos if not results.family_of(one.stem)))
    if FLAGS.readme:
        results.write_choices(Path(FLAGS.readme), {name: card.read(name) for name, _ in results.CHOICES})
    audit.write_tables(FLAGS.audit_dir, path)
    slim.write_table(path)
    optimised.write_table(config.config_folder() / "optimised", path)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"tables: {error}")

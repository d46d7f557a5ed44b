"""Writes tables again from kept figures, measuring nothing: `tools/tables.py`; needed when what tables say changes."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose tables are written anew")


def main(_: list[str]) -> None:
    """Writes the tables of accuracy, slim heads and optimised heads; tools/benchmark.py --nomeasure has its own."""
    import privzoo
    from privzoo import card, config
    from privzoo.audit import results
    from privzoo.optimise import report, slim_report

    path = Path(FLAGS.results)
    results.write(path, [card.read(name) for name in privzoo.list_models()])
    slim_report.write_table(path)
    report.write_table(config.config_folder() / "optimised", path)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"tables: {error}")

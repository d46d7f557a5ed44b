"""Compares all models of the zoo: `tools/compare.py`.

For every model and head: multiply-adds on the device, bytes sent, seconds by DataMix's equation 1, accuracy, identity
by the strongest attack and the proved bound; and which model leaks least at each share of the work on the device.
Everything comes from cards and kept audits: nothing is measured, and no data are needed.
"""

from __future__ import annotations

import sys

from absl import app, flags

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose comparison is rewritten, with its csv file and plot")
flags.DEFINE_string("docs_dir", "docs", "folder with what tools/audit.py and tools/unmixing.py keep")


def main(_: list[str]) -> None:
    """Writes the section, the csv file and the plot, and prints the section."""
    from comparing import report

    print(report.publish(checks.local_path(FLAGS.results), checks.local_path(FLAGS.docs_dir)))


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"compare: {error}")

"""How well networks read obfuscated images, also those made for others: `tools/obfuscation.py --data_dir DIR`.

Leroux et al. 2018, Tables 1 and 3. What the images reveal is measured by tools/audit.py.
"""

from __future__ import annotations

import datetime
import sys

from absl import app, flags

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "*", "name or shell pattern of obfuscated models")
flags.DEFINE_string("data_dir", None, "folder with the test sets, as zips or in their official layouts", required=True)
flags.DEFINE_integer("limit", None, "measure on this many faces only, for a trial run", lower_bound=2)
flags.DEFINE_string("out", "docs/mechanisms/obfuscation.json", "file for what was found")
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose section is written anew; empty for none")


def main(_: list[str]) -> None:
    """Measures every model with every network of its task, prints the rows and writes them down."""
    from obfuscating import reading, report

    from privzoo import config
    from privzoo.data import Dataset, splits
    from privzoo.provenance import git_revision, write_json

    def data(network: config.NetworkConfig) -> Dataset:
        found = splits.test_set(network, FLAGS.data_dir)
        return splits.take(found, FLAGS.limit) if FLAGS.limit else found

    rows = []
    for row in reading.measure(reading.obfuscated(FLAGS.model), data):
        print(f"{row['model']}, read by {row['reader']}: {row['plain']:.1%} plain, {row['obfuscated']:.1%} obfuscated")
        rows.append(row)
    changed = [FLAGS[flag].serialize() for flag in ("model", "limit") if FLAGS[flag].value != FLAGS[flag].default]
    facts = {
        "date": datetime.date.today().isoformat(),
        "git": git_revision(),
        "command": " ".join(["tools/obfuscation.py", "--data_dir=DIR", *changed]),
    }
    write_json(out := checks.local_path(FLAGS.out), {**facts, "rows": rows})
    if FLAGS.results:
        report.write(checks.local_path(FLAGS.results), out)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"obfuscation: {error}")

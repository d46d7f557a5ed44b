"""Empirical lower bounds on the mechanisms' epsilon: `tools/draws.py` fails if one exceeds the stated epsilon."""

from __future__ import annotations

import datetime
import sys

from absl import app, flags

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_integer("draws", 1_000_000, "draws of each mechanism, for both features together", lower_bound=1000)
flags.DEFINE_list("epsilons", ["1", "3"], "budgets of the codes of 2, 4 and 7 symbols and of Gaussian noise")
flags.DEFINE_string("out", "docs/mechanisms/draws.json", "file for what was found")
flags.DEFINE_string("results", "RESULTS.md", "Markdown file whose section is rewritten; empty for none")


def main(_: list[str]) -> None:
    """Runs each mechanism's program, prints the bound that its draws give, and stores it."""
    import dataclasses

    from drawing import report

    import privzoo
    from privzoo import config
    from privzoo.audit.attacks import empirical
    from privzoo.errors import PrivzooError
    from privzoo.mechanisms.gaussian import DELTA, Gaussian, budget_sigma
    from privzoo.mechanisms.randomized_response import RandomizedResponse
    from privzoo.provenance import git_revision, write_json

    asked: dict[str, Gaussian | RandomizedResponse] = {}
    for epsilon in map(float, FLAGS.epsilons):
        for k in (2, 4, 7):
            asked[f"code of {k} symbols, epsilon {epsilon:g}"] = RandomizedResponse(k, epsilon)
        asked[f"Gaussian noise, epsilon {epsilon:g}"] = Gaussian(budget_sigma(epsilon, DELTA, 1.0), 1.0)
    for name in privzoo.list_models("*_advanced_*"):
        noise = config.given(privzoo.show(name).model.noise, f"{name} has no noise")
        asked[f"Gaussian noise of {name}"] = Gaussian(noise.sigma, noise.clip)
    rows = []
    for name, mechanism in asked.items():
        found = empirical.measure(mechanism, FLAGS.draws)
        rows.append({"mechanism": name, **dataclasses.asdict(found)})
        print(f"{name}: stated {found.stated:.4g}, shown at least {found.bound:.3g}; {found.event}", flush=True)
    command = "tools/draws.py" + (f" --draws {FLAGS.draws}" if FLAGS.draws != FLAGS["draws"].default else "")
    facts = {"date": datetime.date.today().isoformat(), "git": git_revision(), "command": command}
    write_json(checks.local_path(FLAGS.out), {**facts, "rows": rows})
    if FLAGS.results:
        report.write(checks.local_path(FLAGS.results), checks.local_path(FLAGS.out))
    if refuted := [row["mechanism"] for row in rows if report.verdict(row) == report.REFUTED]:
        raise PrivzooError(f"The draws of {refuted[0]} show a larger epsilon than is stated; do not release it.")


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"draws: {error}")

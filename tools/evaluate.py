"""Measures models' accuracy and writes it into their cards: `tools/evaluate.py --model PATTERN --data_dir DIR`."""

from __future__ import annotations

import sys

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "*", "name or shell pattern of the models")
flags.DEFINE_string("data_dir", None, "folder with the data sets, as zips or in their official layouts", required=True)
flags.DEFINE_list("quantizations", ["float32", "int8"], "exported heads to measure")
flags.DEFINE_bool("write", True, "write the figures into the cards; without it, only print them")


def main(_: list[str]) -> None:
    """Measures every matching model under its task's protocol."""
    import privzoo
    from privzoo import card
    from privzoo.audit import accuracy
    from privzoo.data import fer2013, lfw
    from privzoo.errors import UnknownNameError

    names = privzoo.list_models(FLAGS.model)
    if not names:
        raise UnknownNameError(f"No model matches {FLAGS.model!r}; privzoo list shows all names.")
    tests = {
        "gender": lambda: lfw.load(FLAGS.data_dir),
        "emotion": lambda: fer2013.load(FLAGS.data_dir, split="test"),
    }
    for name in names:
        model = privzoo.load(name)
        data = tests[model.card.network.task]()
        command = f"tools/evaluate.py --model {name} --data_dir DIR"
        found = accuracy.evaluate(model, data, tuple(FLAGS.quantizations), command)
        if FLAGS.write:
            card.write_measurements(name, found)
        for m in found:
            print(
                f"{name}: {m.metric} of {m.variant} on {m.data}: {m.value:.2%} ({m.low:.2%} to {m.high:.2%}, {m.count})"
            )


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"evaluate: {error}")

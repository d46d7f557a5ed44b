"""Exports models' heads in every quantization, and their tails: `tools/export.py --model PATTERN --out DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from privzoo.export.manifest import QUANTIZATIONS

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "*", "name or shell pattern of the models")
flags.DEFINE_string("out", None, "folder to write to: NAME_QUANTIZATION.tflite, and NAME/VERSION/", required=True)
flags.DEFINE_list("quantizations", list(QUANTIZATIONS), "of the heads; empty for tails only")
flags.DEFINE_bool("tail", True, "write the tails too")
flags.DEFINE_bool("overwrite", False, "replace a tail's version where it is there")
flags.DEFINE_string("calibration_dir", None, "folder of face chips for int8; default: chips that come with packages")
flags.DEFINE_integer("calibration_count", 64, "how many of them, spread over the folder", lower_bound=2)


def _chips(folder: Path, count: int, size: int):
    from privzoo import faces
    from privzoo.errors import DataError

    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    files = files[:: max(1, len(files) // count)][:count]
    chips, _, skipped = faces.chips(files, size, face="given", bulk=True)
    for reason, number in skipped.items():
        print(f"calibration: {number} skipped, {reason}", file=sys.stderr)
    if len(chips) < 2:
        raise DataError(
            f"{folder} holds {len(chips)} images that can be read; give a folder with 2 face chips or more."
        )
    return chips


def main(_: list[str]) -> None:
    """Exports every matching model, and prints each file with its size and its agreement with the Keras head."""
    import privzoo
    from privzoo.edge import read_manifest
    from privzoo.errors import ConfigError, UnknownNameError

    names = privzoo.list_models(FLAGS.model)
    if not names:
        raise UnknownNameError(f"No model matches {FLAGS.model!r}; privzoo list shows all names.")
    for quantization in FLAGS.quantizations:  # before any model is loaded
        if quantization not in QUANTIZATIONS:
            raise ConfigError(f"There is no quantization {quantization!r}; use some of {', '.join(QUANTIZATIONS)}.")
    out = Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        model = privzoo.load(name)
        chips = None
        if FLAGS.calibration_dir:
            chips = _chips(Path(FLAGS.calibration_dir), FLAGS.calibration_count, model.input_size)
        for quantization in FLAGS.quantizations:
            path = model.export_head(out / f"{name}_{quantization}.tflite", quantization, chips)
            agreement = read_manifest(path)["head"]["agreement"]
            print(f"{path}  {path.stat().st_size:,} bytes, agreement with the Keras head {agreement}", flush=True)
        if FLAGS.tail:
            print(model.export_tail(out, overwrite=FLAGS.overwrite), flush=True)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"export: {error}")

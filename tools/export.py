"""Exports models' heads in every quantization, and their tails: `tools/export.py --model PATTERN --out DIR`.

`tools/export.py --released` writes the heads of `released.PUBLISHED`, int8, to `tflite/`, with
golden input and output and the list of all, `manifest.json`. The project's own are calibrated with training faces
(`--data_dir DIR`) and measured as they are (`--heads_dir tflite` of tools/evaluate.py, audit.py and slim.py);
`--released --figures` then updates the list's descriptions and figures from the cards. `--released --keep` adds missing
heads, and leaves the others unchanged. Kernels that a head of `tflite/` holds are then stored only there, no longer in
the weights file of their network too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

from privzoo import checks
from privzoo.export.manifests import QUANTIZATIONS

if TYPE_CHECKING:
    import numpy as np

    from privzoo.config import NetworkConfig
    from privzoo.model import SplitModel

FLAGS = flags.FLAGS
RELEASED_FOLDER = "tflite"
flags.DEFINE_bool("released", False, "write the released heads and their list; changes the defaults of other flags")
flags.DEFINE_bool(
    "figures", False, "with --released: only update the list's descriptions and figures from the models' cards"
)
flags.DEFINE_bool("keep", False, "with --released: keep existing heads that have the same weights")
flags.DEFINE_string(
    "model", None, "name or shell pattern of the models; default: all, or with --released, the published heads"
)
flags.DEFINE_string(
    "out", None, "folder to write to: NAME_QUANTIZATION.tflite, and NAME/VERSION/; with --released: tflite"
)
flags.DEFINE_list("heads", None, "full, slim, if a model has them; default: full, or with --released and --model, both")
flags.DEFINE_list(
    "quantizations", None, "quantizations of the heads; empty for tails only; default: all, or with --released, int8"
)
flags.DEFINE_bool("tail", True, "also write the tails")
flags.DEFINE_bool("overwrite", False, "replace a tail's version if it exists")
flags.DEFINE_string(
    "calibration_dir", None, "folder of face chips, or clips, to calibrate int8; default: those that come with packages"
)
flags.DEFINE_string(
    "data_dir", None, "folder with the data sets, to calibrate int8 with the network's training faces or clips"
)
flags.DEFINE_integer("calibration_count", 64, "number of calibration faces or clips, evenly spaced", lower_bound=2)


def _calibration(model: SplitModel) -> np.ndarray | None:
    """Face chips to calibrate int8, or None for those that come with packages."""
    from privzoo.errors import ConfigError

    if FLAGS.calibration_dir and FLAGS.data_dir:
        raise ConfigError("--calibration_dir and --data_dir both say what to calibrate with; choose one.")
    if FLAGS.calibration_dir:
        return _chips(checks.local_path(FLAGS.calibration_dir), FLAGS.calibration_count, model)
    if FLAGS.data_dir:
        return _training_chips(model.card.network)
    return None


def _training_chips(network: NetworkConfig) -> np.ndarray:
    from privzoo.data import arrays, splits

    data, _ = splits.of_network(network, FLAGS.data_dir)
    return arrays(splits.take(data, FLAGS.calibration_count), network.input_size)[0]


def _chips(folder: Path, count: int, model: SplitModel) -> np.ndarray:
    from privzoo.config import SPEECH
    from privzoo.errors import DataError

    speech = model.card.network.input == SPEECH
    endings = (".wav", ".flac", ".opus", ".ogg") if speech else (".jpg", ".jpeg", ".png", ".webp")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in endings)
    files = files[:: max(1, len(files) // count)][:count]
    chips, _, skipped = model.input.cut(files, face="detect" if speech else "given", bulk=True)
    for one in skipped:
        print(f"calibration: skipped {one}", file=sys.stderr)
    if len(chips) < 2:
        raise DataError(
            f"{folder} holds {len(chips)} files that can be used; give a folder with 2 "
            f"{'recordings' if speech else 'face chips'} or more."
        )
    return chips


def _names() -> list[str]:
    import privzoo
    from privzoo.errors import UnknownNameError

    names = privzoo.list_models(FLAGS.model or "*")
    if not names:
        raise UnknownNameError(f"No model matches {FLAGS.model!r}; privzoo list shows all names.")
    return names


def _heads() -> list[tuple[str, str]]:
    """Model and head, of every one that was asked for; a missing name or head is reported."""
    import privzoo
    from privzoo import config, costs

    wanted = FLAGS.heads or (list(config.HEADS) if FLAGS.released else [config.FULL])
    found = []
    for name in _names():
        has = costs.heads(privzoo.show(name).model)
        if FLAGS.heads and FLAGS.model:  # asked for by name
            for head in wanted:
                costs.check_head(privzoo.show(name).model, head)
        found += [(name, head) for head in wanted if head in has]
    return found


def _models(heads: Iterable[tuple[str, str]]) -> Iterator[SplitModel]:
    import privzoo

    return (privzoo.load(name, head=head) for name, head in heads)


def _quantizations() -> list[str]:
    from privzoo.errors import ConfigError

    chosen = FLAGS.quantizations
    if chosen is None:
        return ["int8"] if FLAGS.released else list(QUANTIZATIONS)
    for quantization in chosen:
        if quantization not in QUANTIZATIONS:
            raise ConfigError(f"There is no quantization {quantization!r}; use some of {', '.join(QUANTIZATIONS)}.")
    return chosen


def _release(heads: Iterable[tuple[str, str]], quantizations: list[str], out: Path) -> None:
    from privzoo import config
    from privzoo.export import released, sharing

    models = list(_models(heads))
    chips = {model.card.artefact: _calibration(model) for model in models}
    ours = out.resolve() == config.heads_folder().resolve()
    if ours:  # no weights file may refer to a head that is replaced
        sharing.unshare()
    listed = released.release(models, out, quantizations, chips, FLAGS.keep)["heads"]
    if ours:
        for name, saved in sharing.share(sorted(out.glob("*_int8.tflite"))).items():
            print(f"{name}: {saved:,} bytes of its weights are stored in a head only")
    for entry in listed:
        print(f"{out / entry['file']}  {entry['bytes']:,} bytes, golden label {entry['golden']['label']}")
        if not entry["measured"]:
            print(
                f"{entry['file']} was not the head measured on its card; measure it with tools/evaluate.py.",
                file=sys.stderr,
            )


def main(_: list[str]) -> None:
    """Exports every matching model, and prints each file with its size and its agreement with the Keras head."""
    from privzoo.edge import read_manifest
    from privzoo.errors import ConfigError
    from privzoo.export import released

    if FLAGS.released and FLAGS.model is None and FLAGS.heads:
        raise ConfigError("--heads chooses heads of the models that you name; give --model with it.")
    heads = released.PUBLISHED if FLAGS.released and FLAGS.model is None else _heads()
    quantizations = _quantizations()
    if FLAGS.out is None and not FLAGS.released:
        raise ConfigError("There is no folder to write to; give one with --out.")
    out = checks.local_path(FLAGS.out or RELEASED_FOLDER)
    for flag in ("figures", "keep"):
        if FLAGS[flag].value and not FLAGS.released:
            raise ConfigError(f"--{flag} applies to released heads only; give --released with it.")
    if FLAGS.figures:
        released.renew(out)
        return
    if FLAGS.released:
        _release(heads, quantizations, out)
        return
    out.mkdir(parents=True, exist_ok=True)
    for model in _models(heads):
        chips = _calibration(model)
        for quantization in quantizations:
            path = model.export_head(out / f"{model.card.artefact}_{quantization}.tflite", quantization, chips)
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

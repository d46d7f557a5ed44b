"""Trains many networks in one go on one accelerator: `tools/campaign.py --plan FILE --data_dir PACKS --out_dir DIR`.

`--pack NAME --data_dir DIR --out_dir PACKS` writes a data set's pack; `--results` lists what a campaign has done.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags, logging

from privzoo import checks

FLAGS = flags.FLAGS
flags.DEFINE_string("plan", None, "YAML file of the networks and their seconds")
flags.DEFINE_list("pack", [], "data sets to write packs of, instead of training")
flags.DEFINE_bool("results", False, "print what the networks of --out_dir came to, instead of training")
flags.DEFINE_string("data_dir", None, "folder of the packs; for --pack, of the data sets")
flags.DEFINE_string("out_dir", None, "folder of the results; for --pack, of the packs", required=True)
flags.DEFINE_string("init_dir", None, "folder of the start weights, if a config names any")
flags.DEFINE_float("seconds", 600.0, "time for all networks", lower_bound=1.0)
flags.DEFINE_string("only", "", "train only networks whose names begin like this; several are separated by commas")
flags.DEFINE_bool("whole", False, "without an accelerator too, train all stages and teachers")
flags.DEFINE_string("git", "", "revision for the records, where the code has no history; default: the checkout's")
flags.DEFINE_integer("side", None, "of a pack's images in pixels; default: 48 for FER2013, else 112", lower_bound=16)
flags.DEFINE_integer("quality", None, "of a pack's images, 1 to 100", lower_bound=1, upper_bound=100)


def main(_: list[str]) -> None:
    """Writes packs, lists results, or trains."""
    from privzoo.errors import ConfigError

    out = checks.local_path(FLAGS.out_dir)
    if FLAGS.results:
        return _results(out)
    if FLAGS.data_dir is None or bool(FLAGS.pack) == bool(FLAGS.plan):
        raise ConfigError("Give --data_dir, and one of --plan, --pack and --results.")
    data = checks.local_path(FLAGS.data_dir)
    if FLAGS.pack:
        from privzoo.data import splits
        from privzoo.training import packs

        for name in FLAGS.pack:
            side = FLAGS.side or (48 if name == "fer2013" else 112)
            path = packs.path_of(out, name)
            size = packs.write(splits.load_splits(name, data), path, side, FLAGS.quality or packs.QUALITY)
            logging.info("Wrote %s, %d bytes.", path, size)
        return None
    from privzoo.provenance import git_revision
    from privzoo.training import campaign

    init = checks.local_path(FLAGS.init_dir) if FLAGS.init_dir else None
    plan, git = checks.local_path(FLAGS.plan), FLAGS.git or git_revision()
    campaign.run(plan, data, out, FLAGS.seconds, init, git, FLAGS.only, FLAGS.whole)
    return None


def _results(out: Path) -> None:
    from privzoo.training import campaign_plan

    for name, found in campaign_plan.results(out).items():
        for row in found["epochs"]:
            print(
                f"{name}: seed {row['seed']:.0f} at {row['size']:.0f} px, {row['steps']:.0f} of "
                f"{row['planned_steps']:.0f} steps{', taught' if row['taught'] else ''}: validation "
                f"{100 * row['val_accuracy']:.2f} %, loss {row['loss']:.4f}, {row['seconds']:.0f} s"
                + (f", {row['images_per_second']:,.0f} images/s" if "images_per_second" in row else "")
            )


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"campaign: {error}")

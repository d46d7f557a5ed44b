"""Times DataMix on the device: `tools/mixing.py`; pre, mixing, unmixing and post of one request, on one thread.

Time does not depend on weights, so that no model is needed. No figure of a busy machine is worth keeping.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import sys
import tempfile
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy reads them
    os.environ.setdefault(_name, "1")

from absl import app, flags  # noqa: E402

from privzoo import checks  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("architecture", "vgg16", "architecture of the network")
flags.DEFINE_list("blocks", ["1", "2", "3"], "convolution blocks in pre")
flags.DEFINE_list("quantizations", ["float32", "int8"], "of pre")
flags.DEFINE_integer("size", 96, "side of the network's input in pixels", lower_bound=48)
flags.DEFINE_integer("group", 8, "faces in a request", lower_bound=2)
flags.DEFINE_integer("rounds", 11, "how often everything is measured", lower_bound=1)
flags.DEFINE_string("out", None, "JSON file to write the figures to")


def main(_: list[str]) -> None:
    """Measures every row, prints it, and writes all where --out says so."""
    import numpy as np
    from benchmarking import machine, mixing, report

    from privzoo import architectures
    from privzoo.architectures import graph
    from privzoo.errors import ConfigError
    from privzoo.export import tflite
    from privzoo.export.calibration import default_calibration
    from privzoo.mechanisms.mixing import Mixing
    from privzoo.provenance import git_revision, write_json

    if not all(blocks.isdigit() for blocks in FLAGS.blocks):
        raise ConfigError(f"--blocks={','.join(FLAGS.blocks)} is invalid; give whole numbers, as 1,2.")
    described, git, rows = report.on(machine.describe()), git_revision(), []
    network = graph.build(FLAGS.architecture, 2, input_size=FLAGS.size)
    kernel, bias = network.get_layer(architectures.LAST).get_weights()
    how = Mixing(FLAGS.group, "orthogonal", kernel, bias)
    chips = default_calibration(FLAGS.size, 4).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="privzoo-mixing-") as folder:
        for blocks in map(int, FLAGS.blocks):
            pre, _, _ = graph.split3(network, blocks)
            cut = architectures.block_cut(FLAGS.architecture, blocks)
            for quantization in FLAGS.quantizations:
                path = Path(folder) / f"{blocks}_{quantization}.tflite"
                path.write_bytes(tflite.convert(pre, FLAGS.size, quantization, chips))
                row = mixing.measure(blocks, cut, FLAGS.size, quantization, path, how, FLAGS.rounds)
                print(mixing.lines([row])[0], flush=True)
                rows.append(row)
    print(described)
    if FLAGS.out:
        facts = {
            "limit": mixing.LIMIT,
            "rounds": FLAGS.rounds,
            "calls": mixing.CALLS,
            "machine": described,
            "date": datetime.date.today().isoformat(),
            "git": git,
            "command": " ".join(["tools/mixing.py", *sys.argv[1:]]),
        }
        write_json(checks.local_path(FLAGS.out), {"rows": [dataclasses.asdict(row) for row in rows], **facts})


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"mixing: {error}")

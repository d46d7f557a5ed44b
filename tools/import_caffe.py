"""Imports a network of Caffe: `tools/import_caffe.py --model FILE --prototxt FILE --architecture vgg16 ...`.

The folder --out_dir gets the network's config, its weights and a record of the import, laid out as `zoo_configs` is.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from absl import app, flags

from privzoo import checks

if TYPE_CHECKING:
    from privzoo.training.caffe import CaffeNetwork, Pixels

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "the weights, a .caffemodel", required=True)
flags.DEFINE_string("prototxt", None, "the layers, best the deploy.prototxt", required=True)
flags.DEFINE_enum("architecture", None, ["vgg16", "vgg_s"], "the layout that it has", required=True)
flags.DEFINE_string("name", None, "of the network in the zoo, such as dex_gender", required=True)
flags.DEFINE_string("task", None, "the label that it tells, such as gender", required=True)
flags.DEFINE_list(
    "classes",
    None,
    "in the order of its outputs, such as female,male; those of a --dataset are reordered",
    required=True,
)
flags.DEFINE_string("licence", None, "under which its weights may be used", required=True)
flags.DEFINE_string("description", None, "one sentence; default: says that it was imported from Caffe")
flags.DEFINE_string("dataset", "folder", "data set that embeddings are fitted on: folder, utkface, fer2013, ...")
flags.DEFINE_list("mean_pixel", None, "what Caffe took off its input: blue,green,red; default: the prototxt's")
flags.DEFINE_string("mean_image", None, "what Caffe took off its input, as a .binaryproto")
flags.DEFINE_bool("reduce_mean", False, "take the mean over all places of a mean image whose pixels differ")
flags.DEFINE_float("scale", None, "by which Caffe multiplied its input after that; default: the prototxt's, or 1")
flags.DEFINE_enum("coding", "int8", ["int8", "int5"], "of the kernels in the weights file")
flags.DEFINE_string("out_dir", None, "folder for the network; zoo_configs enters it in the zoo", required=True)


def _pixels(network: CaffeNetwork) -> Pixels:
    """What Caffe did to its input, from the flags or else from the prototxt."""
    from privzoo.errors import ConfigError
    from privzoo.training import caffe

    if FLAGS.mean_pixel and FLAGS.mean_image:
        raise ConfigError("--mean_pixel and --mean_image exclude each other; give one.")
    if FLAGS.mean_image:
        mean = caffe.reduced(caffe.read_mean(checks.local_path(FLAGS.mean_image)), FLAGS.reduce_mean)
    else:
        given = FLAGS.mean_pixel or network.mean
        try:
            blue, green, red = (float(value) for value in given)
        except ValueError:
            named = f" (the prototxt names {network.mean_file})" if network.mean_file else ""
            raise ConfigError(
                f"What Caffe took off its input is not known; give --mean_pixel blue,green,red or --mean_image{named}."
            ) from None
        mean = (blue, green, red)
    given_scale = FLAGS.scale if FLAGS.scale is not None else network.scale
    return caffe.Pixels(mean, 1.0 if given_scale is None else given_scale)


def main(_: list[str]) -> None:
    """Imports the network, and prints what is not exact."""
    from privzoo.config import NetworkConfig, TrainingConfig
    from privzoo.data import splits
    from privzoo.data.samples import CLASSES
    from privzoo.errors import ConfigError
    from privzoo.training import caffe
    from privzoo.weights import sha256

    if not re.fullmatch(r"[A-Za-z0-9_]+", FLAGS.name):
        raise ConfigError(f"--name {FLAGS.name!r} is no name of a network; use letters, digits and underscores.")
    if FLAGS.dataset not in splits.TRAINABLE:
        raise ConfigError(f"--dataset {FLAGS.dataset} is unknown; give one of {', '.join(splits.TRAINABLE)}.")
    if FLAGS.dataset != "folder" and FLAGS.task not in CLASSES:
        raise ConfigError(f"--dataset {FLAGS.dataset} goes with --task {', '.join(CLASSES)}; give one, or folder.")
    model, prototxt = checks.local_path(FLAGS.model), checks.local_path(FLAGS.prototxt)
    network = caffe.read(model, prototxt)
    pixels = _pixels(network)

    from privzoo.training import caffe_import  # loads Keras, which takes seconds, once the files are known to be right

    imported, classes = caffe_import.fit(network, FLAGS.architecture, pixels), tuple(FLAGS.classes)
    if FLAGS.dataset != "folder":
        imported, classes = caffe_import.ordered(imported, classes, CLASSES[FLAGS.task]), CLASSES[FLAGS.task]
    config = NetworkConfig(
        name=FLAGS.name,
        architecture=FLAGS.architecture,
        task=FLAGS.task,
        classes=classes,
        input_size=imported.input_size,
        training=TrainingConfig(dataset=FLAGS.dataset, stages=()),
        description=FLAGS.description or f"{FLAGS.architecture} for {FLAGS.task}, imported from Caffe.",
        licence=FLAGS.licence,
        coding=FLAGS.coding,
    )
    facts = {"files": {file.name: sha256(file) for file in (model, prototxt)}}
    out = checks.local_path(FLAGS.out_dir)
    found = caffe_import.write(config, imported, pixels, out, facts)
    print(f"{out / 'networks' / FLAGS.name}.yaml: mean {pixels.mean} (BGR) and scale {pixels.scale:g} are in conv1.")
    for what, change in (("zero padding of the first layer", found["border"]), ("coding", found["coding"])):
        if change is None:
            print(f"The {what} changes nothing.")
            continue
        print(
            f"The {what} changes a probability by up to {change['largest_probability_change']:.4f}, and "
            f"{change['labels_changed']} of {change['images']} labels (measured on smooth noise)."
        )


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"import_caffe: {error}")

"""After a fork TensorFlow's threads are missing: a model refuses there, in time, and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.all_models

CHILD = """
import os, sys, signal
import numpy as np
import tiny_zoo, privzoo
from privzoo.errors import ForkError

def tries(model):
    chips = np.zeros((1, model.input_size, model.input_size, 3), np.uint8)
    yield lambda: model.predict(chips, face="given")
    yield lambda: model.explain(chips, face="given")
    yield lambda: model.features(chips)
    yield lambda: model.classify(np.zeros((1, *model.head.output_shape[1:]), np.float32))
    yield lambda: model.head(chips)
    yield lambda: model.tail
    yield lambda: model.network
    yield lambda: model.export_head("head.tflite")
    yield lambda: model.export_tail("served")
    yield lambda: privzoo.load("vgg_s_tiny_simple_conv5")

from pathlib import Path
from privzoo import config
with tiny_zoo.installed(Path(sys.argv[1])) as folder:
    config.write(tiny_zoo.model("simple"), folder / "models" / "vgg_s_tiny_simple_conv5.yaml")
    tiny_zoo.forget()
    model = privzoo.load("vgg_s_tiny_simple_conv5")
    model.features(np.zeros((1, model.input_size, model.input_size, 3), np.uint8))
    child = os.fork()
    if not child:
        signal.alarm(60)  # a hang ends here
        refused = 0
        for attempt in tries(model):
            try:
                attempt()
            except ForkError as error:
                assert "spawn" in str(error)
                refused += 1
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    print("refused", os.waitstatus_to_exitcode(status))
    model.features(np.zeros((1, model.input_size, model.input_size, 3), np.uint8))  # the parent goes on
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told_to_use_spawn(tmp_path):
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.path.join(here, "helpers"), os.path.dirname(here)])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "refused 10"

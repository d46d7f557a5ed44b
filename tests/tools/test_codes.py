"""What a code costs on the device beyond its head: both ways are timed, and nonsense is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarking.codes import LIMIT_MS, beyond_head

from privzoo.audit.report import code_goals
from privzoo.mechanisms.codebook import levels
from privzoo.mechanisms.randomized_response import RandomizedResponse

ROOT = Path(__file__).resolve().parents[2]


def test_both_ways_are_timed():
    book = levels(np.ones(4), 0.0, np.zeros(1))
    found = beyond_head(book, RandomizedResponse(2, 3.0), np.ones((1, 4), np.float32), rounds=3, calls=50)
    assert set(found) == {"fresh", "permanent"}
    for one in found.values():
        assert 0 < one.low <= one.value <= one.high < 20 * LIMIT_MS  # the machine may be busy


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no model to measure; give one with --model, or --goals"),
        (["--model", "vgg16_gender_coded_conv5_3"], "give their folder with --data_dir, or --device"),
        (
            ["--model", "vgg16_gender_advanced_conv5_3", "--device"],
            "is not a coded model; --device times the code of one",
        ),
    ],
)
def test_the_command_refuses_nonsense(arguments, sentence):
    command = [sys.executable, ROOT / "tools" / "codes.py", *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode != 0 and sentence in done.stderr


def test_the_command_prints_every_goal_without_data():
    command = [sys.executable, ROOT / "tools" / "codes.py", "--goals"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == [row.line for row in code_goals.all_rows(ROOT / "docs")]
    assert any("vgg16_gender_coded_conv5_3: gender accuracy, epsilon 3" in line for line in lines)

"""Helpers of the command line's tests."""

from __future__ import annotations

import subprocess
import sys

MODEL = "vgg16_gender_simple_conv5_3"


def privzoo_process(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs `privzoo` in a process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 300} | options
    return subprocess.run([sys.executable, "-m", "privzoo", *arguments], **options)

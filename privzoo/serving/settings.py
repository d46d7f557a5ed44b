"""Defaults of the server, in one place for its flags and its functions."""

from __future__ import annotations

import os

# TF Serving listens on every interface; without keys and TLS, asking for that has to be on purpose.
HOST = "127.0.0.1"
REST_API_PORT = 8501
MODEL_NAME = "default"
MAX_BODY_BYTES = 64 * 2**20  # 64 features of conv5 at 224 px are about 20 MB of JSON
DRAIN_SECONDS = 30  # that running requests get when the server is stopped


def default_threads() -> int:
    """Threads that run requests, as many as TF Serving's `rest_api_num_threads` has by default."""
    return 4 * (os.cpu_count() or 1)

"""Text protobufs of TF Serving's flags whose messages `tensorflow-serving-api` leaves out.

The messages are built here from TF Serving's published fields, so that protobuf's own parser reads the files.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from google.protobuf import text_format

from privzoo import checks, protobuf
from privzoo.errors import ConfigError

# As `protobuf.classes` reads them.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
    "BatchingParameters": {
        "max_batch_size": (1, "int64?"),
        "batch_timeout_micros": (2, "int64?"),
        "max_enqueued_batches": (3, "int64?"),
        "num_batch_threads": (4, "int64?"),
        "thread_pool_name": (5, "string?"),
        "allowed_batch_sizes": (6, "*int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "bool?"),
        "max_execution_batch_size": (9, "int64?"),
    },
}


@functools.cache
def _classes() -> dict[str, Any]:
    return protobuf.classes("privzoo.serving", _MESSAGES)


def read(name: str, path: str | os.PathLike[str], flag: str) -> Any:
    """Reads a message from its text.

    Args:
        name: of the message: "SSLConfig", "MonitoringConfig" or "BatchingParameters".
        path: of the file.
        flag: that named the file, for errors.

    Returns:
        The message.

    Raises:
        ConfigError: the file cannot be read, or is not such a message.
    """
    return parse(_classes()[name](), path, flag)


def parse(message: Any, path: str | os.PathLike[str], flag: str) -> Any:
    """Reads a file of text protobuf into a message.

    Args:
        message: an empty one.
        path: of the file.
        flag: that named the file, for errors.

    Returns:
        The message.

    Raises:
        ConfigError: the file cannot be read, or is not such a message.
    """
    try:
        return text_format.Parse(checks.local_path(path).read_text(encoding="utf-8"), message)
    except OSError as error:
        raise ConfigError(f"The file {path} of --{flag} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"The file {path} of --{flag} is not text; write a {message.DESCRIPTOR.name} in it."
        ) from None
    except text_format.ParseError as error:
        # The parser repeats lines, which may be of a private key: its place is enough.
        place = f"line {error.GetLine()}" if error.GetLine() else "an unknown line"
        raise ConfigError(
            f"The file {path} of --{flag} is not a {message.DESCRIPTOR.name} in text protobuf ({place}); correct it."
        ) from None

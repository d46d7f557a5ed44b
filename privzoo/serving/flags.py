"""The server's command line, with TF Serving's flag names."""

from __future__ import annotations

import argparse
import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privzoo.errors import MissingExtraError
from privzoo.serving import settings
from privzoo.serving.settings import Options

_DEFAULTS = Options()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the server's flags to a parser.

    Args:
        parser: of `privzoo serve` or `python -m privzoo.serving`.
    """
    models = parser.add_argument_group("models")
    which = models.add_mutually_exclusive_group(required=True)
    which.add_argument("--model_base_path", metavar="DIR", help="folder with <version>/saved_model.pb in it")
    which.add_argument(
        "--model_config_file", metavar="FILE", help="multiple models: a ModelServerConfig in text protobuf"
    )
    _add(models, "model_name", "name for clients", "NAME")
    _add(models, "file_system_poll_wait_seconds", "time between checks for new versions, 0: never", "S", _seconds)
    _add(models, "model_config_file_poll_wait_seconds", "the same for the config file", "S", _seconds)
    _switch(models, "allow_version_labels_for_unavailable_models", "labels may name versions that are not served")
    models.add_argument(
        "--enable_model_warmup",
        type=_boolean,
        default=True,
        metavar="BOOL",
        help="run assets.extra/tf_serving_warmup_requests before a version serves requests (default: true)",
    )
    addresses = parser.add_argument_group("addresses")
    _add(addresses, "host", "address to listen on, 0.0.0.0 for every interface", "ADDRESS")
    _add(addresses, "port", "port of the gRPC interface, 0: any free one, -1: none", "PORT", int)
    _add(addresses, "rest_api_port", "port of the REST interface, 0: any free one", "PORT", int)
    running = parser.add_argument_group("running")
    _add(running, "rest_api_num_threads", "threads that run requests, by default four per processor", "N", _positive)
    _switch(running, "enable_batching", "run requests in batches")
    _add(running, "batching_parameters_file", "a BatchingParameters in text protobuf", "FILE")
    _add(running, "monitoring_config_file", f"a MonitoringConfig; metrics at {settings.METRICS_PATH}", "FILE")
    running.add_argument(
        "--engine", choices=("embedded", "ray"), default=_DEFAULTS.engine, help="ray: REST on a Ray Serve cluster"
    )
    _add(running, "engine_config_file", "for ray: replicas and their size, in YAML", "FILE")
    safety = parser.add_argument_group("security and limits")
    _add(safety, "ssl_config_file", "TLS on both interfaces: an SSLConfig in text protobuf", "FILE")
    _add(
        safety,
        "api_key_file",
        "hashes of the clients' keys; python -m privzoo.serving.keys makes them",
        "FILE",
    )
    _switch(
        safety,
        "allow_reload_without_key",
        "accept HandleReloadConfigRequest without an admin's key: anyone who reaches the gRPC port, even through a "
        "proxy on this machine, can then make the server load any SavedModel that it can read, and a SavedModel is a "
        "program",
    )
    _add(safety, "max_body_bytes", "largest body of a request", "N", _positive)
    _add(
        safety,
        "max_bytes_in_flight",
        "memory for the requests being read and answered, over both interfaces; clients beyond it are told to retry; "
        "half of this process's memory by default",
        "N",
        _positive,
    )
    _add(safety, "max_rows", "maximum number of features in one request", "N", _positive)
    _add(safety, "max_concurrent_requests", "concurrent requests; clients beyond it are told to retry", "N", _positive)
    _add(safety, "max_connections", "open connections of the REST interface", "N", _positive)
    _add(safety, "header_seconds", "time limit for a request's header", "S", _seconds)
    parser.add_argument(
        "--demo_page",
        nargs="?",
        const=str(Path(__file__).resolve().parents[2] / "tflite"),
        metavar="DIR",
        help="also serve the browser page, at /demo/web/ (default folder: the checkout's tflite)",
    )
    parser.add_argument(
        "--stop_on_eof", action="store_true", help="stop when standard input ends, such as when the parent process ends"
    )


def main(args: argparse.Namespace) -> int:
    """Serves until it is stopped; the process should end after it.

    Args:
        args: parsed flags of `add_flags`; others are ignored.

    Returns:
        Exit code 0.

    Raises:
        PrivzooError: the server cannot start.
    """
    try:
        from privzoo.serving.engines.common import log_to_stderr
        from privzoo.serving.engines.serve import serve
    except ImportError as error:
        raise MissingExtraError(f"The server needs {error.name}; run: pip install 'privzoo[cloud]'") from None
    log_to_stderr()
    serve(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Options)})
    # TensorFlow takes a while to shut down; a second signal in the meantime must not change exit code 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    return 0


def _add(group: Any, name: str, text: str, metavar: str, kind: Callable[[str], Any] = str) -> None:
    default = getattr(_DEFAULTS, name)
    shown = "" if default is None else " (default: %(default)s)"
    group.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=text + shown)


def _switch(group: Any, name: str, text: str) -> None:
    # As TF Serving's own parser: --name, --name=true and --name=false.
    group.add_argument(f"--{name}", type=_boolean, nargs="?", const=True, default=False, metavar="BOOL", help=text)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text.lower() == "true"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a valid time")
    return number

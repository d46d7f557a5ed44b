"""Common to all engines: the models in the options, sockets, the operator's log, and the parent process's end."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable

from privzoo import checks
from privzoo.errors import ConfigError
from privzoo.serving.models.config import ServedModel, read_config
from privzoo.serving.models.folders import check_name
from privzoo.serving.settings import Options


def configs_of(options: Options) -> list[ServedModel]:
    """The models that the options name, found on disk.

    Raises:
        ConfigError: they name none, or something is missing.
    """
    if options.model_config_file is not None:
        configs = read_config(options.model_config_file)
    elif options.model_base_path is not None:
        check_name(options.model_name)
        configs = [ServedModel(options.model_name, checks.local_path(options.model_base_path))]
    else:
        raise ConfigError("The server has no model to serve; give --model_base_path or --model_config_file.")
    for config in configs:
        config.check()
    return configs


def bind(host: str, port: int, flag: str = "rest_api_port") -> socket.socket:
    """A socket bound to an address, not listening yet.

    Args:
        host: address.
        port: 0 for any free one.
        flag: which set the port, for errors.

    Raises:
        ConfigError: the address is invalid, or is taken.
    """
    if not 0 <= port <= 65535:  # getaddrinfo would wrap it around
        raise ConfigError(f"Port {port} is invalid; give a --{flag} of 0 to 65535.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"The address {host!r} with port {port} is invalid ({error}); give another --host.") from None
    # With its protocol named: asyncio disables Nagle's algorithm (40 ms per answer) for sockets with TCP, not 0.
    listener = socket.socket(found[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere the option lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
    except OSError as error:
        listener.close()
        raise no_port(host, port, error, flag) from None
    return listener


def no_port(host: str, port: int, error: OSError, flag: str) -> ConfigError:
    """The error for an address that cannot be used."""
    reason = error.strerror or error
    return ConfigError(f"Port {port} on {host} cannot be used ({reason}); choose another --{flag}.")


def log_to_stderr() -> None:
    """Logs one line per event for the operator: versions loaded and unloaded, invalid files, keys refused."""
    log = logging.getLogger("privzoo.serving")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("privzoo: %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def stop_on_eof(stop: Callable[[], None]) -> None:
    """Reads standard input to its end, then stops the server.

    Args:
        stop: stops it.
    """
    try:
        while os.read(sys.stdin.fileno(), 4096):
            pass
    except (OSError, ValueError, AttributeError):  # no standard input at all: its end has been reached
        pass
    stop()

"""The embedded server as a process: socket, models, uvicorn, signals."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import Any

import uvicorn

from privzoo.errors import ConfigError
from privzoo.serving import settings
from privzoo.serving.demo_page import PAGE, add_demo_page, check_folder
from privzoo.serving.models import Models, check_name, find_versions, load_versions
from privzoo.serving.rest import create_app


class _Uvicorn(uvicorn.Server):
    """Says when it is ready."""

    ready = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer, then prints the line that a parent process waits for."""
        await super().startup(sockets)
        if self.started and not self.should_exit:
            print(self.ready, flush=True)


def serve(
    model_base_path: str | os.PathLike[str],
    model_name: str = settings.MODEL_NAME,
    host: str = settings.HOST,
    rest_api_port: int = settings.REST_API_PORT,
    rest_api_num_threads: int | None = None,
    max_body_bytes: int = settings.MAX_BODY_BYTES,
    stop_on_eof: bool = False,
    demo_page: str | os.PathLike[str] | None = None,
) -> None:
    """Serves the latest version of a model until SIGINT or SIGTERM; running requests are answered first.

    Args:
        model_base_path: folder with `<version>/saved_model.pb` in it.
        model_name: under which clients ask for the model.
        host: address to listen on; "0.0.0.0" for every interface.
        rest_api_port: to listen on; 0 for any free one.
        rest_api_num_threads: that run requests; None: four for each processor.
        max_body_bytes: largest body of a request.
        stop_on_eof: stop too when standard input ends, as it does when the parent process is gone.
        demo_page: folder `tflite` of a checkout, whose browser page is served at `/demo/web/`; None: no page.

    Raises:
        ConfigError: a name, folder, address or port that cannot be.
        WeightsError: a version that is no SavedModel, or a damaged one.
        MissingExtraError: TensorFlow is not installed.

    Example:
        >>> serve("served/vgg16_gender_simple_conv5_3", "vgg16_gender_simple_conv5_3")  # doctest: +SKIP
    """
    check_name(model_name)
    find_versions(model_base_path)  # what is wrong here is told at once, not after TensorFlow's import
    page = check_folder(demo_page) if demo_page is not None else None
    listener = _bind(host, rest_api_port)
    config = uvicorn.Config(
        None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=settings.DRAIN_SECONDS,
    )
    server = _Uvicorn(config)
    previous = {}
    if threading.current_thread() is threading.main_thread():
        # Set before the models load, so that a signal while they do ends the server in order too.
        previous = {n: signal.signal(n, server.handle_exit) for n in (signal.SIGINT, signal.SIGTERM)}
    if stop_on_eof:
        threading.Thread(target=_stop_on_eof, args=[server], daemon=True).start()
    try:
        servables = load_versions(model_name, model_base_path)
        models = Models(servables)
        config.app = create_app(models, rest_api_num_threads, max_body_bytes)
        if page is not None:
            add_demo_page(config.app, page)
        versions = ", ".join(str(servable.version) for servable in servables)
        server.ready = f"privzoo serves {model_name} version {versions} at {_url(listener)}"
        if page is not None:
            server.ready += f"\nThe demo page is at {_url(listener)}{PAGE}"
        if not server.should_exit:
            _listen(listener)
            server.run(sockets=[listener])
        models.close()
    finally:
        listener.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _bind(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:  # getaddrinfo would wrap it around
        raise ConfigError(f"Port {port} cannot be; give a --rest_api_port of 0 to 65535.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"The address {host!r} with port {port} cannot be ({error}); give another --host.") from None
    # With its protocol named: asyncio turns Nagle's delay (40 ms an answer) off for sockets that say TCP, not for 0.
    listener = socket.socket(found[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere the option lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
    except OSError as error:
        listener.close()
        raise _no_port(host, port, error) from None
    return listener


def _listen(listener: socket.socket) -> None:
    # Only now, so that a client is refused while the models load instead of waiting for an answer.
    try:
        listener.listen(2048)
    except OSError as error:
        raise _no_port(*listener.getsockname()[:2], error) from None


def _no_port(host: str, port: int, error: OSError) -> ConfigError:
    reason = error.strerror or error
    return ConfigError(f"Port {port} on {host} cannot be used ({reason}); choose another --rest_api_port.")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _stop_on_eof(server: Any) -> None:
    try:
        while os.read(sys.stdin.fileno(), 4096):
            pass
    except (OSError, ValueError, AttributeError):  # no standard input at all: its end has been reached
        pass
    server.should_exit = True

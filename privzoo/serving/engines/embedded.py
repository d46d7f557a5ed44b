"""The embedded server as a process: sockets, models, uvicorn and gRPC in one event loop, signals."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import threading
from typing import Any

import uvicorn

from privzoo.errors import ConfigError, PrivzooError
from privzoo.serving import settings
from privzoo.serving.engines.common import bind, configs_of, no_port, stop_on_eof
from privzoo.serving.front.budget import Budget, give_back_at_once
from privzoo.serving.front.demo_page import PAGE, add_demo_page, check_folder
from privzoo.serving.front.http_limits import limited
from privzoo.serving.front.metrics import Metrics
from privzoo.serving.front.rest import app_for
from privzoo.serving.front.service import Service
from privzoo.serving.front.tls import Renewal
from privzoo.serving.keys import Keys
from privzoo.serving.models.batching import read_parameters
from privzoo.serving.models.manager import Manager
from privzoo.serving.models.registry import Models
from privzoo.serving.models.saved_model import tensorflow
from privzoo.serving.settings import Options
from privzoo.serving.wire.textproto import read


class _Uvicorn(uvicorn.Server):
    """Runs gRPC alongside REST, and reports when both are ready."""

    ready = ""  # what it prints then, for a waiting parent process
    make_grpc: Any = None  # makes the gRPC server; None: no gRPC
    failure: PrivzooError | None = None
    renewal: Renewal | None = None
    _grpc: Any = None
    _watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts answering, then prints the lines that a parent process waits for."""
        if self.make_grpc is not None:
            try:
                self._grpc = self.make_grpc()
            except PrivzooError as error:
                self.failure, self.should_exit = error, True
                return
            await self._grpc.start()
        await super().startup(sockets)
        if self.renewal is not None:
            self._watch = asyncio.create_task(self.renewal.watch())
        if self.started and not self.should_exit:
            # In one write, so that a reader of the first line also gets the second.
            over_grpc = f"\nprivzoo listens for gRPC at {self._grpc.address}" if self._grpc else ""
            print(self.ready + over_grpc, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops taking requests over either protocol, and answers those that are running."""
        if self._watch is not None:
            self._watch.cancel()
        over_grpc = [] if self._grpc is None else [self._grpc.stop(settings.DRAIN_SECONDS)]
        await asyncio.gather(super().shutdown(sockets), *over_grpc)


def serve(options: Options) -> None:
    """Serves models until SIGINT or SIGTERM; running requests are answered first.

    Args:
        options: the server's options.

    Raises:
        ConfigError: an invalid name, folder, file, address or port.
        WeightsError: a version that is not a SavedModel, or a damaged one.
        MissingExtraError: TensorFlow is not installed.
    """
    # Errors here are reported at once, not after TensorFlow's import.
    configs = configs_of(options)
    page = check_folder(options.demo_page) if options.demo_page is not None else None
    tls = Renewal(options.ssl_config_file) if options.ssl_config_file is not None else None
    keys = Keys(options.api_key_file) if options.api_key_file is not None else None
    if options.max_bytes_in_flight is not None:
        Budget(options.max_bytes_in_flight, options.max_body_bytes)
    batching = read_parameters(options.batching_parameters_file) if options.enable_batching else None
    metrics = _metrics(options)
    if options.port >= 0:
        bind(options.host, options.port, "port").close()
    listener = bind(options.host, options.rest_api_port, "rest_api_port")
    server = _Uvicorn(_uvicorn_config(options, tls))
    server.renewal = tls
    previous = {}
    if threading.current_thread() is threading.main_thread():
        # Set before the models load, so that a signal during loading also ends the server properly.
        previous = {n: signal.signal(n, server.handle_exit) for n in (signal.SIGINT, signal.SIGTERM)}
    if options.stop_on_eof:
        threading.Thread(target=stop_on_eof, args=[lambda: setattr(server, "should_exit", True)], daemon=True).start()
    models = Models()
    manager = Manager(models, options.enable_model_warmup, options.allow_version_labels_for_unavailable_models)
    try:
        give_back_at_once()
        # TensorFlow's modules are never freed: unless they are frozen, each full collection scans them, and every
        # request running at the time waits a fifth of a second.
        tensorflow()
        gc.collect()
        gc.freeze()
        manager.apply(configs)
        service = Service(
            models,
            options.rest_api_num_threads,
            options.max_body_bytes,
            options.max_concurrent_requests,
            options.max_rows,
            batching,
            keys,
            metrics,
            options.max_bytes_in_flight,
        )
        if metrics is not None:
            metrics.watch("privzoo_requests_running", "Requests being answered.", lambda: service.running)
            budget = service.budget
            metrics.watch("privzoo_bytes_in_flight", "Memory counted for requests.", lambda: budget.taken)
            metrics.watch("privzoo_models_available", "Models that take requests.", lambda: len(models.names()))
        server.config.app = app_for(service, own=False)
        if page is not None:
            add_demo_page(server.config.app, page)
        if options.port >= 0:
            server.make_grpc = lambda: _grpc_server(service, manager, options, tls)
        server.ready = f"privzoo serves {_served(models)} at {_url(listener, tls)}"
        if page is not None:
            server.ready += f"\nThe demo page is at {_url(listener, tls)}{PAGE}"
        if not server.should_exit:
            _listen(listener)
            manager.watch(
                options.file_system_poll_wait_seconds,
                options.model_config_file,
                options.model_config_file_poll_wait_seconds,
            )
            server.run(sockets=[listener])
        service.close()
        if server.failure is not None:
            raise server.failure
    finally:
        manager.close()
        models.close()
        listener.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _metrics(options: Options) -> Metrics | None:
    """As in TF Serving: metrics only if the monitoring config asks for them."""
    if options.monitoring_config_file is None:
        return None
    config = read("MonitoringConfig", options.monitoring_config_file, "monitoring_config_file").prometheus_config
    path = config.path or settings.METRICS_PATH
    if not path.startswith("/") or path.lower().startswith("/v1"):
        raise ConfigError(
            f"The path {path!r} in {options.monitoring_config_file} is invalid; begin it with /monitoring."
        )
    return Metrics(path) if config.enable else None


async def _unset(*_: Any) -> None:
    raise AssertionError("serve() sets the app before a connection is taken")


def _uvicorn_config(options: Options, tls: Renewal | None) -> uvicorn.Config:
    return uvicorn.Config(
        _unset,
        host=options.host,
        loop="asyncio",  # the loop that grpc.aio needs, whatever else is installed
        http=limited(options.max_connections, options.header_seconds),
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=settings.DRAIN_SECONDS,
        ssl_context_factory=None if tls is None else lambda config, default: tls.context,
    )


def _grpc_server(service: Service, manager: Manager, options: Options, tls: Renewal | None) -> Any:
    from privzoo.serving.front.grpc_server import GrpcServer

    credentials = None if tls is None else tls.grpc_credentials()
    return GrpcServer(
        service, manager.reload, options.host, options.port, credentials, options.allow_reload_without_key
    )


def _served(models: Models) -> str:
    parts = []
    for name in models.names():
        versions = ", ".join(str(servable.version) for servable in models.available(name))
        parts.append(f"{name} version {versions}")
    return "; ".join(parts)


def _listen(listener: socket.socket) -> None:
    # Only now, so that clients are refused while the models load, instead of waiting for an answer.
    try:
        listener.listen(2048)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise no_port(host, port, error, "rest_api_port") from None


def _url(listener: socket.socket, tls: Renewal | None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

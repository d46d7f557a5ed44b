"""The embedded server as a process: sockets, models, uvicorn and gRPC in one event loop, signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from privzoo.errors import ConfigError, PrivzooError
from privzoo.serving import settings
from privzoo.serving.batching import read_parameters
from privzoo.serving.budget import Budget, give_back_at_once
from privzoo.serving.demo_page import PAGE, add_demo_page, check_folder
from privzoo.serving.folders import check_name, local_folder
from privzoo.serving.keys import Keys
from privzoo.serving.manager import Manager
from privzoo.serving.metrics import Metrics
from privzoo.serving.model_config import ModelConfig, read_config
from privzoo.serving.models import Models
from privzoo.serving.protocol import limited
from privzoo.serving.rest import app_for
from privzoo.serving.savedmodel import tensorflow
from privzoo.serving.service import Service
from privzoo.serving.settings import Options
from privzoo.serving.textproto import read
from privzoo.serving.tls import Renewal


class _Uvicorn(uvicorn.Server):
    """Runs gRPC beside REST, and says when both are ready."""

    ready = ""  # what it prints then, for a parent process that waits
    make_grpc: Any = None  # gives the gRPC server; None: there is none
    failure: PrivzooError | None = None
    renewal: Renewal | None = None
    _grpc: Any = None
    _watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer, then prints the lines that a parent process waits for."""
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
            # In one piece: who reads the first line finds the second too.
            over_grpc = f"\nprivzoo listens for gRPC at {self._grpc.address}" if self._grpc else ""
            print(self.ready + over_grpc, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no new request over either, and answers those that run."""
        if self._watch is not None:
            self._watch.cancel()
        over_grpc = [] if self._grpc is None else [self._grpc.stop(settings.DRAIN_SECONDS)]
        await asyncio.gather(super().shutdown(sockets), *over_grpc)


def serve(model_base_path: str | os.PathLike[str] | None = None, **options: Any) -> None:
    """Serves models until SIGINT or SIGTERM; running requests are answered first.

    Args:
        model_base_path: folder with `<version>/saved_model.pb` in it; None with `model_config_file`.
        options: the other fields of `privzoo.serving.settings.Options`.

    Raises:
        ConfigError: a name, folder, file, address or port that cannot be.
        WeightsError: a version that is no SavedModel, or a damaged one.
        MissingExtraError: TensorFlow is not installed.

    Example:
        >>> serve("served/vgg16_gender_simple_conv5_3", model_name="vgg16_gender_simple_conv5_3")  # doctest: +SKIP
    """
    told = Options(model_base_path=model_base_path, **options)
    if told.allow_reload_without_key and told.api_key_file is not None:
        raise ConfigError("--allow_reload_without_key contradicts --api_key_file; leave one of them out.")
    if told.engine == "ray":
        from privzoo.serving import ray_engine

        ray_engine.serve(told, ray_engine.read_cluster(told.engine_config_file))
        return
    # What is wrong here is told at once, not after TensorFlow's import.
    configs = configs_of(told)
    page = check_folder(told.demo_page) if told.demo_page is not None else None
    tls = Renewal(told.ssl_config_file) if told.ssl_config_file is not None else None
    keys = Keys(told.api_key_file) if told.api_key_file is not None else None
    if told.max_bytes_in_flight is not None:
        Budget(told.max_bytes_in_flight, told.max_body_bytes)
    batching = read_parameters(told.batching_parameters_file) if told.enable_batching else None
    metrics = _metrics(told)
    if told.port >= 0:
        bind(told.host, told.port, "port").close()
    listener = bind(told.host, told.rest_api_port, "rest_api_port")
    server = _Uvicorn(_uvicorn_config(told, tls))
    server.renewal = tls
    previous = {}
    if threading.current_thread() is threading.main_thread():
        # Set before the models load, so that a signal while they do ends the server in order too.
        previous = {n: signal.signal(n, server.handle_exit) for n in (signal.SIGINT, signal.SIGTERM)}
    if told.stop_on_eof:
        threading.Thread(target=stop_on_eof, args=[lambda: setattr(server, "should_exit", True)], daemon=True).start()
    models = Models()
    manager = Manager(models, told.enable_model_warmup, told.allow_version_labels_for_unavailable_models)
    try:
        give_back_at_once()
        # TensorFlow's modules never go away: unless they are frozen, each full collection looks through them, and every
        # request that runs meanwhile waits a fifth of a second.
        tensorflow()
        gc.collect()
        gc.freeze()
        manager.apply(configs)
        service = Service(
            models,
            told.rest_api_num_threads,
            told.max_body_bytes,
            told.max_concurrent_requests,
            told.max_rows,
            batching,
            keys,
            metrics,
            told.max_bytes_in_flight,
        )
        if metrics is not None:
            metrics.watch("privzoo_requests_running", "Requests that are answered now.", lambda: service.running)
            budget = service.budget
            metrics.watch("privzoo_bytes_in_flight", "Memory counted for requests.", lambda: budget.taken)
            metrics.watch("privzoo_models_available", "Models that take requests.", lambda: len(models.names()))
        server.config.app = app_for(service, own=False)
        if page is not None:
            add_demo_page(server.config.app, page)
        if told.port >= 0:
            server.make_grpc = lambda: _grpc_server(service, manager, told, tls)
        server.ready = f"privzoo serves {_served(models)} at {_url(listener, tls)}"
        if page is not None:
            server.ready += f"\nThe demo page is at {_url(listener, tls)}{PAGE}"
        if not server.should_exit:
            _listen(listener)
            manager.watch(
                told.file_system_poll_wait_seconds, told.model_config_file, told.model_config_file_poll_wait_seconds
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


def configs_of(told: Options) -> list[ModelConfig]:
    """The models that the options name, looked for on the disk.

    Raises:
        ConfigError: they name none, or something is not there.
    """
    if told.model_config_file is not None:
        configs = read_config(told.model_config_file)
    elif told.model_base_path is not None:
        check_name(told.model_name)
        configs = [ModelConfig(told.model_name, local_folder(told.model_base_path))]
    else:
        raise ConfigError("The server has no model to serve; give --model_base_path or --model_config_file.")
    for config in configs:
        config.check()
    return configs


def _metrics(told: Options) -> Metrics | None:
    """As TF Serving: figures only where the monitoring config asks for them."""
    if told.monitoring_config_file is None:
        return None
    config = read("MonitoringConfig", told.monitoring_config_file, "monitoring_config_file").prometheus_config
    path = config.path or settings.METRICS_PATH
    if not path.startswith("/") or path.lower().startswith("/v1"):
        raise ConfigError(f"The path {path!r} in {told.monitoring_config_file} cannot be; begin it with /monitoring.")
    return Metrics(path) if config.enable else None


def _uvicorn_config(told: Options, tls: Renewal | None) -> uvicorn.Config:
    return uvicorn.Config(
        None,
        host=told.host,
        loop="asyncio",  # the one that grpc.aio is made for, whatever else is installed
        http=limited(told.max_connections, told.header_seconds),
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=settings.DRAIN_SECONDS,
        ssl_context_factory=None if tls is None else lambda config, default: tls.context,
    )


def _grpc_server(service: Service, manager: Manager, told: Options, tls: Renewal | None) -> Any:
    from privzoo.serving.grpc_server import GrpcServer

    credentials = None if tls is None else tls.grpc_credentials()
    return GrpcServer(service, manager.reload, told.host, told.port, credentials, told.allow_reload_without_key)


def _served(models: Models) -> str:
    parts = []
    for name in models.names():
        versions = ", ".join(str(servable.version) for servable in models.available(name))
        parts.append(f"{name} version {versions}")
    return "; ".join(parts)


def bind(host: str, port: int, flag: str = "rest_api_port") -> socket.socket:
    """A socket on an address, which does not listen yet.

    Args:
        host: address.
        port: 0 for any free one.
        flag: that named the port, for errors.

    Raises:
        ConfigError: the address cannot be, or is taken.
    """
    if not 0 <= port <= 65535:  # getaddrinfo would wrap it around
        raise ConfigError(f"Port {port} cannot be; give a --{flag} of 0 to 65535.")
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
        raise _no_port(host, port, error, flag) from None
    return listener


def _listen(listener: socket.socket) -> None:
    # Only now, so that a client is refused while the models load instead of waiting for an answer.
    try:
        listener.listen(2048)
    except OSError as error:
        raise _no_port(*listener.getsockname()[:2], error, "rest_api_port") from None


def _no_port(host: str, port: int, error: OSError, flag: str) -> ConfigError:
    reason = error.strerror or error
    return ConfigError(f"Port {port} on {host} cannot be used ({reason}); choose another --{flag}.")


def _url(listener: socket.socket, tls: Renewal | None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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

"""`privzoo serve --engine ray`: the same REST interface on a Ray Serve cluster, in several replicas.

Each replica loads all models, watches their folders, and batches its requests; so every machine of the cluster must
see the same folders and files under the same paths. Ray's own proxy takes the connections: limits on connections and
headers, TLS and gRPC are missing, and need a proxy in front of it. Metrics are Ray's own.

A cluster of several machines: `ray start --head` on one, `ray start --address HEAD:6379` on the others, then
`RAY_ADDRESS=HEAD:6379 privzoo serve --engine ray --engine_config_file cluster.yaml ...` on any of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from privzoo.errors import ConfigError, MissingExtraError, PrivzooError
from privzoo.serving import settings
from privzoo.serving.settings import Options

NAME = "privzoo"
STARTS = 3


@dataclass(frozen=True)
class Cluster:
    """The contents of `--engine_config_file`, in YAML."""

    replicas: int = 1  # at the start, and always unless max_replicas is above it
    max_replicas: int = 0  # maximum under load; 0: no more than `replicas`
    requests_per_replica: int = 16  # running in each, from which more replicas are started
    max_requests_per_replica: int = 256  # more wait in Ray's proxy
    cpus: float = 1.0  # of each replica


def read_cluster(path: str | os.PathLike[str] | None) -> Cluster:
    """Reads the file of `--engine_config_file`; None gives the defaults.

    Raises:
        ConfigError: a file that cannot be read, or has an invalid value.
    """
    if path is None:
        return Cluster()
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(
            f"The file {path} of --engine_config_file cannot be read: {error.strerror or error}."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"The file {path} of --engine_config_file is not valid YAML; correct it.") from None
    known = [field.name for field in fields(Cluster)]
    if not isinstance(found, dict) or not set(found) <= set(known):
        raise ConfigError(f"The file {path} of --engine_config_file may only set {', '.join(known)}.")
    for name, value in found.items():
        kinds = (int, float) if name == "cpus" else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or value < (0 if name == "max_replicas" else 1e-3):
            raise ConfigError(f"{name}: {value!r} in {path} of --engine_config_file is invalid; give a larger number.")
    return Cluster(**found)


class Replica:
    """One copy of the server, in a process of Ray's.

    Args:
        options: the server's options.
    """

    def __init__(self, options: Options) -> None:
        from privzoo.serving.engines.common import configs_of, log_to_stderr
        from privzoo.serving.front.rest import Rest
        from privzoo.serving.front.service import Service
        from privzoo.serving.keys import Keys
        from privzoo.serving.models.batching import read_parameters
        from privzoo.serving.models.manager import Manager
        from privzoo.serving.models.registry import Models

        log_to_stderr()
        models = Models()
        self._manager = Manager(
            models, options.enable_model_warmup, options.allow_version_labels_for_unavailable_models
        )
        self._manager.apply(configs_of(options))
        self._manager.watch(
            options.file_system_poll_wait_seconds,
            options.model_config_file,
            options.model_config_file_poll_wait_seconds,
        )
        self._service = Service(
            models,
            options.rest_api_num_threads,
            options.max_body_bytes,
            options.max_concurrent_requests,
            options.max_rows,
            read_parameters(options.batching_parameters_file) if options.enable_batching else None,
            Keys(options.api_key_file) if options.api_key_file is not None else None,
            max_bytes_in_flight=options.max_bytes_in_flight,
        )
        self._rest = Rest(self._service)

    async def __call__(self, request: Any) -> Any:
        """Answers an HTTP request."""
        return await self._rest.handle(request)

    async def __del__(self) -> None:
        """Ends after the last request, when Ray stops the replica."""
        self._manager.close()
        await asyncio.to_thread(self._service.close)


def serve(options: Options, cluster: Cluster) -> None:
    """Serves on Ray until SIGINT or SIGTERM; running requests are answered first.

    Args:
        options: the server's options.
        cluster: how many replicas, and how large.

    Raises:
        ConfigError: options that Ray Serve does not support, or an unavailable cluster.
        MissingExtraError: Ray Serve is not installed.
    """
    for flag in ("ssl_config_file", "monitoring_config_file"):
        if getattr(options, flag) is not None:
            raise ConfigError(
                f"--{flag} is not supported on Ray; put a proxy with TLS in front of it, and use Ray's own metrics."
            )
    try:
        import ray
        from ray import serve as ray_serve
    except ImportError:
        raise MissingExtraError("The engine ray needs Ray Serve; run: pip install 'privzoo[ray]'") from None
    from privzoo.serving.engines.common import bind, configs_of, stop_on_eof

    names = [config.name for config in configs_of(options)]
    with bind(options.host, options.rest_api_port) as probe:  # Ray would look for a free port elsewhere
        port = probe.getsockname()[1]
    stop = threading.Event()
    previous = {n: signal.signal(n, lambda *_: stop.set()) for n in (signal.SIGINT, signal.SIGTERM)}
    if options.stop_on_eof:
        threading.Thread(target=stop_on_eof, args=[stop.set], daemon=True).start()
    try:
        _join(ray, stop)
        if stop.is_set():
            return
        ray_serve.start(http_options={"host": options.host, "port": port})
        ray_serve.run(
            _deployment(ray_serve, cluster).bind(options), name=NAME, route_prefix="/", _local_testing_mode=False
        )
        # Names only: each replica reports what it serves itself.
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"privzoo serves {'; '.join(names)} at http://{host}:{port}", flush=True)
        while not stop.wait(0.5):
            pass
    except PrivzooError:
        raise
    except Exception as error:  # Ray also raises bare ones, for example if a node starts too slowly
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"Ray cannot serve ({type(error).__name__}: {reason[0] if reason else 'no reason'})."
        ) from None
    finally:
        if ray.is_initialized():
            ray_serve.shutdown()
            ray.shutdown()
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.stdout.flush()


def _join(ray: Any, stop: threading.Event) -> None:
    """Joins the cluster at RAY_ADDRESS, or starts one on this machine.

    Ray gives its processes 30 s to start, and this cannot be changed; on a busy machine that is too short the first
    time, and enough once their files are in memory.
    """
    address = os.environ.get("RAY_ADDRESS")
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address=address, namespace=NAME, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
            )
            return
        except Exception as error:  # a bare one
            if address is not None or not left or stop.is_set() or "timed out during startup" not in str(error):
                raise
            ray.shutdown()


def _deployment(ray_serve: Any, cluster: Cluster) -> Any:
    grows = cluster.max_replicas > cluster.replicas
    scale: dict[str, Any] = {"num_replicas": cluster.replicas}
    if grows:
        scale = {
            "autoscaling_config": {
                "min_replicas": cluster.replicas,
                "max_replicas": cluster.max_replicas,
                "target_ongoing_requests": cluster.requests_per_replica,
            }
        }
    return ray_serve.deployment(
        name=NAME,
        max_ongoing_requests=cluster.max_requests_per_replica,
        graceful_shutdown_timeout_s=settings.DRAIN_SECONDS,
        health_check_period_s=2,
        ray_actor_options={"num_cpus": cluster.cpus},
        **scale,
    )(Replica)

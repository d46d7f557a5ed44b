"""Settings of the server and their defaults, in one place for its flags and its functions."""

from __future__ import annotations

import os
from dataclasses import dataclass

# TF Serving listens on every interface; without keys and TLS, asking for that must be deliberate.
HOST = "127.0.0.1"
GRPC_PORT = 8500
REST_API_PORT = 8501
MODEL_NAME = "default"
MAX_BODY_BYTES = 64 * 2**20  # 64 features of conv5 at 224 px are about 20 MB of JSON, and 26 MB over gRPC
TURN_SECONDS = 10  # that a call over gRPC waits until there is room to read its message
MAX_ROWS = 1024  # features in one request
MAX_CONCURRENT_REQUESTS = 1024
MAX_CONNECTIONS = 1024
HEADER_SECONDS = 10  # that a client has for the head of a request
BODY_SECONDS = 60  # and for its body
MAX_HEADER_BYTES = 64 * 1024
DRAIN_SECONDS = 30  # that running requests get when the server is stopped
POLL_SECONDS = 1.0  # between two looks for new versions
METRICS_PATH = "/monitoring/prometheus/metrics"  # TF Serving's default


def default_threads() -> int:
    """Threads that run requests, as many as TF Serving's `rest_api_num_threads` has by default."""
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class Options:
    """Options of `privzoo serve`; each field is a flag of the same name."""

    model_base_path: str | os.PathLike[str] | None = None  # folder with <version>/saved_model.pb in it
    model_name: str = MODEL_NAME
    model_config_file: str | os.PathLike[str] | None = None  # instead of the two above: text of a ModelServerConfig
    host: str = HOST
    port: int = GRPC_PORT  # of gRPC; 0: any free one, -1: no gRPC
    rest_api_port: int = REST_API_PORT  # 0: any free one
    rest_api_num_threads: int | None = None  # None: four for each processor
    max_body_bytes: int = MAX_BODY_BYTES  # of a request, over REST and over gRPC
    max_bytes_in_flight: int | None = None  # of memory for requests; None: half of what this process may have
    max_rows: int = MAX_ROWS
    max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS
    max_connections: int = MAX_CONNECTIONS
    header_seconds: float = HEADER_SECONDS
    file_system_poll_wait_seconds: float = POLL_SECONDS  # 0: look for versions at the start only
    model_config_file_poll_wait_seconds: float = 0.0  # 0: read the file at the start only
    allow_version_labels_for_unavailable_models: bool = False
    enable_batching: bool = False
    batching_parameters_file: str | os.PathLike[str] | None = None
    enable_model_warmup: bool = True
    monitoring_config_file: str | os.PathLike[str] | None = None
    ssl_config_file: str | os.PathLike[str] | None = None
    api_key_file: str | os.PathLike[str] | None = None
    allow_reload_without_key: bool = False  # HandleReloadConfigRequest, for everybody who reaches the gRPC port
    engine: str = "embedded"  # or "ray"
    engine_config_file: str | os.PathLike[str] | None = None  # YAML of `privzoo.serving.engines.ray.Cluster`
    stop_on_eof: bool = False  # stop too when standard input ends, as it does when the parent process is gone
    demo_page: str | os.PathLike[str] | None = None  # folder `tflite` of a checkout: its browser page is served too

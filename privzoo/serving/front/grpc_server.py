"""The gRPC server: services, health, limits, TLS, in the event loop of the REST interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from privzoo.errors import ConfigError
from privzoo.serving import settings
from privzoo.serving.front.budget import MARGIN
from privzoo.serving.front.grpc_reading import Reading
from privzoo.serving.front.grpc_services import ModelService, PredictionService
from privzoo.serving.front.service import Service

PROBES = 16
SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


class GrpcServer:
    """PredictionService, ModelService and health on one port; belongs to the running event loop.

    Args:
        service: that runs the requests.
        reload: as `ModelService` has it.
        host: address to listen on.
        port: to listen on; 0: any free one.
        credentials: of `privzoo.serving.front.tls`; None: no TLS.
        reload_without_key: as `ModelService` has it.

    Raises:
        ConfigError: the port is taken, or the address is invalid.
    """

    def __init__(
        self,
        service: Service,
        reload: Callable[[Any], None] | None,
        host: str = settings.HOST,
        port: int = settings.GRPC_PORT,
        credentials: grpc.ServerCredentials | None = None,
        reload_without_key: bool = False,
    ) -> None:
        self._server = grpc.aio.server(
            interceptors=[Reading(service)],
            # Calls waiting for their message to be read count here; the service counts those that it answers, and
            # refuses them with a sentence of its own. A few more, so that a full server still answers probes.
            maximum_concurrent_rpcs=service.max_concurrent_requests + PROBES,
            options=[
                ("grpc.max_receive_message_length", service.max_body_bytes + MARGIN),
                ("grpc.max_send_message_length", -1),
                # Otherwise the window of a fast connection grows to megabytes per call, whether it is read or not.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.so_reuseport", 0),  # else two servers would share a port, and each get half of the requests
                ("grpc.max_metadata_size", settings.MAX_HEADER_BYTES),
                ("grpc.max_concurrent_streams", 256),
                # Clients keep idle connections alive with occasional pings; more of them are abuse.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
            ],
        )
        self._health = HealthServicer()
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(service), self._server)
        changes = ModelService(service, reload, reload_without_key)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(changes, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ConfigError(f"Port {port} on {host} cannot be used for gRPC; choose another --port.")
        self.address = f"{address.rpartition(':')[0]}:{self.port}"

    async def start(self) -> None:
        """Starts to answer."""
        await self._server.start()
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float) -> None:
        """Says NOT_SERVING, takes no new call, and waits for those that run.

        Args:
            grace: seconds to wait.
        """
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

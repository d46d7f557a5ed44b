"""The tails under load, and the requests to them."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtesting.generator import Request
from privzoo.edge import grpc_messages, grpc_wire, rest
from privzoo.errors import ConfigError, ServerError
from privzoo.serving import Server
from privzoo.serving.models.folders import find_versions
from privzoo.serving.models.servable import read_tail

ENDED = "The server has stopped by itself, so nothing can be measured; look at its output."


def pid_of(server: Server) -> int:
    """Process ID of a running server.

    Raises:
        ServerError: it has stopped.
    """
    if server.pid is None:
        raise ServerError(ENDED)
    return server.pid


@dataclass(frozen=True)
class Target:
    """One exported tail."""

    model: str
    base: Path  # folder that contains the versions
    folder: Path  # of the newest version
    shape: tuple[int, ...]  # of one feature
    signature: str

    @classmethod
    def find(cls, served: Path, model: str) -> Target:
        """Finds a model's tail.

        Args:
            served: folder that contains `<model>/<version>/`.
            model: name of the model.

        Raises:
            ConfigError: there is no such model, or it is not a tail of the zoo.
        """
        ((_, folder),) = find_versions(served / model).items()
        tail = read_tail(folder)
        if tail is None:
            raise ConfigError(f"{folder} is not a tail of the zoo; export one with tools/export.py.")
        if tail.shape == ():
            raise ConfigError(f"{model} takes codes, which the load test does not send; name another model.")
        return cls(model, served / model, folder, tail.shape, tail.signature)

    @property
    def feature(self) -> np.ndarray:
        """One feature of random numbers, always the same: float32 (1, *shape)."""
        return np.random.default_rng(1).normal(size=(1, *self.shape)).astype(np.float32)

    @property
    def feature_bytes(self) -> int:
        """Size of one feature in bytes."""
        return self.feature.nbytes

    def request(self, protocol: str, name: str | None = None) -> Request:
        """A valid request over "rest" or "grpc"."""
        name = name or f"{protocol} {self.model}"
        if protocol == "rest":
            return Request(name, "rest", f"/v1/models/{self.model}:predict", rest.encode(self.feature, self.signature))
        body = grpc_messages.encode(self.feature, self.model, None, self.signature, "features")
        return Request(name, "grpc", grpc_messages.PREDICT, body)


def answer(url: str, one: Request) -> bytes:
    """Sends one REST request, and returns the answer's body."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is on this machine
    with direct.open(urllib.request.Request(url + one.path, one.body or None), timeout=60) as response:
        return response.read()


def answer_grpc(address: str, one: Request) -> bytes:
    """Sends one gRPC request, and returns the answer's message."""
    import grpc

    with grpc.insecure_channel(address, grpc_wire.NO_PROXY) as channel:
        return channel.unary_unary(one.path)(one.body, timeout=60)


def models_config(targets: list[Target], file: Path) -> Path:
    """Writes a config that serves several tails, and returns its file."""
    entries = "".join(
        f'  config {{ name: "{t.model}" base_path: "{t.base.resolve()}" model_platform: "tensorflow" }}\n'
        for t in targets
    )
    file.write_text(f"model_config_list {{\n{entries}}}\n", encoding="utf-8")
    return file

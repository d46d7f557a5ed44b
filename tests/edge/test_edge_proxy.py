"""What a proxy between device and cloud gets to see: nothing that nobody asked for, and never a key or feature."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import threading

import pytest
from export_fakes import NAME, chips, exported, served
from serving_helpers import pem_config, running

from privzoo.edge import AsyncClient, Client, Head
from privzoo.errors import ConfigError, MissingExtraError

pytestmark = pytest.mark.server

for package in ("grpc", "starlette", "tensorflow_serving", "trustme"):
    pytest.importorskip(package)

HOST = "cloud.example"  # what only the proxy can find
ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy", "no_grpc_proxy")


class Proxy:
    """An HTTP proxy that keeps what it is told; a tunnel to any host leads to this machine."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.seen: list[bytes] = []
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                part = client.recv(65536)
                if not part:
                    return
                head += part
            self.seen.append(head)
            self.requests.append(head.split(b"\r\n")[0])
            if not head.startswith(b"CONNECT "):
                client.sendall(b"HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n")
                return
            port = int(head.split()[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.sendall(b"HTTP/1.1 200 ok\r\n\r\n")
                back = threading.Thread(target=self._copy, args=[server, client], daemon=True)
                back.start()
                self._copy(client, server, keep=True)
                back.join(10)

    def _copy(self, source, sink, keep=False):
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                if keep:
                    self.seen.append(part)
                sink.sendall(part)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy():
    started = Proxy()
    yield started
    started.listener.close()


@pytest.fixture
def hostile(proxy, monkeypatch):
    """An environment that sends everything to the proxy."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, f"http://{proxy.address}")
    for name in EXCEPTIONS:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY", proxy.address)
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES", "127.0.0.0/8,0.0.0.0/0,::/0,127.0.0.1,localhost")
    return proxy


@pytest.fixture(scope="module")
def head():
    return Head(exported("float32"))


@pytest.fixture(scope="module")
def models():
    from privzoo.serving import Models, load_versions

    models = Models(load_versions(NAME, served() / NAME))
    yield models
    models.close()


def test_the_environment_gets_nothing(head, models, hostile):
    async def ask(address):
        async with AsyncClient(head, address, timeout=60, key="pz_secret") as client:
            return await client.predict(chips()[:1], face="given")

    with running(models) as server:
        for address in (server.url, f"grpc://{server.target}"):
            with Client(head, address, timeout=60, key="pz_secret") as client:
                assert client.predict(chips()[:1], face="given")
            assert asyncio.run(ask(address))
    assert hostile.seen == []


@pytest.mark.parametrize("address", ["http://cloud.invalid:8501", "grpc://cloud.invalid:8500"])
def test_the_environment_gets_nothing_for_another_machine_either(head, hostile, address):
    with Client(head, address, timeout=2, attempts=1) as client, pytest.raises(ConnectionError):
        client.predict(chips()[:1], face="given")
    assert hostile.seen == []


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_proxy_that_was_asked_for_carries_tls_and_sees_no_more(head, models, proxy, scheme, tmp_path, monkeypatch):
    import trustme

    from privzoo.serving.front.tls import read_tls
    from privzoo.serving.keys import Keys, new_key

    for name in EXCEPTIONS:  # what was asked for is used, whatever the environment says
        monkeypatch.setenv(name, f"{HOST},example,*,0.0.0.0/0")
    key, line = new_key("phone")
    (tmp_path / "keys").write_text(line)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = read_tls(pem_config(tmp_path / "tls", authority.issue_cert(HOST)))
    with running(models, tls=tls, keys=Keys(tmp_path / "keys")) as server:
        port = server.port if scheme == "https" else server.target.rpartition(":")[2]
        options = {"key": key, "ca": tmp_path / "ca.pem", "timeout": 60, "proxy": f"http://me:pw%40@{proxy.address}"}
        with Client(head, f"{scheme}://{HOST}:{port}", **options) as client:
            answer = client.predict(chips()[:1], face="given")
        with Client(head, f"{scheme}://127.0.0.1:{port}", **{**options, "timeout": 2, "attempts": 1}) as client:
            with pytest.raises(ConnectionError):  # straight there, where the certificate is another host's
                client.predict(chips()[:1], face="given")
        assert proxy.requests == [f"CONNECT {HOST}:{port} HTTP/1.1".encode()]
        other = f"{scheme}://other.example:{port}"
        with Client(head, other, **{**options, "timeout": 2, "attempts": 1}) as client, pytest.raises(ConnectionError):
            client.predict(chips()[:1], face="given")  # through the proxy, and again another host's certificate
    assert answer[0].label in head.classes
    assert proxy.requests[1] == f"CONNECT other.example:{port} HTTP/1.1".encode()
    assert re.search(rb"(?i)\r\nproxy-authorization: ?basic bWU6cHdA\r\n", proxy.seen[0])  # me:pw@
    told = b"".join(one for one in proxy.seen if not one.startswith(b"CONNECT "))
    assert key.encode() not in told and b"uthorization" not in told and b"features" not in told


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_proxy_without_tls_is_refused(head, scheme):
    with pytest.raises(ConfigError, match="in the clear"):
        Client(head, f"{scheme}://cloud:8501", proxy="http://proxy:3128")
    Client(head, f"{scheme}://127.0.0.1:8501", proxy="http://proxy:3128").close()  # is not used


@pytest.mark.parametrize("address", ["https://cloud:8501", "grpcs://cloud:8500"])
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ("ftp://proxy:21", "ftp:// is not supported"),
        ("proxy:3128", "proxy's address is invalid|proxy:// is not supported"),
        ("http://", "proxy's address is invalid"),
        ("http://proxy:x", "proxy's address is invalid"),
        ("", "proxy's address is invalid"),
        (7, "proxy's address is invalid"),
    ],
)
def test_a_proxy_that_cannot_be(head, address, wrong, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Client(head, address, proxy=wrong)


def test_a_socks_proxy(head, monkeypatch):
    with pytest.raises(ConfigError, match="socks5:// is not supported; give one over http://"):
        Client(head, "grpcs://cloud:8500", proxy="socks5://proxy:1080")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(MissingExtraError, match="pip install socksio"):
        Client(head, "https://cloud:8501", proxy="socks5://proxy:1080")


def test_the_proxys_password_is_not_shown(head):
    from privzoo.edge.access import Access

    assert "secret" not in repr(Access(proxy="http://me:secret@proxy:3128"))
    with pytest.raises(ConfigError) as refused:
        Client(head, "https://cloud:8501", proxy="http://me:secret@:x")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("noise", ["", "localhost,127.0.0.1", "*"])
def test_the_demo_works_whatever_the_environment_says(noise, tmp_path):
    """It starts a server and asks it, both on this machine."""
    nowhere = {name: "http://127.0.0.1:9" for name in ENVIRONMENT}
    nowhere |= {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9", "NO_PROXY": noise}
    done = subprocess.run(
        [sys.executable, "-m", "privzoo", "demo", "--json"],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "address",
    [
        "http://me:secret@cloud:8501",
        "https://me:secret@cloud:8501/at",
        "http://me:secret@127.0.0.1:8501",
        "http://secret@cloud",
        "http://me:secret@:x",
        "grpc://me:secret@cloud:8500",
        "grpcs://me:secret@cloud:8500",
        "me:secret@cloud:8501",
        b"http://me:secret@cloud",
    ],
)
def test_an_address_holds_no_password(head, address):
    """It would be sent without TLS, and stand in every error."""
    for kind in (Client, AsyncClient):
        with pytest.raises(ConfigError, match="user name or password in it.*key=") as refused:
            kind(head, address)
        assert "secret" not in str(refused.value)


def test_a_sign_in_an_addresss_path_is_no_password(head):
    Client(head, "http://cloud:8501/team@a").close()


def test_a_closed_client_says_so(head):
    async def ask(address):
        client = AsyncClient(head, address)
        await client.close()
        with pytest.raises(ConfigError, match="is closed"):
            await client.predict(chips()[:1], face="given")

    for address in ("http://127.0.0.1:1", "grpc://127.0.0.1:1"):
        client = Client(head, address)
        client.close()
        client.close()
        with pytest.raises(ConfigError, match="is closed"):
            client.predict(chips()[:1], face="given")
        with pytest.raises(ConfigError, match="is closed"):
            next(client.stream([chips()[0]], face="given"))
        asyncio.run(ask(address))

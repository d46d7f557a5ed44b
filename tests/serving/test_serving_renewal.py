"""Certificates that change or expire while the server runs."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import time

import pytest
from serving_helpers import pem_config

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")
grpc = pytest.importorskip("grpc")
trustme = pytest.importorskip("trustme")


def test_a_new_certificate_is_taken_while_the_server_runs(folder, tmp_path):
    from cryptography import x509

    from privzoo.serving import Server

    authority, day = trustme.CA(), datetime.datetime(2090, 1, 31, tzinfo=datetime.timezone.utc)
    first, second = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1", not_after=day)
    file = pem_config(tmp_path / "tls", first)

    def last_days(server):
        """Of the certificates that the two ports show."""
        for address in (server.url.rpartition("/")[2], server.grpc):
            host, port = address.split(":")
            context = ssl.create_default_context()
            authority.configure_trust(context)
            context.set_alpn_protocols(["h2"])
            with socket.create_connection((host, int(port))) as plain:
                with context.wrap_socket(plain, server_hostname=host) as shown:
                    yield x509.load_der_x509_certificate(shown.getpeercert(True)).not_valid_after_utc

    with Server(folder / "half", "half", ["--ssl_config_file", str(file)], timeout=300) as server:
        before = list(last_days(server))
        assert before[0] == before[1] != day
        file.write_text("nonsense")  # somebody still writes
        time.sleep(2.5)
        assert list(last_days(server)) == before
        pem_config(tmp_path / "new", second)
        os.replace(tmp_path / "new", file)
        deadline = time.monotonic() + 120
        while list(last_days(server)) != [day, day]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        (tmp_path / "new").write_text(file.read_text() + "client_verify: true\ncustom_ca: 'x'\n")
        os.replace(tmp_path / "new", file)  # who may ask does not change without a restart
        time.sleep(2.5)
        assert list(last_days(server)) == [day, day]


def test_a_certificate_that_expires_is_said_once(tmp_path, caplog, monkeypatch):
    from privzoo.serving.front import tls

    day = datetime.datetime(2090, 1, 31, tzinfo=datetime.timezone.utc)
    renewal = tls.Renewal(pem_config(tmp_path / "tls", trustme.CA().issue_cert("127.0.0.1", not_after=day)))
    renewal.look()
    assert not caplog.text

    class Later(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.datetime(2190, 1, 1, tzinfo=zone)

    monkeypatch.setattr(tls.datetime, "datetime", Later)
    for _ in range(3):
        renewal.look()
    assert caplog.text.count("expired on 2090-01-31; renew it") == 1

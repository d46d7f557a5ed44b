"""TLS and mutual TLS, from the file of `--ssl_config_file` as TF Serving has it.

The file is the text of an SSLConfig: `server_key`, `server_cert` and `custom_ca` hold PEM text, not paths;
`client_verify: true` asks every client for a certificate of `custom_ca`.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privzoo.errors import ConfigError
from privzoo.serving.models.folders import file_stamp
from privzoo.serving.wire import textproto

_log = logging.getLogger(__name__)
FLAG = "ssl_config_file"
LOOK_SECONDS = 1.0  # between two checks for a new certificate


@dataclass(frozen=True)
class Tls:
    """Certificates of a server."""

    key: bytes = field(repr=False)  # PEM
    certificate: bytes  # PEM, with the intermediate certificates
    authority: bytes  # PEM; empty: the system's
    verify: bool  # clients must present a certificate too

    def context(self) -> ssl.SSLContext:
        """What the REST interface needs.

        Raises:
            ConfigError: key and certificate do not match, or are not PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.load(context)
        if self.verify:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(cadata=self.authority.decode("ascii"))
            except (ssl.SSLError, ValueError):
                raise ConfigError(f"custom_ca of --{FLAG} is not a PEM certificate; correct it.") from None
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Puts key and certificate into a context, for connections from now on.

        Raises:
            ConfigError: as `context`.
        """
        # The ssl module reads files only; these are deleted before anyone could open them.
        with tempfile.TemporaryDirectory(prefix="privzoo-tls-") as folder:
            key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
            certificate.write_bytes(self.certificate)
            with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(self.key)
            try:
                context.load_cert_chain(certificate, key, password="")
            except (ssl.SSLError, ValueError, OSError):
                raise ConfigError(
                    f"server_key and server_cert of --{FLAG} are not PEM, or do not match; correct them."
                ) from None

    def grpc_configuration(self) -> Any:
        """Key, certificate and authority for the gRPC interface."""
        import grpc

        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.authority or None)

    def grpc_credentials(self) -> Any:
        """What the gRPC interface needs, if its certificate never changes."""
        import grpc

        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.authority or None, self.verify)


class Renewal:
    """A running server's certificate, kept up to date with its file; belongs to one event loop.

    Args:
        path: of `--ssl_config_file`.

    Raises:
        ConfigError: as `read_tls`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.tls = Path(path), read_tls(path)
        self.context = self.tls.context()
        self._seen, self._expired = file_stamp(self.path), False

    def grpc_credentials(self) -> Any:
        """What the gRPC interface needs; it asks for the certificate at every new connection."""
        import grpc

        given = self.tls

        def newest() -> Any:
            nonlocal given
            if given is self.tls:
                return None
            given = self.tls
            return given.grpc_configuration()

        return grpc.dynamic_ssl_server_credentials(given.grpc_configuration(), newest, given.verify)

    async def watch(self) -> None:
        """Looks for a new certificate, and whether the old one has expired, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Loads the file's key and certificate if it has changed; open connections keep theirs."""
        stamp = file_stamp(self.path)
        if stamp != self._seen:
            self._seen = stamp
            try:
                found = read_tls(self.path)
                if (found.authority, found.verify) != (self.tls.authority, self.tls.verify):
                    raise ConfigError(f"custom_ca or client_verify in {self.path} has changed; restart the server.")
                found.load(self.context)
                self.tls, self._expired = found, False
                _log.info("The certificate in %s is in use.", self.path)
            except ConfigError as error:  # half-written, perhaps
                _log.error("%s The previous certificate stays in use.", error)
        if not self._expired:
            try:
                _check_time(self.tls.certificate, self.path)
            except ConfigError as error:
                self._expired = True
                _log.error("%s", error)


def read_tls(path: str | os.PathLike[str]) -> Tls:
    """Reads the file of `--ssl_config_file`.

    Raises:
        ConfigError: a file that is not an SSLConfig, lacks what it needs, or has an expired or future certificate.
    """
    message = textproto.read("SSLConfig", path, FLAG)
    if not message.server_key or not message.server_cert:
        raise ConfigError(f"The file {path} of --{FLAG} lacks server_key or server_cert; write their PEM text in it.")
    if message.client_verify and not message.custom_ca:
        raise ConfigError(f"The file {path} of --{FLAG} has client_verify but no custom_ca to verify with; add it.")
    tls = Tls(
        message.server_key.encode(), message.server_cert.encode(), message.custom_ca.encode(), message.client_verify
    )
    _check_time(tls.certificate, path)
    tls.context()
    return tls


def _check_time(pem: bytes, path: str | os.PathLike[str]) -> None:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ConfigError(f"server_cert in {path} of --{FLAG} is not a PEM certificate; correct it.") from None
    now = datetime.datetime.now(datetime.timezone.utc)
    if now > certificate.not_valid_after_utc:
        day = certificate.not_valid_after_utc.date()
        raise ConfigError(f"The certificate in {path} of --{FLAG} expired on {day}; renew it.")
    if now < certificate.not_valid_before_utc:
        day = certificate.not_valid_before_utc.date()
        raise ConfigError(f"The certificate in {path} of --{FLAG} is not valid before {day}; check the clock.")

"""Where a client sends features, how, and with which credentials: the model, proxy, key, certificates."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from privzoo import checks, texts
from privzoo.errors import ConfigError, FeatureError, MismatchError, ServerError
from privzoo.outputs import ATTRIBUTES, CLASS, Output

_STEP, _MOST_STEPS = 1 / 256, 64  # of an int8 tail's probabilities; a sum may be off by at most this many steps
_ROUNDING = 1e-3  # tolerance for tails in float16 and float32
OUTPUT = "probabilities"  # name of a tail's output
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_BEFORE_HOST = re.compile(r"[^/?#@]*?:/*")  # an address's scheme, or what stands in its place


@dataclass(frozen=True)
class Target:
    """A tail on a server.

    Raises:
        ConfigError: an invalid name or version.
    """

    model: str  # its name on the server
    version: int | None  # None: the newest
    signature: str  # to run
    feature: str  # name of its input
    classes: int  # numbers that one feature gives
    budget: str | None = None  # name of the input for epsilon, of a coded model, whose features are (symbol, epsilon)
    output: str = OUTPUT  # name of what it gives; any but this is numbers that are no probabilities
    encoding: str | None = None  # in which features are packed, of a tail for mixtures; None: float32
    kind: Output = CLASS  # what the probabilities are of: classes, which add up to 1, or attributes

    def __post_init__(self) -> None:
        """Checks names and version."""
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(f"model_name={self.model!r} is invalid; give the name that the server uses.")
        for name in ("model", "signature", "feature", "budget"):
            text = getattr(self, name)
            if isinstance(text, str) and texts.storable(text) != text:  # no request can carry it
                raise ConfigError(f"{name}={text!r} cannot be sent; give a name that is valid UTF-8.")
        if self.version is not None:
            object.__setattr__(self, "version", checks.count("version", self.version, least=0))

    @property
    def what(self) -> str:
        """Its name in errors."""
        return f"model {self.model!r}" + ("" if self.version is None else f" version {self.version}")

    def mismatch(self, url: str) -> MismatchError:
        """The error for a server whose tail is another head's."""
        return MismatchError(
            f"The {self.what} at {url} is not the tail of this head: it lacks the signature {self.signature!r}; "
            "serve the tail that was exported with this head."
        )

    def missing(self, url: str, reason: str) -> MismatchError:
        """The error for a server that has no such model or version."""
        return MismatchError(f"The server at {url} has no {self.what} ({reason}); check name and version.")

    def most_bytes(self, count: int) -> int:
        """Maximum bytes of an answer for so many features, in either protocol, with a margin."""
        return 2**20 + 64 * count * self.classes

    def checked(self, outputs: np.ndarray | None, count: int, url: str) -> np.ndarray:
        """The probabilities of an answer, float32 (count, classes).

        They may be off by an int8 tail's rounding, whose step is 1/256.

        Raises:
            ServerError: they are not probabilities.
        """
        if outputs is None:
            raise self.unusable("no rows of numbers", count, url)
        flaw = self._flaw(outputs, count)
        if flaw:
            raise self.unusable(flaw, count, url)
        return outputs

    def unusable(self, found: str, count: int, url: str) -> ServerError:
        """The error for an answer that is not a prediction.

        Args:
            found: what it is instead, such as "more than 9 bytes".
            count: features sent.
            url: of the server.
        """
        wanted = "probabilities" if self.output == OUTPUT else "numbers"
        return ServerError(
            f"The server at {url} answered with something other than {count} x {self.classes} {wanted} ({found}); "
            f"check that {self.what} is this head's tail."
        )

    def _flaw(self, outputs: np.ndarray, count: int) -> str | None:
        if outputs.shape != (count, self.classes):
            return f"numbers of shape {outputs.shape}"
        if not np.isfinite(outputs).all():
            return "values that are not finite"
        if self.output != OUTPUT:
            return None
        worst = outputs.flat[np.abs(outputs - 0.5).argmax()]
        if abs(worst - 0.5) > 0.5 + _STEP + _ROUNDING:
            return f"a value of {worst:.6g}, which is not a probability"
        if self.kind == ATTRIBUTES:
            return None
        sums = outputs.sum(1, dtype=np.float64)
        worst = sums[np.abs(sums - 1).argmax()]
        if abs(worst - 1) > _STEP * min(self.classes, _MOST_STEPS) + _ROUNDING:
            return f"probabilities of one input that add up to {worst:.6g}"
        return None


def check_finite(features: np.ndarray) -> None:
    """Raises FeatureError, before anything is sent, if a value is not finite."""
    if not np.isfinite(features).all():
        raise FeatureError("A feature has values that are not finite; it was not sent.")


def check_open(closed: bool) -> None:
    """Raises ConfigError for a client that is closed."""
    if closed:
        raise ConfigError("This client is closed; make a new one.")


def check_no_password(url: Any) -> None:
    """Refuses an address with a user's name or password in it: it would be sent without TLS, and shown in errors.

    Raises:
        ConfigError: there is one; the sentence does not repeat the address.
    """
    text = str(url)
    found = _BEFORE_HOST.match(text)
    place = re.split(r"[/?#]", text[found.end() if found else 0 :], maxsplit=1)[0]
    if "@" in place:
        raise ConfigError(
            "The server's address has a user name or password in it, which are not supported; give the address without "
            "them, and the server's key as key=..."
        )


@dataclass(frozen=True)
class Access:
    """The client's credentials, and which servers it trusts."""

    key: str | None = field(default=None, repr=False)  # API key; sent as authorization: Bearer KEY
    ca: str | os.PathLike[str] | None = None  # PEM file of the authority to trust; None: the system's
    certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None  # own PEM files: chain, key
    # Address of the proxy that carries TLS to the server. The environment's HTTP_PROXY and the like are never read: a
    # proxy sees all of a plain request, key and feature included.
    proxy: str | None = field(default=None, repr=False)

    def check(self, url: str, host: str, secure: bool) -> None:
        """Refuses to send secrets that would be readable on the way to an address.

        Raises:
            ConfigError: a key over an unencrypted connection to another machine, or a key that no header can hold.
        """
        if self.key is not None and (
            not isinstance(self.key, str) or not self.key or not self.key.isascii() or not self.key.isprintable()
        ):
            raise ConfigError("The key is invalid; give the key that the server's operator issued.")
        if not secure and (self.ca is not None or self.certificate is not None):
            raise ConfigError(f"{url} has no TLS for the certificates; write https:// or grpcs:// in it.")
        if self.key is not None and not secure and not is_this_machine(host):
            raise ConfigError(f"The key would travel in the clear to {url}; write https:// or grpcs:// in it.")
        if self.proxy is not None and not secure and not is_this_machine(host):
            raise ConfigError(
                f"Through a proxy, key and features would travel in the clear to {url}; write https:// or grpcs:// in "
                "it, or leave the proxy out."
            )

    def proxy_to(self, host: str, schemes: tuple[str, ...] = PROXY_SCHEMES) -> str | None:
        """The proxy for a host; None if there is none, and always for this machine itself.

        Args:
            host: name or address of the server.
            schemes: of proxies that the protocol's library supports.

        Raises:
            ConfigError: an invalid address, or an unsupported kind of proxy.
        """
        if self.proxy is None:
            return None
        try:
            address = urlsplit(self.proxy)
            usable = bool(address.hostname) and (address.port or 1) > 0
        except (ValueError, TypeError, AttributeError):
            usable = False
        if not usable:
            # Not repeated: it may hold a password.
            raise ConfigError("The proxy's address is invalid; give one such as http://proxy:3128.")
        if address.scheme not in schemes:
            known = ", ".join(f"{scheme}://" for scheme in schemes)
            raise ConfigError(f"A proxy over {address.scheme}:// is not supported; give one over {known}.")
        return None if is_this_machine(host) else self.proxy

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {} if self.key is None else {"authorization": f"Bearer {self.key}"}

    def context(self) -> ssl.SSLContext:
        """For HTTPS.

        Raises:
            ConfigError: a file that cannot be read, or is not PEM.
        """
        self._files()  # reports which of them cannot be read
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else os.fspath(self.ca))
            if self.certificate is not None:
                certificate, key = self.certificate
                context.load_cert_chain(os.fspath(certificate), os.fspath(key), password="")
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"The certificates {self.ca}, {self.certificate} cannot be used ({type(error).__name__}); "
                "give matching PEM files."
            ) from None
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """For gRPC: authority, own key, own chain.

        Raises:
            ConfigError: a file that cannot be read, or is not PEM.
        """
        self.context()
        authority, key, chain = self._files()
        return authority, key, chain

    def _files(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        if self.certificate is not None and not (
            isinstance(self.certificate, tuple | list) and len(self.certificate) == 2
        ):
            raise ConfigError("The certificate is invalid; give the paths of two PEM files: certificate, then key.")
        chain, key = self.certificate or (None, None)
        found = []
        for name, path in (("ca", self.ca), ("certificate", key), ("certificate", chain)):
            try:
                found.append(None if path is None else checks.path(name, path).read_bytes())
            except OSError as error:
                raise ConfigError(f"{path} cannot be read: {error.strerror or error}; check the path.") from None
        return found[0], found[1], found[2]


def is_this_machine(host: str) -> bool:
    """Whether a name or address is the loopback interface's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""API keys: who may use the server.

A key file has one key per line: `NAME ROLE SHA256 [UNTIL]`, `#` starts a comment. ROLE is `predict`, or `admin` for
those who may also load models; UNTIL is the last day (`2027-01-31`) on which the key is valid. The file holds hashes
only: keys are 256 random bits, for which one SHA-256 is enough. To rotate keys, add the new one, issue it, and remove
the old one; the server sees the changed file within a second.

Example: `python -m privzoo.serving.keys phone-app >> keys.txt` shows a new key on standard error, once.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import hmac
import logging
import os
import re
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from privzoo import checks
from privzoo.errors import ConfigError
from privzoo.serving.models.folders import file_stamp
from privzoo.serving.wire.refusal import Refusal

_log = logging.getLogger(__name__)
ROLES = ("predict", "admin")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOK_SECONDS = 1.0  # between two checks whether the file has changed
_LONGEST = 512  # characters of a key that are read


@dataclass(frozen=True)
class Key:
    """One line of a key file."""

    name: str
    role: str
    sha256: bytes
    until: datetime.date | None  # the last day on which it is valid, in UTC


def new_key(name: str, role: str = "predict", until: datetime.date | None = None) -> tuple[str, str]:
    """Creates a key.

    Args:
        name: who gets it, for people to read.
        role: "predict" or "admin".
        until: the last day on which it is valid.

    Returns:
        The key, for the client, and its line, for the key file.

    Raises:
        ConfigError: an invalid name or role.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"The key's name {name!r} is invalid; use letters, digits, dots, dashes and underscores.")
    if role not in ROLES:
        raise ConfigError(f"The role {role!r} is invalid; use one of {', '.join(ROLES)}.")
    key = "pz_" + secrets.token_urlsafe(32)
    line = f"{name} {role} {hashlib.sha256(key.encode()).hexdigest()}"
    return key, line if until is None else f"{line} {until.isoformat()}"


def read_keys(path: str | os.PathLike[str]) -> tuple[Key, ...]:
    """Reads a key file.

    Raises:
        ConfigError: a file that cannot be read, has a wrong line, or has no key.
    """
    try:
        lines = checks.local_path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The key file {path} is not text; write NAME ROLE SHA256 lines in it.") from None
    keys = []
    for number, line in enumerate(lines, start=1):
        parts = line.split("#", 1)[0].split()
        if not parts:
            continue
        try:
            name, role, digest, *rest = parts
            until = datetime.date.fromisoformat(rest[0]) if rest else None
            right = _NAME.fullmatch(name) and role in ROLES and _SHA256.fullmatch(digest) and len(rest) < 2
        except ValueError:
            right = False
        if not right:
            raise ConfigError(
                f"Line {number} of the key file {path} is not of the form NAME ROLE SHA256 [UNTIL]; correct it."
            )
        keys.append(Key(name, role, bytes.fromhex(digest), until))
    if not keys:
        raise ConfigError(f"The key file {path} has no key in it; add one with python -m privzoo.serving.keys NAME.")
    return tuple(keys)


class Keys:
    """The keys of a key file, kept up to date with it.

    Args:
        path: of the file.

    Raises:
        ConfigError: the file cannot be read, or is invalid.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._noted = -_LOOK_SECONDS
        self._seen = file_stamp(self.path)
        self._looked = time.monotonic()
        self._keys = read_keys(path)

    def check(self, header: str | None, role: str = "predict") -> str:
        """Admits a request, or refuses it.

        Args:
            header: `Bearer KEY`, or the key alone, as the client sent it.
            role: the role that the request needs.

        Returns:
            The key's name.

        Raises:
            Refusal: UNAUTHENTICATED without a valid key, PERMISSION_DENIED if its role is not enough.
        """
        self._refresh()
        given = (header or "").strip()
        if given[:7].lower() == "bearer ":
            given = given[7:].strip()
        if not given:
            self._note("no key")
            raise Refusal("UNAUTHENTICATED", "This server needs an API key; send it as authorization: Bearer KEY.")
        digest = hashlib.sha256(given[:_LONGEST].encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in self._keys:  # every one, so that the time reveals nothing about which one matched
            if hmac.compare_digest(digest, key.sha256):
                found = key
        today = datetime.datetime.now(datetime.timezone.utc).date()
        if found is None or (found.until is not None and today > found.until):
            self._note("an unknown key" if found is None else f"the key of {found.name}, which is no longer valid")
            raise Refusal("UNAUTHENTICATED", "The API key is unknown or no longer valid; ask the operator for another.")
        if role == "admin" and found.role != "admin":
            raise Refusal("PERMISSION_DENIED", "This API key may not change the server's models; use an admin's.")
        return found.name

    def _note(self, what: str) -> None:
        now = time.monotonic()
        if now - self._noted >= _LOOK_SECONDS:  # someone guessing keys must not fill the disk
            self._noted = now
            _log.warning("A request came with %s, and was refused.", what)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = now
            stamp = file_stamp(self.path)
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._keys = read_keys(self.path)
                except ConfigError as error:  # half-written, perhaps: the previous keys stay valid
                    _log.error("%s The previous keys stay valid.", error)
        finally:
            self._lock.release()


def main() -> int:
    """`python -m privzoo.serving.keys NAME`: prints a line for the key file, and the key on standard error."""
    parser = argparse.ArgumentParser(prog="python -m privzoo.serving.keys", description=main.__doc__)
    parser.add_argument("name", help="who gets it")
    parser.add_argument("--role", choices=ROLES, default="predict", help="admin: may also load models")
    parser.add_argument("--until", type=datetime.date.fromisoformat, metavar="DAY", help="last day, such as 2027-01-31")
    options = parser.parse_args()
    try:
        key, line = new_key(options.name, options.role, options.until)
    except ConfigError as error:
        print(f"privzoo: {error}", file=sys.stderr)
        return 2
    print(line)
    print(f"The key, shown only this once: {key}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

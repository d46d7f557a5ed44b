"""Permanent answers: a symbol's response is drawn once and repeated, against averaging (after RAPPOR, 2014).

The device keeps a secret of 32 random bytes. The answer to a true symbol in a slot (the caller's: a person, a day)
under a codebook and a budget is randomized response whose random bytes are derived instead of drawn: HMAC-SHA256 under
the secret, over slot, book, k, budget, symbol and a counter. Nothing is stored; the same question has the same answer.

The guarantee. Any number of queries about one photograph reveal no more than one randomized response: epsilon. In
general, take two sequences of true symbols in one slot with the same pattern of equal symbols, each with d different
ones, d <= min(queries, k): the probabilities of any answers differ by at most the factor e^(d epsilon), however many
queries there were.

The proof. Taking HMAC-SHA256 as a random function (it is one for anyone without the secret, as far as is known),
the answers are R(s_1), ..., R(s_n), where R(0), ..., R(k - 1) are independent randomized responses of each symbol.
Equal symbols have equal answers, so the likelihood of all answers is a product of d factors, one for each different
symbol, or 0, for both sequences alike, if equal symbols had unequal answers. Each factor differs between the two by at
most e^epsilon.

What it does not cover, and costs. *Which of a slot's queries had equal symbols* is not hidden: unequal answers prove
unequal symbols, and no epsilon bounds that. Answers are linkable: anyone who receives a slot's repeated answers
recognises the slot, so that colluding services can identify a device, and a person on it; under two budgets or
codebooks the answers are independent, and their epsilons add up. A new slot is a new draw, and adds to the total.
Anyone who reads the secret can undo every answer: it stays on the device, in a file that only its owner may read.

In the ledger. A true symbol costs epsilon when it is first asked about in a slot, and nothing when it recurs: in total
d epsilon per slot, as proved above. For that the ledger keeps a tag of each answered symbol, also derived from the
secret, which reveals neither slot nor symbol to anyone without it. Whether the total has room for a query then depends
on which of the slot's queries had equal symbols, which is not hidden in any case.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo import checks
from privzoo.errors import ConfigError
from privzoo.files import PART
from privzoo.mechanisms.randomized_response import RandomizedResponse, Source, check_symbols

if TYPE_CHECKING:
    from pathlib import Path

SECRET_BYTES = 32
_PURPOSE, _TAG = b"privzoo permanent 1", b"privzoo spent 1"


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """The device's secret; it is created if missing, once, whichever process comes first.

    Args:
        path: of the file, which only its owner may read.

    Raises:
        ConfigError: the file cannot be created or read, is not a secret, or others may read it.
    """
    path = checks.path("permanent", path)
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"Others may read the secret {path}; restrict it to its owner (chmod 600).")
        secret = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"The secret {path} cannot be used ({reason}); give a file that can be written.") from None
    if len(secret) != SECRET_BYTES:
        raise ConfigError(f"{path} has {len(secret)} bytes and is not a secret of {SECRET_BYTES}; choose another file.")
    return secret


def _make(path: Path) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link fails if another process was faster; a rename would replace its secret.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Permanent:
    """The permanent answers of one head on one device; `at` gives those of a slot.

    Args:
        response: the code's size and the budget.
        secret: of `read_secret`.
        book: name of the codebook.
    """

    response: RandomizedResponse
    secret: bytes = field(repr=False)
    book: str

    def at(self, slot: Any) -> PermanentResponse:
        """The answers of a slot.

        Raises:
            ConfigError: it is not text, or empty.
        """
        return PermanentResponse(self.response, self.secret, slot, self.book)


def permanent(path: str | os.PathLike[str] | None, noise: Any, book: str | None, of: str) -> Permanent | None:
    """Permanent answers by the secret in a file; None for no file.

    Args:
        path: of the file, created if missing; None: each answer is a fresh draw.
        noise: the mechanism of a model or head.
        book: name of its codebook; None: it has no code.
        of: what the sentence calls it.

    Raises:
        ConfigError: as for `read_secret`; or there is no code whose answers could be repeated.
    """
    if path is None:
        return None
    if book is None:
        raise ConfigError(f"{of} has no code, so its answers cannot be permanent; use a coded one.")
    return Permanent(noise, read_secret(path), book)


def at(answers: Permanent | None, slot: Any) -> PermanentResponse | None:
    """The permanent answers of a slot, or None if answers are fresh draws.

    Raises:
        ConfigError: a slot without permanent answers, or none with them.
    """
    if answers is not None:
        if slot is None:
            raise ConfigError("Permanent answers belong to a slot, such as a person or a day; give slot=NAME.")
        return answers.at(slot)
    if slot is not None:
        raise ConfigError(f"slot={slot!r} needs permanent answers, which repeat in it; give permanent=FILE.")
    return None


@dataclass(frozen=True)
class PermanentResponse:
    """Randomized response whose answers in a slot are always the same (module docstring: the guarantee and its price).

    Args:
        response: the code's size and the budget.
        secret: of `read_secret`.
        slot: whose answers these are: a person, a day, a service, as the caller chooses.
        book: name of the codebook, so that another model's answers are independent.

    Raises:
        ConfigError: no secret, or a slot or book that is not text.

    Example:
        >>> answers = PermanentResponse(RandomizedResponse(2, 1.0), bytes(32), "anna, Monday", "book").send([1, 1, 1])
        >>> len(set(answers.tolist()))
        1
    """

    response: RandomizedResponse
    secret: bytes
    slot: str
    book: str

    def __post_init__(self) -> None:
        """Refuses an invalid secret, slot or book."""
        if not (isinstance(self.secret, bytes) and len(self.secret) == SECRET_BYTES):
            raise ConfigError(f"A secret has {SECRET_BYTES} bytes; take it from read_secret.")
        for what, text in (("slot", self.slot), ("book", self.book)):
            if not (isinstance(text, str) and text and _encodes(text)):
                raise ConfigError(f"{what}={text!r} is invalid; give a non-empty string.")

    def __repr__(self) -> str:
        """All but the secret."""
        return f"PermanentResponse({self.response!r}, slot={self.slot!r}, book={self.book!r})"

    def send(self, symbols: Any) -> np.ndarray:
        """What may leave the device for true symbols, whole numbers (N,): uint8 (N,), the same at each call.

        Raises:
            FeatureError: symbols of another code, or no symbols.
        """
        wanted = check_symbols(symbols, self.response.k)
        table = {true: self.response.draw(true, self._source(true)) for true in set(wanted.tolist())}
        return np.array([table[true] for true in wanted.tolist()], np.uint8)

    def answers(self, symbols: Any) -> np.ndarray:
        """What may leave the device, with the budget that the tail needs; like `RandomizedResponse.answers`."""
        return self.response.with_budget(self.send(symbols))

    def tags(self, symbols: Any) -> list[bytes]:
        """The ledger's tag of each answer, 16 bytes: equal for equal symbols, and revealing nothing else."""
        wanted = check_symbols(symbols, self.response.k)
        return [hmac.digest(self.secret, self._question(_TAG, int(true)), "sha256")[:16] for true in wanted]

    def drawn(self) -> dict[str, Any]:
        """What an answer reports about its draw, like `RandomizedResponse.drawn`, and its slot."""
        return {**self.response.drawn(), "slot": self.slot}

    def _source(self, symbol: int) -> Source:
        """Bytes of HMAC-SHA256 in counter mode; see `docs/codes.md`."""
        question = self._question(_PURPOSE, symbol)
        kept, counter = b"", 0

        def take(count: int) -> bytes:
            nonlocal kept, counter
            while len(kept) < count:
                kept += hmac.digest(self.secret, question + struct.pack(">I", counter), "sha256")
                counter += 1
            taken, kept = kept[:count], kept[count:]
            return taken

        return take

    def _question(self, purpose: bytes, symbol: int) -> bytes:
        texts = b"".join(struct.pack(">I", len(text)) + text for text in (self.slot.encode(), self.book.encode()))
        return purpose + texts + struct.pack(">HdH", self.response.k, self.response.budget, symbol)


def _encodes(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False

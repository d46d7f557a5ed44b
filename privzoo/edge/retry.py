"""Retries when a server cannot answer now: jittered exponential back-off (tenacity), within a deadline.

Retrying is safe: a prediction changes nothing on the server, so two answers to one feature are the same.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from privzoo import checks
from privzoo.errors import MissingExtraError, ServerUnavailableError

T = TypeVar("T")
FIRST_SECONDS, LONGEST_SECONDS = 0.1, 10.0  # the wait before attempt k is random up to FIRST * 2^(k-1)
MOST_PATIENCE = 60.0  # maximum seconds of a server's Retry-After that are honoured


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Raises:
        ConfigError: an invalid number.
        MissingExtraError: tenacity is not installed.
    """

    timeout: float = 10.0  # seconds for each of connecting, sending and reading in one attempt
    attempts: int = 3  # at most
    deadline: float | None = None  # seconds for all of them and the waits in between; None: no limit

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name in ("timeout", "deadline"):
            value = getattr(self, name)
            if name == "deadline" and value is None:
                continue
            object.__setattr__(self, name, checks.number(name, value, above=0, unit="seconds"))
        object.__setattr__(self, "attempts", checks.count("attempts", self.attempts, least=1))
        try:
            import tenacity  # noqa: F401
        except ImportError:
            raise MissingExtraError("The client needs tenacity; run: pip install tenacity") from None

    def call(self, ask: Callable[[float], T]) -> T:
        """Calls until there is an answer, or gives up.

        Args:
            ask: takes the seconds left for this attempt.

        Raises:
            ServerUnavailableError: the last attempt's.
        """
        import tenacity

        start = time.monotonic()
        return tenacity.Retrying(**self._rules())(lambda: ask(self._left(start)))

    async def call_async(self, ask: Callable[[float], Awaitable[T]]) -> T:
        """As `call`, for coroutines."""
        import tenacity

        start = time.monotonic()

        async def attempt() -> T:
            return await ask(self._left(start))

        return await tenacity.AsyncRetrying(**self._rules())(attempt)

    def _rules(self) -> dict[str, Any]:
        import tenacity

        stop: tenacity.stop.stop_base = tenacity.stop_after_attempt(self.attempts)
        if self.deadline is not None:
            stop = tenacity.stop_any(stop, tenacity.stop_before_delay(self.deadline))
        return {
            "stop": stop,
            "wait": _wait,
            "retry": tenacity.retry_if_exception_type(ServerUnavailableError),
            "reraise": True,
        }

    def _left(self, start: float) -> float:
        if self.deadline is None:
            return self.timeout
        return max(min(self.timeout, start + self.deadline - time.monotonic()), 1e-3)


def unavailable(sentence: str, retry_after: float | None = None) -> ServerUnavailableError:
    """The error for a server that cannot answer now.

    Args:
        sentence: what happened.
        retry_after: seconds to wait, as the server asked.
    """
    error = ServerUnavailableError(sentence)
    error.retry_after = retry_after  # type: ignore[attr-defined]
    return error


def _wait(state: Any) -> float:
    import tenacity

    jittered = tenacity.wait_random_exponential(multiplier=FIRST_SECONDS, max=LONGEST_SECONDS)(state)
    asked = getattr(state.outcome.exception(), "retry_after", None) or 0.0
    return jittered + min(asked, MOST_PATIENCE)

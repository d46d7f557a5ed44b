"""The one exception with which the server refuses a request, and TF Serving's codes for it."""

from __future__ import annotations

# Canonical code -> HTTP status, as TF Serving's REST interface maps them.
HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
# gRPC and TensorFlow number the canonical codes from 1 in this order.
CODES = dict(enumerate(HTTP_STATUS, start=1))


class Refusal(Exception):
    """A request that the server does not answer with a prediction.

    Args:
        code: canonical code, a key of `HTTP_STATUS`.
        sentence: what is wrong, for the client; never the values of a feature.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return HTTP_STATUS[self.code]


def bad_request(sentence: str) -> Refusal:
    """A refusal because the request itself is wrong (HTTP 400)."""
    return Refusal("INVALID_ARGUMENT", sentence)


def not_found(sentence: str) -> Refusal:
    """A refusal because the server has no such model or version (HTTP 404)."""
    return Refusal("NOT_FOUND", sentence)

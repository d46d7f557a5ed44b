"""Results for many photographs or recordings: the answers, and those without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from privzoo.errors import FaceNotFoundError, ImageError, InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Skipped:
    """A photograph or recording that got no answer."""

    image: str  # its path, or its place among those given
    reason: str  # what is wrong and what to do, without the image's name
    faceless: bool = False  # it was read, and no face was found
    kind: type[InputError] = ImageError  # its error, of a photograph or a recording

    def __str__(self) -> str:
        """Name and reason: one sentence."""
        return f"{self.image}: {self.reason}"

    def error(self) -> InputError:
        """The error for it when none may be skipped."""
        return (FaceNotFoundError if self.faceless else self.kind)(str(self))

    def to_dict(self) -> dict[str, str]:
        """Plain data for JSON."""
        return {"image": self.image, "reason": self.reason}


class Answers(list[T]):
    """A list of answers in the order of the photographs or recordings, with those that were skipped.

    There may be fewer answers than photographs, or with `all_faces` more: use each answer's `image` and `number`.

    Args:
        answers: for the faces that were found.
        skipped: the photographs that got none.
    """

    def __init__(self, answers: Iterable[T] = (), skipped: Iterable[Skipped] = ()) -> None:
        super().__init__(answers)
        self.skipped: tuple[Skipped, ...] = tuple(skipped)

    def __repr__(self) -> str:
        """As a list's, with the skipped photographs if any."""
        return f"Answers({super().__repr__()}, skipped={list(self.skipped)})" if self.skipped else super().__repr__()


def require_some(found: Sequence[Any], skipped: Sequence[Skipped], kind: type[InputError] = ImageError) -> None:
    """Raises an error if no photograph or recording is left.

    Args:
        found: what was found in the others.
        skipped: the photographs without a face or a readable image, or the recordings that cannot be used.
        kind: of the error.

    Raises:
        InputError: nothing was given, or none can be used; its `skipped` says why for each. FaceNotFoundError where
            photographs show no face. For a single one it is its own error.
    """
    if found:
        return
    if not skipped:
        raise kind(f"No {kind.noun} was given: the list is empty.")
    if len(skipped) == 1:
        error = skipped[0].error()
    else:
        kind = FaceNotFoundError if all(one.faceless for one in skipped) else skipped[0].kind
        error = kind(f"None of the {len(skipped)} {kind.noun}s can be used; the first one: {skipped[0]}")
    error.skipped = tuple(skipped)
    raise error

"""Results for many photographs: the answers, and the photographs without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from privzoo.errors import FaceNotFoundError, ImageError

T = TypeVar("T")


@dataclass(frozen=True)
class Skipped:
    """A photograph that got no answer."""

    image: str  # its path, or its place among those given
    reason: str  # what is wrong and what to do, without the image's name
    faceless: bool = False  # it was read, and no face was found

    def __str__(self) -> str:
        """Name and reason: one sentence."""
        return f"{self.image}: {self.reason}"

    def error(self) -> ImageError:
        """The error for this photograph when none may be skipped."""
        return (FaceNotFoundError if self.faceless else ImageError)(str(self))

    def to_dict(self) -> dict[str, str]:
        """Plain data for JSON."""
        return {"image": self.image, "reason": self.reason}


class Answers(list[T]):
    """A list of answers in the order of the photographs, with those that were skipped.

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


def require_some(found: Sequence[Any], skipped: Sequence[Skipped]) -> None:
    """Raises an error if no photograph is left.

    Args:
        found: what was found in the others.
        skipped: the photographs without a face or a readable image.

    Raises:
        ImageError: no image was given, or none can be used; its `skipped` says why for each. FaceNotFoundError where
            they show no face. For a single photograph it is that photograph's own error.
    """
    if found:
        return
    if not skipped:
        raise ImageError("No image was given: the list is empty.")
    if len(skipped) == 1:
        error = skipped[0].error()
    else:
        kind = FaceNotFoundError if all(one.faceless for one in skipped) else ImageError
        error = kind(f"None of the {len(skipped)} images can be used; the first one: {skipped[0]}")
    error.skipped = tuple(skipped)
    raise error

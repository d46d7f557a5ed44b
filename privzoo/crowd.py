"""Among whom an attacker looks for a person: without it, the share of people who are identified means little."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Crowd:
    """Equally likely people, of whom one is looked for.

    Example:
        >>> print(SPEAKERS, SPEAKERS.chance)
        30 speakers 3.3%
    """

    people: int
    noun: str = "people"

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.people} {self.noun}"

    @property
    def chance(self) -> str:
        """Share that guessing identifies, as people write it."""
        return f"{100 / self.people:.2g}%"


FACES = Crowd(100)  # LFW-100
SPEAKERS = Crowd(30, "speakers")  # of Arabic Speech Commands

"""What a client gives for each face or recording."""

from __future__ import annotations

from dataclasses import dataclass

from privzoo.faces import Box


@dataclass(frozen=True)
class Answer:
    """The cloud's answer for one face or recording, and what it cost."""

    image: str  # name of the photograph or recording
    face: Box | None  # the face chip's square in it, with the detector's score and the face's rotation; None for speech
    number: int  # which of the photograph's faces it is, from 1: the largest first, doubtful ones last
    faces: int  # how many faces were found in the photograph; 1 for a given chip
    label: str  # the most likely class; of attributes those above 0.5, joined by ", ", or "" (`outputs.label`)
    probabilities: dict[str, float]  # class or attribute -> 0..1
    edge_ms: float  # milliseconds in the head, without finding the face
    cloud_ms: float  # milliseconds of the request, wire included, shared among the faces in it
    bytes_sent: int  # this face's share of the request's body; the shares add up to the bodies sent

    @property
    def score(self) -> float | None:
        """Confidence of the detector, 0 to 1; None for a chip that was given, and for speech."""
        return (self.face.score or None) if self.face else None

    @property
    def rotation(self) -> float | None:
        """Degrees by which the face is rotated clockwise in the photograph; None for a chip that was given."""
        return None if self.face is None or self.score is None else self.face.angle

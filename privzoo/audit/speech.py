"""The speakers of Arabic Speech Commands, for the identity attack on models that take speech, protocol 10."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NoReturn

from privzoo.audit import raw_spectrograms
from privzoo.audit.attacks.identity import check_apart
from privzoo.audit.features import FEW, SHARE, Faces, read
from privzoo.audit.model_audit import Data
from privzoo.crowd import SPEAKERS
from privzoo.data import arabic_speech
from privzoo.data.samples import Sample
from privzoo.errors import ConfigError, DataError

KNOWN = 7  # rounds that the attacker learns from; the later ones are scored
NAME = "arabic_speech"


class SpeechData(Data):
    """Clips of all speakers; nothing but who speaks is known of them, and there are no other speakers.

    Sizes are None everywhere: clips have one. There are no background, no pairs and no mirror images.

    Args:
        root: folder of the data set.
        quick: one clip in `features.SHARE`, but at least `features.FEW` of each speaker.
    """

    attributes = {}
    mirrors = False
    yardstick = "raw_spectrograms"
    kinds = raw_spectrograms.KINDS
    raw_size = None
    raw_view = staticmethod(raw_spectrograms.view)

    def __init__(self, root: str | Path, quick: bool = False) -> None:
        super().__init__(root, quick)
        self.people = functools.cache(lambda size: speakers(root, quick))
        self.choosing = lambda size: _nobody_left()
        self.background = functools.cache(lambda size: None)
        self.pairs = functools.cache(lambda size: None)


def _nobody_left() -> NoReturn:
    raise ConfigError(
        f"All {SPEAKERS} of Arabic Speech Commands are those whom the attack is scored on (protocol 10), so that no "
        "others are left to choose settings on; choose them by accuracy on its validation part."
    )


def speakers(root: str | Path, quick: bool = False) -> tuple[Faces, Faces]:
    """Known and scored clips of protocol 10: rounds 1 to 7, and 8 to 10, of all keywords and all speakers.

    The networks were trained on 18 of the 30 speakers, all of whose rounds they have seen.

    Args:
        root: folder of the data set.
        quick: as for `SpeechData`.

    Raises:
        DataError: the layout is missing, speakers or their rounds are, or a clip is on both sides.
    """
    data = arabic_speech.load(root, split="all")
    sides: tuple[dict[int, list[Sample]], dict[int, list[Sample]]] = ({}, {})
    for sample in data.samples:
        number = sample.labels["round"]
        assert isinstance(number, int), "the loader numbers rounds"
        sides[number > KNOWN].setdefault(sample.person, []).append(sample)
    complete = set(sides[0]) & set(sides[1])
    if len(complete) < SPEAKERS.people:
        raise DataError(
            f"{root} holds recordings of {len(complete)} speakers in rounds up to {KNOWN} and in later ones, and "
            f"{SPEAKERS.people} are wanted: use the whole of Arabic Speech Commands."
        )
    names = (f"{NAME}, rounds 1 to {KNOWN}", f"{NAME}, rounds {KNOWN + 1} to 10")
    known, scored = (
        read([sample for person in sorted(complete) for sample in _some(own[person], quick)], name, None, "identity")
        for own, name in zip(sides, names, strict=True)
    )
    check_apart(known.ids, scored.ids)
    return known, scored


def _some(clips: list[Sample], quick: bool) -> list[Sample]:
    return clips[:: max(1, min(SHARE, len(clips) // FEW))] if quick else clips

"""The people of the user's own data set, for the identity attack, protocol 3 (`docs/own_data.md` says how).

An attack on faces that the network was trained on makes an embedding look more private than it is. So the people are
those of the test part if it has enough of them, otherwise those of the whole data set; the figures' data say which.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import numpy as np

from privzoo.audit.features import FEW, Faces, read
from privzoo.audit.model_audit import Data
from privzoo.audit.speech import SpeechData
from privzoo.config import SPEECH, NetworkConfig
from privzoo.data import Dataset, Sample, splits
from privzoo.errors import DataError

MOST, IMAGES = 100, 40  # people, and images of each, as in LFW-100
ENOUGH = 6  # images of a person: four to learn from, two that are scored
UNSEEN = 10  # people of the test part, if so many, make the others unnecessary
SEEN = "trained on too"
ALSO_MEASURED = "measured on too"


class OwnData(Data):
    """Faces of the user's own people; no other face, and no attribute, is known of them.

    Args:
        network: that was trained on the data.
        root: the data set.
        quick: fewer training faces, no mirror images.
    """

    attributes = {}

    def __init__(self, network: NetworkConfig, root: str | Path, quick: bool = False) -> None:
        super().__init__(root, quick)
        self.people = functools.cache(lambda size: people(network, root, size, quick))
        self.choosing = functools.cache(lambda size: people(network, root, size, quick, choosing=True))
        self.background = functools.cache(lambda size: None)
        self.pairs = functools.cache(lambda size: None)


def data_of(network: NetworkConfig, root: str | Path, quick: bool = False) -> Data:
    """The people on whom models of a network are attacked: of its own data, or the zoo's speakers or faces."""
    if network.input == SPEECH:
        return SpeechData(root, quick)
    return OwnData(network, root, quick) if network.own_data else Data(root, quick)


def people(
    network: NetworkConfig, root: str | Path, size: int, quick: bool = False, choosing: bool = False
) -> tuple[Faces, Faces]:
    """Training and scored faces of the user's own people: those with the most images, every third image scored.

    Args:
        network: the network that was trained on the data.
        root: the data set.
        size: side of the chips in pixels.
        quick: `FEW` training images of a person, and half of the scored ones.
        choosing: select the people on whom settings are chosen: other people if there are `UNSEEN` more; otherwise the
            same, and the names of the faces say so.

    Raises:
        DataError: fewer than two people have `ENOUGH` images, or no people are known.
    """
    data, found = _shown_often(splits.own_people(network, root, unseen=False))
    name = data.facts["folder"]
    seen = f", {SEEN}"
    try:
        apart, unseen = _shown_often(splits.own_people(network, root, unseen=True))
    except DataError:  # no test part
        unseen = []
    if len(unseen) >= UNSEEN:
        data, found, seen = apart, unseen, ""
    chosen = found[:MOST]
    if choosing:
        others = found[MOST : 2 * MOST]
        seen += "" if len(others) >= UNSEEN else f", {ALSO_MEASURED}"
        chosen = others if len(others) >= UNSEEN else chosen
        name += "-choosing"
    if len(chosen) < 2:
        raise DataError(
            f"{root} shows {len(chosen)} people in {ENOUGH} images or more, and {data.facts['people']} in all; an "
            "identity attack needs two: name the files <person>__<number>.jpg, or list them in people.csv with the "
            "columns file and person."
        )
    faces = read([sample for own in chosen for sample in own], name, size, "identity")
    known, scored = _divided(faces, quick)
    if len({*faces.labels["identity"][known]}) < 2:
        raise DataError(f"{root} shows fewer than two people in {ENOUGH} different images that can be read; add some.")
    return _part(faces, known, f"{name}-people-train{seen}"), _part(faces, scored, f"{name}-people-test{seen}")


def _shown_often(data: Dataset) -> tuple[Dataset, list[list[Sample]]]:
    """Images of each person who is shown often enough, those with the most first."""
    own: dict[int, list[Sample]] = {}
    for sample in data.samples:
        if "identity" in sample.labels:
            own.setdefault(sample.person, []).append(sample)
    enough = sorted((-len(images), person) for person, images in own.items() if len(images) >= ENOUGH)
    return data, [own[person][:IMAGES] for _, person in enough]


def _divided(faces: Faces, quick: bool) -> tuple[list[int], list[int]]:
    """Rows to learn from and rows that are scored; a duplicate photograph counts once."""
    first: dict[str, int] = {}
    for row, name in enumerate(faces.ids):
        first.setdefault(name, row)
    rows = sorted(first.values())
    count = Counter(faces.labels["identity"][rows].tolist())
    known, scored = [], []
    for person in dict.fromkeys(faces.labels["identity"].tolist()):
        if count[person] < ENOUGH:
            continue
        own = [row for row in rows if faces.labels["identity"][row] == person]
        learnt, kept = [row for i, row in enumerate(own, 1) if i % 3], own[2::3]
        known += learnt[:FEW] if quick else learnt
        scored += kept[::2] if quick else kept
    return known, scored


def _part(faces: Faces, rows: list[int], name: str) -> Faces:
    labels = {label: np.asarray(values)[rows] for label, values in faces.labels.items()}
    return Faces(name, faces.chips[rows], labels, tuple(faces.ids[row] for row in rows))

"""Pairs of faces for Siamese training: similar ones share the primary class and never the identity.

Osia et al. 2017, section III.A: pulling together faces of one class but different people is what hides identity.
"""

from __future__ import annotations

import numpy as np

from privzoo.errors import DataError


class Pairs:
    """Draws pairs that depend only on the seed and the epoch, so that a resumed run repeats them.

    Args:
        classes: primary class of each face, int (N,).
        identities: identity of each face, any type (N,); None if nobody knows, as in UTKFace: then every file counts as
            a separate person, and a pair may show one person in two photographs.
        seed: of the run.

    Raises:
        DataError: there is only one class, or a class with only one person.
    """

    def __init__(self, classes: np.ndarray, identities: np.ndarray | None, seed: int):
        self.classes = np.unique(classes, return_inverse=True)[1]
        people = np.arange(len(classes)) if identities is None else np.unique(identities, return_inverse=True)[1]
        self.count, self.people, self.seed = int(self.classes.max()) + 1, people, seed
        # Faces sorted by class, and by person within it: the faces of a person in a class form one block.
        key = self.classes * (people.max() + 1) + people
        self.order = np.argsort(key, kind="stable")
        self.sorted = key[self.order]
        self.starts = np.searchsorted(self.classes[self.order], np.arange(self.count + 1))
        everyone = np.repeat(np.arange(len(classes)), self.count)
        if self.count < 2 or self._others(everyone, np.tile(np.arange(self.count), len(classes)))[2].min() < 1:
            raise DataError(
                "No pairs can be drawn: they need two classes with two people each, or more; give more faces."
            )

    def _others(self, faces: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the person of each face stands in the wanted class: start and end of the block, and others there."""
        key = wanted * (self.people.max() + 1) + self.people[faces]
        start, end = np.searchsorted(self.sorted, key), np.searchsorted(self.sorted, key, side="right")
        return start, end, self.starts[wanted + 1] - self.starts[wanted] - (end - start)

    def draw(self, faces: np.ndarray, similar: float, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """A partner for each face.

        Args:
            faces: their numbers, int (P,).
            similar: share of partners of the same class; the others' classes are drawn evenly.
            epoch: counted from 0.

        Returns:
            Numbers of the partners, int (P,), each of another person; and whether the pair is similar, bool (P,).
        """
        rng = np.random.default_rng((self.seed, epoch, 1))
        same = rng.random(len(faces)) < similar
        shift = rng.integers(1, self.count, len(faces))
        wanted = (self.classes[faces] + np.where(same, 0, shift)) % self.count
        start, end, others = self._others(faces, wanted)
        place = self.starts[wanted] + rng.integers(0, others)
        place += np.where(place >= start, end - start, 0)  # past the person's own faces
        return self.order[place], same

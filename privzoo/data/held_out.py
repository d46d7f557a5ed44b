"""Which images of the user's own data set are held out from training, if no folder says so.

Of ten images one goes to the validation part and one to the test part, by the hash of its name `<class>/<image>`:
always the same, and an added image usually moves no other. If people are known, and there are `PEOPLE` or more of them,
whole people are held out by the hash of their names, so that nobody is on both sides. If a class would have no images
in a part, its image, or person, with the lowest hash goes there, and a class with fewer than `LEAST` is used for
training only.
"""

from __future__ import annotations

from collections.abc import Mapping

from privzoo.data.samples import path_hash

PEOPLE = 20  # with at least so many, people are held out rather than images
LEAST = 3  # images, or people, of a class from which some are held out: one for each part
TENTHS = {0: "validation", 1: "test"}  # hash mod 10 -> part; the others are trained on


def divide(images: Mapping[str, tuple[str, str | None]], tested: bool) -> tuple[dict[str, str], str]:
    """Parts of images.

    Args:
        images: name -> class, and person where known.
        tested: there are separate test images, so that none of these becomes one.

    Returns:
        Name -> "train", "validation" or "test"; and the rule in words.
    """
    people = {person for _, person in images.values() if person is not None}
    apart = len(people) >= PEOPLE
    # A tuple, so that a person is not taken for an image of the same name.
    units = {
        name: ("person", person) if apart and person is not None else ("image", name)
        for name, (_, person) in images.items()
    }
    kept = ("validation",) if tested else ("validation", "test")
    hashes = {unit: path_hash(unit[1]) for unit in units.values()}
    parts = {unit: part if (part := TENTHS.get(n % 10, "train")) in kept else "train" for unit, n in hashes.items()}
    classes: dict[str, set[tuple[str, str]]] = {}
    for name, (category, _) in images.items():
        classes.setdefault(category, set()).add(units[name])
    for _, own in sorted(classes.items()):
        _fill(parts, sorted(own, key=lambda unit: (hashes[unit], unit)), ("train", *kept))
    for _, own in sorted(classes.items()):  # a unit moved for one class may have been another's last
        if not any(parts[unit] == "train" for unit in own):
            parts |= dict.fromkeys(own, "train")
    share = "one person in ten, by the name's hash" if apart else "one image in ten, by the name's hash"
    return {name: parts[unit] for name, unit in units.items()}, "the folder test" if tested else share


def _fill(parts: dict[tuple[str, str], str], own: list[tuple[str, str]], wanted: tuple[str, ...]) -> None:
    """Moves units of a class, sorted by hash, from its fullest part into its empty ones."""
    if len(own) < LEAST:
        parts |= dict.fromkeys(own, "train")
        return
    for part in wanted:
        members = {other: [unit for unit in own if parts[unit] == other] for other in wanted}
        fullest = max(members.values(), key=len)
        if not members[part] and len(fullest) > 1:
            parts[fullest[0]] = part

"""Which images of the user's own data set are held out from training, where no folder says so.

Of ten images one goes to the validation part and one to the test part, by the hash of its name `<class>/<image>`: the
same at every call, and an image that is added moves no other, as a rule. Where people are known, and there are
`PEOPLE` or more of them, whole people are held out by the hash of their names, so that nobody is on both sides. A
class that would be left without images in a part gets the image, or the person, with the lowest hash into it, and one
of fewer than `LEAST` is trained on as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from privzoo.data.samples import path_hash

PEOPLE = 20  # from so many on, people are held out rather than images
LEAST = 3  # images, or people, of a class from which some are held out: one for each part
TENTHS = {0: "validation", 1: "test"}  # hash mod 10 -> part; the others are trained on


def divide(images: Mapping[str, tuple[str, str | None]], tested: bool) -> tuple[dict[str, str], str]:
    """Parts of images.

    Args:
        images: name -> class, and person where known.
        tested: there are test images apart, so that none of these becomes one.

    Returns:
        Name -> "train", "validation" or "test"; and in words what decides.
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
    parts = {unit: part if (part := TENTHS.get(n % 10)) in kept else "train" for unit, n in hashes.items()}
    classes: dict[str, set[tuple[str, str]]] = {}
    for name, (category, _) in images.items():
        classes.setdefault(category, set()).add(units[name])
    for _, own in sorted(classes.items()):
        _fill(parts, sorted(own, key=lambda unit: (hashes[unit], unit)), ("train", *kept))
    for _, own in sorted(classes.items()):  # what was moved for one class may have been another's last
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

"""The user's own data set: `folder/<class>/<image>`, from a folder or a zip.

`docs/own_data.md` tells users what the folder may contain, and how its images are divided; `privzoo.data.held_out`
divides them.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from privzoo import checks
from privzoo.data import held_out, people
from privzoo.data.files import Files, Folder, Zip, is_hidden, is_image
from privzoo.data.samples import CLASSES, Dataset, ReadImage, Sample, check_split, warn_skipped
from privzoo.errors import DataError, ImageError

TRAIN, TEST = "train", "test"  # folders that may hold the class folders
SPLITS = ("train", "validation", "test", "all")


@dataclass(frozen=True)
class _Found:
    """An image in a class folder."""

    path: str
    name: str  # "<class>/<image>", which decides its part
    category: str  # the class
    tested: bool  # in the folder of test images


def load(root: str | Path, label: str = "label", classes: Sequence[str] | None = None, split: str = "all") -> Dataset:
    """Load images whose class is the name of their folder.

    Args:
        root: a folder with one folder for every class, or a zip of it. Next to the classes a folder `test` may
            contain test images in its own class folders; the classes may also be in a folder `train` next to it.
        label: what the classes mean: "gender", "emotion", "race" or any other name.
        classes: class names in the order of the label's numbers; by default those of CLASSES for its
            labels, or else the folders' names, sorted.
        split: "train", "validation", "test" or "all", as `privzoo.data.held_out` divides them. Of the test images,
            those that are also training or validation images, byte for byte, are left out.

    Returns:
        The samples, sorted by name, with the label, and with identity if the person is known
        (`privzoo.data.people`). Other files are skipped, and counted with "train" and "all"; `facts` is what a card
        tells of the set.

    Raises:
        DataError: there is no image in a class folder, a folder is not one of `classes`, a class has no image, or the
            wanted part is empty.
        ConfigError: unknown split.

    Example:
        >>> load("my_faces", label="gender").classes
        {'gender': ('male', 'female')}
    """
    check_split(split, SPLITS)
    files, name, only = opened(checks.local_path(root).expanduser())
    skipped: Counter[str] = Counter()
    wanted = classes or CLASSES.get(label)
    found = _images(files, only, skipped, [_plain(one) for one in wanted] if wanted else None)
    known = sorted({_plain(one.category) for one in found if not one.tested})
    names = tuple(wanted or known)
    numbers = {_plain(one): number for number, one in enumerate(names)}
    _check_classes(files, found, numbers, names)
    who = people.of({one.path: one.name for one in found}, files, skipped)
    persons = tuple(sorted(set(who.values())))
    parts, how = held_out.divide(
        {one.name: (_plain(one.category), who.get(one.path)) for one in found if not one.tested},
        any(one.tested for one in found),
    )
    divided = [(one, TEST if one.tested else parts[one.name]) for one in found]
    samples = []
    for one, part in divided:
        if split in ("all", part):
            labels = {label: numbers[_plain(one.category)]}
            if one.path in who:
                labels["identity"] = persons.index(who[one.path])
            samples.append(Sample(one.path, ReadImage(files, one.path, f"{files}/{one.path}"), labels))
    before = len(samples)
    if split == TEST:
        skipped = Counter()
        samples = unseen(files, samples, [one.path for one, part in divided if part != TEST], skipped)
    elif split == "validation":
        skipped = Counter()  # reported with the training part
    check_part(files, samples, split, len(found), before - len(samples))
    warn_skipped(str(files), skipped)
    counts = Counter(part for _, part in divided)
    facts = {
        "folder": name,
        "images": {names[numbers[c]]: n for c, n in sorted(Counter(_plain(o.category) for o in found).items())},
        "parts": {part: counts[part] for part in SPLITS[:3]},
        "held_out": how,
        "people": len(persons),
        "seen": digest(one.name for one, part in divided if part != TEST),
    }
    kinds = {label: names} | ({"identity": persons} if persons else {})
    return Dataset(name if split == "all" else f"{name}-{split}", samples, kinds, skipped, facts)


def _plain(name: str) -> str:
    """A class's name in one form: macOS stores accents separate from their letters, most editors together."""
    return unicodedata.normalize("NFC", name)


def digest(names: Iterable[str]) -> str:
    """Hash of some names, in any order: 16 hex digits."""
    text = "\n".join(sorted(names)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def opened(root: Path) -> tuple[Files, str, tuple[str, ...] | None]:
    """The files, the set's name, and the folders in it that count, where only some do."""
    if not root.exists():
        raise DataError(f"{root} does not exist: give a folder of class folders, or a zip of it.")
    if not root.is_dir():
        return _unwrap(Zip(root)), root.stem, None
    whole = root.resolve()
    if whole.name == TRAIN and (whole.parent / TEST).is_dir():  # the user gave the folder next to the test images
        return Folder(whole.parent), whole.parent.name, (TRAIN, TEST)
    return Folder(root), whole.name, None


def _unwrap(files: Zip) -> Zip:
    """Step into the one folder that holds all class folders, as in zips made by packing a folder."""
    images = [name for name in files.names() if is_image(name)]
    tops = {name.split("/")[0] for name in images}
    if len(tops) == 1 and all(name.count("/") >= 2 for name in images):
        return Zip(files.path, tops.pop() + "/")
    return files


def _images(
    files: Files, only: tuple[str, ...] | None, skipped: Counter[str], classes: Sequence[str] | None
) -> list[_Found]:
    """Images in class folders, sorted by path; other files are counted."""
    split = []
    for path in files.names(hidden=True):
        parts = path.split("/")
        if only and parts[0] not in only:
            continue
        if is_hidden(path):
            skipped["hidden"] += 1
        elif is_image(path):
            split.append((path, parts))
        elif path != people.TABLE:
            skipped["no image by its name"] += 1
    tops = {parts[0] for _, parts in split if len(parts) > 1}

    def holds_classes(name: str) -> bool:
        """Whether a folder holds class folders, rather than the images of a class of that name."""
        if name not in tops or name in (classes or ()):
            return False
        return not any(parts[0] == name and len(parts) == 2 for _, parts in split)

    tested = holds_classes(TEST)
    inside = holds_classes(TRAIN) and tops <= {TRAIN, TEST}
    found = []
    for path, parts in split:
        own = tested and parts[0] == TEST
        rest = parts[1:] if own or (inside and parts[0] == TRAIN) else parts
        if len(rest) == 2:
            found.append(_Found(path, "/".join(rest), rest[0], own))
        else:
            skipped["not in a class folder"] += 1
    if not any(not one.tested for one in found):
        raise DataError(f"{files} holds no <class>/<image>: put the images of each class into a separate folder.")
    return found


def _check_classes(files: Files, found: list[_Found], numbers: dict[str, int], names: tuple[str, ...]) -> None:
    strange = sorted({one.category for one in found if _plain(one.category) not in numbers})
    if strange:
        raise DataError(
            f"{files} has a folder {strange[0]}, which is not one of the classes {', '.join(names)}: rename or remove "
            "it."
        )
    there = {_plain(one.category) for one in found if not one.tested}
    empty = [name for name in names if _plain(name) not in there]
    if empty:
        raise DataError(
            f"{files} has no image of the class {empty[0]}: put some into a folder {empty[0]}, or take the class out "
            "of the network's classes."
        )


def check_part(files: Files, samples: list[Sample], split: str, count: int, copies: int) -> None:
    """Raises DataError for a part without a sample; `count` images are in all parts, `copies` of them left out."""
    if samples or split in ("all", "train"):
        return
    if copies:
        raise DataError(
            f"{files} holds {copies} test images, all of which are copies of training or validation images: put images "
            "that training never sees into test/<class>/."
        )
    purpose = "monitor training" if split == "validation" else "measure on"
    other = "" if split == "validation" else ", or put images that training never sees into test/<class>/"
    raise DataError(
        f"{files} holds {count} images, of which none is left to {purpose}: give each class "
        f"{held_out.LEAST} or more{other}."
    )


def unseen(files: Files, test: list[Sample], others: list[str], skipped: Counter[str]) -> list[Sample]:
    """Test images that are not among the others under another name."""

    def content(path: str) -> bytes | None:
        try:
            return hashlib.sha256(files.read(path)).digest()
        except ImageError:
            return None

    seen = {content(path) for path in others} - {None} if test else set()
    kept = [sample for sample in test if content(sample.name) not in seen]
    if len(kept) < len(test):
        skipped["test image that is a training image too"] = len(test) - len(kept)
    return kept

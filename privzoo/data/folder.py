"""A data set of one's own: `folder/<class>/<image>`, from a folder or a zip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from privzoo.data.files import Folder, Zip, is_image
from privzoo.data.samples import CLASSES, Dataset, ReadImage, Sample, check_split, hash_split, warn_skipped
from privzoo.errors import DataError


def load(root: str | Path, label: str = "label", classes: Sequence[str] | None = None, split: str = "all") -> Dataset:
    """Load images whose class is the name of the folder they lie in.

    Args:
        root: the folder that holds one folder for every class, or a zip of it.
        label: what the classes say: "gender", "emotion", "race" or any other name.
        classes: class names in the order of the label's numbers; by default those of CLASSES for its
            labels, or else the folders' names, sorted.
        split: "train", "validation" (images whose path's md5 is 0 mod 10) or "all".

    Returns:
        The samples, sorted by name; images that lie outside the class folders are skipped and counted.

    Raises:
        DataError: there is no image in a class folder, or a folder is none of `classes`.
        ConfigError: unknown split.

    Example:
        >>> load("my_faces", label="gender").classes
        {'gender': ('male', 'female')}
    """
    check_split(split, ("train", "validation", "all"))
    root = Path(root).expanduser()
    if not root.exists():
        raise DataError(f"{root} does not exist: give a folder of class folders, or a zip of it.")
    files = Folder(root) if root.is_dir() else _unwrap(Zip(root))
    skipped: Counter[str] = Counter()
    found = []
    for path in filter(is_image, files.names()):
        parts = path.split("/")
        if len(parts) == 2:
            found.append((parts[0], path))
        else:
            skipped["not in a class folder"] += 1
    if not found:
        raise DataError(f"{files} holds no <class>/<image>: put the images of each class into a folder of its own.")
    names = tuple(classes or CLASSES.get(label) or sorted({name for name, _ in found}))
    strange = sorted({name for name, _ in found} - set(names))
    if strange:
        raise DataError(
            f"{files} has a folder {strange[0]}, which is none of the classes {', '.join(names)}: rename or remove it."
        )
    samples = [
        Sample(path, ReadImage(files, path, f"{files}/{path}"), {label: names.index(name)}) for name, path in found
    ]
    warn_skipped(str(files), skipped)
    return Dataset("folder", hash_split(samples, split), {label: names}, skipped)


def _unwrap(files: Zip) -> Zip:
    """Step into the one folder that holds all class folders, as zips made by packing a folder have."""
    images = [name for name in files.names() if is_image(name)]
    tops = {name.split("/")[0] for name in images}
    if len(tops) == 1 and all(name.count("/") >= 2 for name in images):
        return Zip(files.path, tops.pop() + "/")
    return files

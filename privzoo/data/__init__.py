"""Data sets of faces and speech in their official layouts, from a folder or a zip; files are read on demand.

Every loader has `load(root, ...) -> Dataset`, where root is the data set's official folder, its zip, or a
folder that holds either.

Example:
    >>> from privzoo.data import arrays, utkface
    >>> images, gender = arrays(utkface.load("data", split="train"), 96, "gender")
"""

from __future__ import annotations

from privzoo.data import arabic_speech, celeba, fer2013, folder, imdb_wiki, lfw, lfw_attributes, lfwa, utkface
from privzoo.data.samples import CLASSES, Dataset, Sample, arrays

__all__ = [
    "CLASSES",
    "Dataset",
    "Sample",
    "arabic_speech",
    "arrays",
    "celeba",
    "fer2013",
    "folder",
    "imdb_wiki",
    "lfw",
    "lfw_attributes",
    "lfwa",
    "utkface",
]

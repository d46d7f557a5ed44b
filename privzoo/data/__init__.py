"""Data sets of faces in their official layouts, from a folder or a zip; images are read when asked for.

Every module here has `load(root, ...) -> Dataset`.
"""

from __future__ import annotations

from privzoo.data import lfw, utkface
from privzoo.data.samples import CLASSES, Dataset, Sample, arrays

__all__ = ["CLASSES", "Dataset", "Sample", "arrays", "lfw", "utkface"]

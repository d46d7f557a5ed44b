"""Helper of the tests of photographs."""

from __future__ import annotations

from privzoo.faces.images import decode, sources


def as_images(images):
    """Name and pixels of each."""
    return [(name, decode(source, name)) for name, source in sources(images)]

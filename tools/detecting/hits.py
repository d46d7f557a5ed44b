"""When a face counts as found."""

from __future__ import annotations

from collections.abc import Sequence

from privzoo.faces import Box

FAR_CENTRE, FAR_SCALE = 0.3, 1.5  # in sides of the chip: a box further away than this is not on the face


def hit(boxes: Sequence[Box], x: float, y: float, side: float, angle: float = 0.0, error: float | None = None) -> bool:
    """Whether the first box, which is the one that `predict` uses, covers the face.

    Args:
        boxes: what the detector found.
        x: centre of the face's chip, pixels.
        y: likewise.
        side: of the chip, pixels.
        angle: degrees by which the face is rotated clockwise.
        error: degrees by which the box's angle may differ from it; None if any angle counts.
    """
    if not boxes:
        return False
    box = boxes[0]
    off = max(abs(box.x + box.size / 2 - x), abs(box.y + box.size / 2 - y))
    near = off < FAR_CENTRE * side and 1 / FAR_SCALE < box.size / side < FAR_SCALE
    return near and (error is None or abs((box.angle - angle + 180) % 360 - 180) <= error)

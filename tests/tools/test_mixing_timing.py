"""What mixing costs on the device: each part is timed, and the bytes are those of the encodings."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarking import mixing
from export_fakes import SIZE
from mixing_fakes import GROUP, exported, parts

pytestmark = pytest.mark.server


def test_every_part_is_timed():
    row = mixing.measure(1, "conv1_1", SIZE, "float32", exported()[0], parts(True)[2], rounds=3, calls=2)
    for one in (row.pre_ms, row.mix_ms, row.unmix_ms, row.share, *row.pack_ms.values()):
        assert 0 < one.low <= one.value <= one.high
    values = GROUP * int(np.prod((SIZE, SIZE, 8)))
    assert row.bytes_sent == {"float32": 4 * values, "int16": 2 * values + 4 * GROUP, "int8": values + 4 * GROUP}
    [line] = mixing.lines([row])
    assert "1 block (to conv1_1), 24 px, 4 faces, float32: pre " in line and "under 5%: " in line

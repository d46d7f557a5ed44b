"""Writes the golden draws that programs in every language have to repeat: `tools/codes_golden.py [FILE]`."""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

from privzoo.mechanisms.permanent import PermanentResponse
from privzoo.mechanisms.randomized_response import RandomizedResponse, Source
from privzoo.provenance import write_json

FILE = Path(__file__).parent.parent / "tests" / "golden" / "codes.json"
BUDGETS = (2.0**-16, 0.1, 1.0, 2.0, 3.0, 4.0, 6.5, 8.0, 20.0)
SIZES = (2, 3, 4, 7, 16, 201, 256)
DRAWS = 24


def source() -> Source:
    """The test's bytes; `docs/codes.md` says which."""
    kept, counter = b"", 0

    def take(count: int) -> bytes:
        nonlocal kept, counter
        while len(kept) < count:
            kept += hashlib.sha256(b"privzoo golden" + struct.pack(">I", counter)).digest()
            counter += 1
        taken, kept = kept[:count], kept[count:]
        return taken

    return take


def golden() -> dict:
    """The content of the file."""
    draws, permanent = [], []
    for k in SIZES:
        for epsilon in BUDGETS:
            response, symbols = RandomizedResponse(k, epsilon), [i % k for i in range(DRAWS)]
            lie = int((1 - response.probability_same) * 2**32)
            sent = response.send(symbols, source()).tolist()
            draws.append({"k": k, "epsilon": epsilon, "lie": lie, "symbols": symbols, "sent": sent})
    for k, epsilon, slot, book in ((2, 1.0, "anna", "a book"), (7, 2.0, "Ångström 🙂", "b"), (256, 0.1, "x", "y")):
        secret = hashlib.sha256(slot.encode()).digest()
        answers = PermanentResponse(RandomizedResponse(k, epsilon), secret, slot, book).send(range(k)).tolist()
        permanent.append(
            {"k": k, "epsilon": epsilon, "secret": secret.hex(), "slot": slot, "book": book, "answers": answers}
        )
    return {"document": "docs/codes.md", "draws": draws, "permanent": permanent}


if __name__ == "__main__":
    write_json(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE, golden())

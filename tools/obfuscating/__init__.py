"""How well networks read obfuscated images: what `tools/obfuscation.py` measures, and its section."""

from __future__ import annotations

"""Texts of others: whatever they hold, they can be kept as UTF-8, and take one line."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from privzoo import texts

ANY = st.text(st.characters())  # lone surrogates and control characters too


@given(ANY)
def test_any_text_can_be_kept(text):
    kept = texts.storable(text)
    assert kept.encode().decode() == kept == texts.storable(kept)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert kept == text


@given(ANY)
def test_any_text_takes_one_line(text):
    for shown in (texts.one_line(text), texts.said(text)):
        assert shown.isprintable() and shown.encode().decode() == shown
    assert len(texts.said(text * 1000)) <= 10 * texts.LONGEST + 3


def test_what_is_escaped():
    assert texts.storable(os.fsdecode(b"caf\xe9 \xc3\xa9")) == r"caf\xe9 é" and texts.storable("\ud800") == r"\ud800"
    assert texts.decoded(os.fsdecode("é".encode())) == "é"
    assert texts.said("a\r\n  b\x1b[31m\u202e") == r"a b\x1b[31m\u202e"
    assert texts.said("é" * 9999) == "é" * 500 + "..."

"""Parts of the report's HTML page: escaped text, figures with their intervals, tables, embedded pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from privzoo.audit.report.summary import Value

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #57606a; --line: #d0d7de; --bar: #0072b2;
  --zebra: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9da7b1; --line: #30363d;
  --bar: #56b4e9; --zebra: #161b22; } }
body { margin: 0 auto; padding: 1rem; max-width: 75rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } small, caption, .soft { color: var(--soft); }
caption { text-align: left; padding-bottom: .4rem; } a { color: var(--bar); }
.wide { overflow-x: auto; } .wide:focus { outline: 2px solid var(--bar); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--line); } tbody tr:nth-child(even) { background: var(--zebra); }
td small { white-space: nowrap; } tbody th { font-weight: 600; min-width: 7rem; }
.bar { display: block; height: .4rem; min-width: 1px; width: calc(var(--share) * 6rem); background: var(--bar);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.answers li { margin: .3rem 0; } figure { margin: 1rem 0; } summary { cursor: pointer; }
img { max-width: 100%; height: auto; background: #fff; padding: .3rem; box-sizing: border-box; }
@media print { :root { --ink: #000; --paper: #fff; --soft: #444; --zebra: #fff; --line: #999; }
  body { max-width: none; font-size: 9pt; } .wide { overflow: visible; } table { font-size: 7.5pt; }
  h2, caption { break-after: avoid; } tr, figure { break-inside: avoid; } }
"""


def text(value: object) -> str:
    """Anything as text that is safe in HTML."""
    return escape(str(value), quote=True)


def name(value: object) -> str:
    """A model's name, which may break at its underscores on a narrow screen."""
    return text(value).replace("_", "_<wbr>")


def number(value: float, form: str = ".1%") -> str:
    """A figure of the results: formatted for people, and exact for programs."""
    return f'<data value="{value!r}">{text(format(value, form))}</data>'


def figure(value: Value | None, form: str = ".1%", bar: bool = False) -> str:
    """A figure with its interval, and as a bar; "not measured" if there is none."""
    if value is None:
        return '<span class="soft">not measured</span>'
    drawn = f'<span class="bar" aria-hidden="true" style="--share: {max(0.0, min(1.0, value.value)):.4f}"></span>'
    weak = " <strong>weak attack</strong>" if value.weak else ""
    return (
        f"{number(value.value, form)}{weak}<br><small>{number(value.low, form)} to {number(value.high, form)}</small>"
        + (drawn if bar else "")
    )


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways on a phone; the first cell of each row is its head.

    Args:
        caption: text.
        heads: text of the columns.
        rows: cells, as HTML.
    """
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{cells[0]}</th>{"".join(f"<td>{cell}</td>" for cell in cells[1:])}</tr>\n'
        for cells in rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{text(caption)}"><table><caption>{text(caption)}'
        f"</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def picture(png: bytes, alternative: str, caption: str) -> str:
    """A PNG inside the page."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{text(alternative)}">'
        f"<figcaption>{text(caption)}</figcaption></figure>\n"
    )


def whole(title: str, parts: Sequence[str]) -> str:
    """The page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{text(title)}</h1>\n"
        + "".join(parts)
        + "</main>\n</body>\n</html>\n"
    )

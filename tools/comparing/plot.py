"""The comparison as a picture: what leaks against the work on the device, a panel for each task. PNG, as bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from comparing.frontier import LEVELS
from comparing.rows import Row, by_task
from privzoo.audit.report.plots import EMBEDDINGS
from privzoo.crowd import FACES
from privzoo.errors import MissingExtraError

# Colours that other plots do not use (Okabe and Ito's, Tol's); kinds of heads also differ in marker.
COLOURS = ("#CC79A7", "#E69F00", "#000000", "#882255", "#777777", "#332288", "#999933", "#44AA99")
MARKERS = ("v", "P", "X", "<", "p", "h", "*", "d", ">")
SMALLEST, PER_DECADE = 18.0, 14.0  # of a marker in square points: at one byte, and more for each factor of ten
NEAR, APART = 1.1, 1.06  # heads whose work differs by less than the first factor are drawn the second one apart


def draw(rows: Sequence[Row]) -> bytes:
    """The strongest attack (filled, with intervals) and the bound (hollow) of each head, and the least of both so far.

    Args:
        rows: of all models, and of their networks' raw inputs.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Plots need matplotlib; run: pip install 'privzoo[audit]'.") from None
    panels = {task: own for task, own in by_task(rows).items() if any(map(_drawn, own))}
    looks = _looks(sorted({_kind(row) for own in panels.values() for row in own if _drawn(row)}))
    figure = Figure(figsize=(5 * max(len(panels), 1), 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for axis, (task, own) in zip(axes, panels.items(), strict=False):  # an empty one where nothing was measured
        _panel(axis, task, own, looks)
    handles = [
        axes[0].plot([], [], linestyle="", color=colour, marker=marker, label=name)[0]
        for name, (colour, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8)
    figure.suptitle(
        "Filled: strongest attack on one answer, with its 95% interval. Hollow: the most that any attacker can reach.\n"
        "Larger markers send more bytes. Lines: the least so far, by attack (solid) and by proof (dashed).\n"
        "Heads that take nearly the same work stand side by side.",
        fontsize=9,
    )
    file = io.BytesIO()
    # Without a date and version in it, the same figures make the same file.
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


def _drawn(row: Row) -> bool:
    return not row.raw and (row.attack is not None or row.bound < 1)


def _kind(row: Row) -> str:
    return row.embedding.replace("_", " ") + (", slim" if row.slim else "")


def _looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each kind of head; those of other plots where they have one."""
    known = {name.replace("_", " "): look for name, look in EMBEDDINGS.items()}
    new = [name for name in names if name not in known]
    added = {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(new)}
    return {name: known.get(name) or added[name] for name in names}


def _places(rows: Sequence[Row]) -> dict[str, float]:
    """Where each head is drawn: at its work, or beside it where heads of other kinds take nearly the same."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: row.device):
        if groups and row.device <= NEAR * groups[-1][0].device:
            groups[-1].append(row)
        else:
            groups.append([row])
    places = {}
    for group in groups:
        kinds = sorted({_kind(row) for row in group})
        for row in group:
            places[row.name] = row.device * APART ** (kinds.index(_kind(row)) - (len(kinds) - 1) / 2)
    return places


def _panel(axis: Any, task: str, rows: Sequence[Row], looks: dict[str, tuple[str, str]]) -> None:
    heads = [row for row in rows if _drawn(row)]
    places = _places(heads)
    for row in heads:
        colour, marker = looks[_kind(row)]
        x, size = places[row.name], SMALLEST + PER_DECADE * math.log10(max(row.sent, 1))
        if row.attack:
            m = row.attack
            spread = [[max(m.value - m.low, 0)], [max(m.high - m.value, 0)]]
            axis.errorbar(x, m.value, yerr=spread, elinewidth=0.8, color=colour, alpha=0.6, linestyle="")
            axis.scatter(x, m.value, size, color=colour, marker=marker, alpha=0.85, linewidths=0, zorder=3)
        if row.bound < 1:
            axis.scatter(x, row.bound, size, facecolors="none", edgecolors=colour, marker=marker, zorder=4)
    # Networks of one task may differ in input size: the shares at the top are the largest one's.
    whole = max(row.whole for row in rows)
    left, right = min(0.7 * min(places.values()), 0.007 * whole), 2.2 * whole
    for level in LEVELS:
        axis.axvline(level * whole, color="#BBBBBB", linewidth=0.7, zorder=0)
        at = {"xy": (level * whole, 1), "xycoords": ("data", "axes fraction")}
        axis.annotate(f"{level:.0%}", **at, fontsize=7, va="bottom", ha="center")
    levels = {row.embedding: row.attack.value for row in rows if row.raw and row.attack}
    among = next((row.among for row in heads), FACES)
    for name, level in {**levels, "chance": 1 / among.people}.items():
        axis.axhline(level, color="#555555", linewidth=0.8, linestyle=":", zorder=0)
        axis.annotate(name, (0.01, level), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
    _steps(axis, heads, lambda row: row.attack.value if row.attack else None, "-", right)
    _steps(axis, heads, lambda row: row.bound if row.bound < 1 else None, "--", right)
    axis.set(xscale="log", yscale="log", xlim=(left, right), ylim=(0.006, 1.2))
    axis.set_title(f"{task}: {sum(row.attack is not None for row in heads)} heads attacked", fontsize=10, pad=16)
    axis.set_xlabel("multiply-adds on the device; at the top, share of the largest network's")
    axis.set_ylabel(f"identified among {among}")
    axis.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1], ["1%", "2%", "5%", "10%", "20%", "50%", "100%"])
    axis.minorticks_off()


def _steps(axis: Any, rows: Sequence[Row], leak: Callable[[Row], float | None], style: str, right: float) -> None:
    """The least that leaks with at most so much work."""
    least, x, y = math.inf, [], []
    for row in sorted(rows, key=lambda row: row.device):
        value = leak(row)
        if value is not None and value < least:
            least = value
            x.append(row.device)
            y.append(value)
    if x:
        axis.step([*x, right], [*y, y[-1]], where="post", color="#333333", linewidth=0.9, linestyle=style, zorder=2)

"""The report's pictures: trade-off curves, and faces with what was reconstructed of them. PNG, as bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.audit.attacks.tradeoff import Point
from privzoo.errors import DataError

# Okabe and Ito's colours, which colour-blind readers can distinguish; embeddings also differ in marker, cuts in line.
EMBEDDINGS = {
    "reduced_simple": ("#0072B2", "o"),
    "noisy_reduced_simple": ("#56B4E9", "s"),
    "reduced_siamese": ("#D55E00", "^"),
    "advanced": ("#009E73", "D"),
}
OTHER = ("#555555", "x")
MORE = (("#CC79A7", "v"), ("#E69F00", "P"), OTHER)  # where there are more curves than embeddings
LINES = ("-", "--", ":", "-.")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    # Without a date and version in it, the same figures make the same file.
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    _pyplot().close(figure)
    return file.getvalue()


def tradeoff(points: Sequence[Point], task: str) -> bytes:
    """Accuracy against rank privacy, and against what the identity attack gets, a curve for each model of a task.

    Args:
        points: of any models.
        task: "gender" or "emotion".

    Raises:
        DataError: no point of that task.
    """
    points = [point for point in points if point.task == task]
    if not points:
        raise DataError(f"There is no trade-off for {task}; measure a reduced model of it.")
    plt = _pyplot()
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    cuts = sorted({point.cut for point in points})
    for name in sorted({point.model for point in points}):
        own = sorted((p for p in points if p.model == name), key=lambda p: p.relative)
        colour, marker = EMBEDDINGS.get(own[0].embedding, OTHER)
        style = {
            "color": colour,
            "marker": marker,
            "linestyle": LINES[cuts.index(own[0].cut) % len(LINES)],
            "markersize": 5,
            "linewidth": 1.4,
            "label": f"{own[0].embedding.replace('_', ' ')}, {own[0].cut}",
        }
        accuracy = np.array([p.accuracy for p in own])
        bars = {"yerr": [accuracy - [p.accuracy_low for p in own], [p.accuracy_high for p in own] - accuracy]}
        for panel, value, low, high in zip(
            panels, ("rank", "identity"), ("rank_low", "identity_low"), ("rank_high", "identity_high"), strict=True
        ):
            x = np.array([getattr(p, value) for p in own])
            spread = [x - [getattr(p, low) for p in own], [getattr(p, high) for p in own] - x]
            # A mean of equal numbers may differ from them in its last bit.
            panel.errorbar(x, accuracy, xerr=np.maximum(spread, 0), elinewidth=0.6, **bars, **style)
    blind = 0.5 + 0.5 / points[0].people
    panels[0].axvline(blind, color="#999999", linewidth=0.8)
    panels[0].annotate(
        "says nothing", (blind, panels[0].get_ylim()[0]), rotation=90, fontsize=8, ha="right", va="bottom"
    )
    panels[0].set_xlabel("rank privacy (more: more private)")
    panels[1].axvline(1 / points[0].people, color="#999999", linewidth=0.8)
    panels[1].set_xlabel("identity attack, top-1 (less: more private)")
    panels[0].set_ylabel(f"{task} accuracy")
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[1].legend(fontsize=7, loc="lower right")
    figure.suptitle("Each point is one standard deviation of the noise; bars are 95% intervals", fontsize=9)
    return _png(figure)


@dataclass(frozen=True)
class Curve:
    """Shares over epsilon, with the ends of their intervals if there are any."""

    name: str
    epsilons: Sequence[float]
    values: Sequence[float]  # 0..1
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """What one task's mechanisms reach at each budget."""

    title: str
    curves: tuple[Curve, ...]
    ceiling: Curve  # of all mechanisms; may be empty
    levels: Mapping[str, float]  # shares without epsilon, as of the network without privacy


def budgets(panels: Sequence[Panel]) -> bytes:
    """Accuracy over epsilon, a panel for each task and a curve for each mechanism.

    Args:
        panels: at least one.

    Raises:
        DataError: no panel.
    """
    if not panels:
        raise DataError("There is no comparison of mechanisms; run tools/codes.py --compare --write.")
    plt = _pyplot()
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4.4), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        for curve, (colour, marker) in zip(panel.curves, (*EMBEDDINGS.values(), *MORE) * 2, strict=False):
            values = np.array(curve.values)
            spread = [values - curve.lows, curve.highs - values] if curve.lows else None
            axis.errorbar(
                curve.epsilons,
                values,
                yerr=spread and np.maximum(spread, 0),
                elinewidth=0.6,
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=1.4,
                label=curve.name,
            )
        if panel.ceiling.values:
            axis.plot(panel.ceiling.epsilons, panel.ceiling.values, "k--", linewidth=1, label=panel.ceiling.name)
        for name, level in panel.levels.items():
            axis.axhline(level, color="#999999", linewidth=0.8)
            axis.annotate(name, (0.01, level), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
        axis.set_title(panel.title, fontsize=10)
        axis.set_xlabel("epsilon of one answer")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=2)  # no curve is behind it
    axes[0][0].set_ylabel("accuracy")
    figure.suptitle("Mean over draws; bars are 95% intervals", fontsize=9)
    return _png(figure)


def faces(rows: Mapping[str, np.ndarray], scale: float = 1.1) -> bytes:
    """Rows of grey faces with their names at the left, as in Figure 11.

    Args:
        rows: name -> uint8 (K, side, side), all with the same K.
        scale: inches of a face.

    Raises:
        DataError: no row, or rows of different lengths.
    """
    counts = {len(images) for images in rows.values()}
    if len(counts) != 1 or 0 in counts:
        raise DataError(f"Rows of {sorted(counts)} faces make no picture; give each row the same faces.")
    (columns,) = counts
    plt = _pyplot()
    figure, panels = plt.subplots(
        len(rows), columns, figsize=(scale * columns + 1.2, scale * len(rows)), squeeze=False, layout="constrained"
    )
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center", fontsize=8)
        for panel, image in zip(line, images, strict=True):
            panel.imshow(image, cmap="gray", vmin=0, vmax=255)
            panel.set_xticks([])
            panel.set_yticks([])
    return _png(figure)

"""The paper's Figures 13 to 15 for this zoo: inference time, loading time, memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarking.runs import Result
from privzoo.errors import MissingExtraError
from privzoo.files import replacing

FIGURES = {
    "inference_time": ("inference_ms", "Inference, ms"),
    "loading_time": ("load_ms", "Loading, ms"),
    "peak_memory": ("peak_mb", "Peak memory, MB"),
}
COLOURS = {"float32": "#4878a8", "float16": "#8fb3d1", "dynamic": "#e0a458", "int8": "#4c9a6a"}
OTHER = "#8a8a8a"


def write(results: Mapping[str, Result], folder: Path) -> list[Path]:
    """Draws one picture for each figure, with a panel for each input size.

    Args:
        results: of `runs.run`.
        folder: of the PNG files; created if missing.

    Returns:
        Their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Plots need matplotlib; run: pip install 'privzoo[benchmark]'.") from None
    folder.mkdir(parents=True, exist_ok=True)
    sizes = sorted({r.size for r in results.values()})
    written = []
    for name, (figure, label) in FIGURES.items():
        tallest = max(sum(r.size == size for r in results.values()) for size in sizes)
        picture = Figure(figsize=(7 * len(sizes), 1.2 + 0.26 * tallest), layout="constrained")
        FigureCanvasAgg(picture)
        for axes, size in zip(picture.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
            shown = [r for r in results.values() if r.size == size][::-1]
            found = [r.summary(figure) for r in shown]
            names = [
                f"{r.part}, {r.quantization}" + (" (ONNX Runtime)" if r.runtime == "onnxruntime" else "") for r in shown
            ]
            bars = axes.barh(
                range(len(shown)),
                [f.value for f in found],
                xerr=[[f.value - f.low for f in found], [f.high - f.value for f in found]],
                color=[COLOURS.get(r.quantization.split()[0], OTHER) for r in shown],
                tick_label=names,
                error_kw={"elinewidth": 1},
            )
            axes.bar_label(
                bars, [f"{f.value:,.3g}" if f.value < 1000 else f"{f.value:,.0f}" for f in found], padding=3, fontsize=8
            )
            axes.margins(x=0.12)  # room for the numbers
            axes.set_xlabel(label)
            axes.set_title(f"{size} px")
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="y", labelsize=8)
        path = folder / f"{name}.png"
        with replacing(path) as temporary:
            picture.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
        written.append(path)
    return written

"""Growth curves as one picture: log-log, a panel for every row and axis."""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.speed.timing import Point
from gen_rec.extras import require
from gen_rec.files import atomic_path

COLUMNS = 3
WIDTH, HEIGHT = 4.2, 3.3  # inches of a panel
TITLES = {1: "training step", 4: "beam search", 5: "exact ranking", 8: "balanced codes"}
COLOURS = ("#2f5d8a", "#c0562f", "#4f8a4f", "#7a5195", "#8a7a2f")


def draw(points: Sequence[Point], exponents: Sequence[dict[str, object]], path: Path) -> None:
    """Write the picture, in the format that the suffix of ``path`` names.

    points:    all measured sizes; a panel shows those of one row and axis, a line those of one side
    exponents: what ``growth.exponents`` made of them, stated in each panel
    raises     MissingExtra without matplotlib (extra ``plots``).
    """
    require("matplotlib", extra="plots", purpose="the picture of the growth curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((point.row, point.axis) for point in points))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    slope = {(e["row"], e["axis"], e["side"]): e["exponent"] for e in exponents}
    for place, (row, axis) in enumerate(panels):
        panel = axes.flat[place]
        here = [point for point in points if (point.row, point.axis) == (row, axis)]
        for side, colour in zip(dict.fromkeys(point.side for point in here), cycle(COLOURS), strict=False):
            line = sorted((point.size, point.seconds) for point in here if point.side == side)
            exponent = slope.get((row, axis, side))
            label = side if exponent is None else f"{side}: size^{exponent:.2f}"
            panel.plot(*zip(*line, strict=True), marker="o", markersize=4, linewidth=1.5, color=colour, label=label)
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds")
        _same_decades(panel, [point.size for point in here], [point.seconds for point in here])
        panel.set_title(f"row {row}: {TITLES.get(row, '')}".rstrip(": "), fontsize=10, loc="left")
        panel.grid(True, which="major", linewidth=0.4, color="#d8d8d8")
        for edge in ("top", "right"):
            panel.spines[edge].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    for empty in axes.flat[len(panels) :]:
        empty.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix[1:])


def _same_decades(panel: Any, sizes: Sequence[float], seconds: Sequence[float]) -> None:
    """As many decades up as across, in every panel: a slope then means the same everywhere.

    The sizes that were measured are the ticks; at least one power of ten of seconds is in sight.
    """
    bounds = [(math.log10(min(values)), math.log10(max(values))) for values in (sizes, seconds)]
    span = max(1.05, *(high - low for low, high in bounds)) * 1.1
    for (low, high), limit in zip(bounds, (panel.set_xlim, panel.set_ylim), strict=True):
        middle = (low + high) / 2
        limit(10 ** (middle - span / 2), 10 ** (middle + span / 2))
    ticks = sorted(set(sizes))
    panel.set_xticks(ticks, [_plain(size) for size in ticks], fontsize=8)
    panel.xaxis.minorticks_off()
    panel.yaxis.minorticks_off()


def _plain(size: float) -> str:
    """1000 -> 1k, 2500000 -> 2.5M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:g}{name}"
    return f"{size:g}"

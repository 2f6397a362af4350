"""The training log of a run: JSON lines in, series out, and a picture of them."""

import io
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gen_rec.extras import require

logger = logging.getLogger(__name__)

LOSS_TERMS = ("loss", "generation", "contrastive", "reconstruction", "recognition")
"""The terms drawn in the loss panel where the log has them; ``loss`` is the weighted sum."""

POINTS = 400
"""Points drawn of a series; longer ones are averaged in equal pieces: noise must not hide the course."""


@dataclass(frozen=True)
class TrainingLog:
    """What a training run wrote down, as series over steps."""

    series: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """name -> (points,) steps and (points,) values, ascending by step."""
    skipped: int = 0
    """Lines that were no JSON object (a killed run may leave half a line)."""

    def best(self, name: str = "valid/selected") -> tuple[int, float] | None:
        """Step and value of the largest value of a series, or None where there is none."""
        if name not in self.series:
            return None
        steps, values = self.series[name]
        at = int(np.argmax(values))
        return int(steps[at]), float(values[at])


def read_log(path: Path) -> TrainingLog:
    """Read ``log.jsonl``: one object a line with ``step`` and any numbers.

    A step that is logged twice, as a resumed run does, keeps its last value. Lines without a step and values
    that are not finite are left out.
    """
    points: dict[str, dict[int, float]] = {}
    skipped = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                record = None
            if not isinstance(record, dict):
                skipped += 1
                continue
            step = record.get("step")
            if not isinstance(step, int):
                continue
            for name, value in record.items():
                if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
                    points.setdefault(name, {})[step] = float(value)
    if skipped:
        logger.warning("%s: %d lines are not JSON objects and were skipped", path, skipped)
    series = {}
    for name, values in points.items():
        if name != "step":
            steps = np.array(sorted(values))
            series[name] = (steps, np.array([values[step] for step in steps]))
    return TrainingLog(series, skipped)


def thin(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Average a series in at most ``points`` equal pieces. steps, values: (n,); returns (<= points,) each."""
    if len(steps) <= points:
        return steps, values
    starts = np.linspace(0, len(steps), points, endpoint=False).astype(int)
    sizes = np.diff(np.append(starts, len(steps)))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes


def draw_curves(log: TrainingLog) -> bytes | None:
    """Loss terms, validation figures and learning rate over steps, as a PNG; None where the log has none of
    them.

    raises   MissingExtra without matplotlib (extra ``plots``).
    """
    panels = [
        ("Loss terms", [name for name in LOSS_TERMS if name in log.series]),
        ("Validation", sorted((n for n in log.series if n.startswith("valid/")), key=_validation_order)[:4]),
        ("Learning rate", [name for name in ("learning_rate",) if name in log.series]),
    ]
    panels = [(title, names) for title, names in panels if names]
    if not panels:
        return None
    require("matplotlib", extra="plots", purpose="the drawing of training curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widths = [1.0 if title == "Learning rate" else 1.7 for title, _ in panels]
    figure = Figure(figsize=(2.7 * sum(widths), 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    colours = ["#1f2a44", "#c8553d", "#2a7f74", "#b8892b", "#7a5ea8"]
    for axes, (title, names) in zip(
        figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0], panels, strict=True
    ):
        for colour, name in zip(colours, names, strict=False):
            steps, values = thin(*log.series[name])
            mark = "o" if len(steps) < 40 else None
            label = name.removeprefix("valid/")
            axes.plot(steps, values, color=colour, linewidth=1.6, marker=mark, markersize=3, label=label)
        best = log.best() if title == "Validation" and "valid/selected" in names else None
        if best:
            axes.axvline(best[0], color="#8a8f9c", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set_title(title, fontsize=10, loc="left", color="#1f2a44", fontweight="bold")
        axes.set_xlabel("step", fontsize=8.5, color="#5b6172")
        axes.tick_params(labelsize=8, colors="#5b6172", length=3)
        axes.ticklabel_format(axis="x", style="plain")
        axes.locator_params(axis="x", nbins=4 if title == "Learning rate" else 7)
        axes.grid(axis="y", color="#e4e6eb", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color("#c9ccd5")
        if len(names) > 1:
            axes.legend(fontsize=8, frameon=False, labelcolor="#3a4051")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _validation_order(name: str) -> tuple[bool, str]:
    return name != "valid/selected", name

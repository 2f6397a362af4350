"""The code report as a picture (needs matplotlib, the extra ``plots``)."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"behavior": "#2a6f97", "semantic": "#c8553d"}
GREY = "#9a9a9a"


def plot_report(report: dict[str, Any], path: str | Path) -> None:
    """Draw what ``code_report`` found, four panels, as PNG.

    Raises ImportError, naming the extra, without matplotlib, and ValueError on a report on no codes.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "the picture of the code report needs matplotlib; install it with: pip install 'gen_rec[plots]'"
        ) from error
    streams = {name: report[name] for name in COLOURS if name in report}
    if not streams:
        raise ValueError("the report has neither behavior nor semantic codes; nothing to draw")
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _sizes(axes[0, 0], streams)
    _entropy(axes[0, 1], streams)
    _inertia(axes[1, 0], streams)
    _neighbors(axes[1, 1], streams)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    first = next(iter(streams.values()))
    title = f"Codes of {first['n_items']:,} items"
    if "agreement" in report:
        value = report["agreement"]["adjusted_mutual_information"]
        title += f"; the first codes of the two trees agree by {value:.3f} (adjusted mutual information)"
    figure.suptitle(title)
    _save(figure, Path(path))


def _sizes(axis: "Axes", streams: dict[str, Any]) -> None:
    """Smallest to largest node, per level."""
    ticks: list[float] = []
    labels: list[str] = []
    for name, stream in streams.items():
        for level in stream["levels"]:
            y = -len(ticks)
            axis.plot([level["smallest"], level["largest"]], [y, y], color=COLOURS[name], lw=3, marker="o")
            low, high = level["smallest"], level["largest"]
            text = f"  {low:,}" if low == high else f"  {low:,} to {high:,}"
            axis.annotate(f"{text} in each of {level['nodes']:,} nodes", (high, y), va="center", fontsize=9)
            ticks.append(y)
            labels.append(f"{name}, level {level['level']}")
    axis.set_yticks(ticks, labels)
    axis.set_ylim(min(ticks) - 0.7, 0.7)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(low, high * (high / low) ** 0.7)  # room for the words
    axis.set(title="Size of the nodes", xlabel="items in a node")


def _entropy(axis: "Axes", streams: dict[str, Any]) -> None:
    """Entropy of the code at each level, against the most its width allows."""
    shift = -0.2 if len(streams) > 1 else 0.0
    for name, stream in streams.items():
        levels = [level["level"] for level in stream["levels"]]
        places = [level + shift for level in levels]
        axis.bar(
            places,
            [level["code_entropy"] for level in stream["levels"]],
            width=0.36,
            color=COLOURS[name],
            label=name,
        )
        for place, level in zip(places, stream["levels"], strict=True):
            axis.annotate(
                f"{level['code_balance']:.0%}",
                (place, level["code_entropy"]),
                ha="center",
                va="bottom",
                fontsize=9,
            )
        axis.set_xticks(levels)
        shift = 0.2
    axis.margins(y=0.3)
    axis.legend(frameon=False, loc="upper right", ncols=2)
    axis.set(title="Entropy of a code (share of what the width allows)", xlabel="level", ylabel="bits")


def _inertia(axis: "Axes", streams: dict[str, Any]) -> None:
    """First level: own inertia, the unbalanced optimum and chance, as shares of chance."""
    names, values, colours = [], [], []
    for name, stream in streams.items():
        first = stream["levels"][0]
        chance = first["random_inertia"] or 1.0
        names += [f"{name}: no size limit", f"{name}: codes", f"{name}: random tree"]
        values += [
            stream["unbalanced_inertia"] / chance,
            first["inertia"] / chance,
            first["random_inertia"] / chance,
        ]
        colours += [GREY, COLOURS[name], GREY]
    places = range(len(names), 0, -1)
    axis.barh(places, values, color=colours)
    for place, value in zip(places, values, strict=True):
        axis.annotate(f" {value:.3f}", (value, place), va="center", fontsize=9)
    axis.set_yticks(list(places), names)
    axis.set_xlim(0, max(*values, 1.0) * 1.15)
    axis.set(title="Inertia of the first level (lower is tighter)", xlabel="share of a random tree's")


def _neighbors(axis: "Axes", streams: dict[str, Any]) -> None:
    """Share of nearest neighbours with the same prefix, and chance."""
    asked = max(stream["neighbors"]["k"] for stream in streams.values())
    longest = max(len(stream["neighbors"]["share"]) for stream in streams.values())
    shift = -0.2 if len(streams) > 1 else 0.0
    for name, stream in streams.items():
        found = stream["neighbors"]
        places = [length + shift for length in range(1, len(found["share"]) + 1)]
        axis.bar(places, found["share"], width=0.36, color=COLOURS[name], label=name)
        for place, share, chance in zip(places, found["share"], found["chance"], strict=True):
            axis.annotate(f"{share:.1%}\nchance {chance:.2%}", (place, share), ha="center", va="bottom", fontsize=9)
        shift = 0.2
    axis.set_xticks(range(1, longest + 1))
    axis.margins(x=0.1, y=0.35)
    axis.legend(frameon=False, loc="upper right", ncols=2)
    axis.set(title=f"The {asked} nearest neighbours that share the prefix")
    axis.set(xlabel="codes in the prefix", ylabel="share")


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        figure.savefig(name, format="png", dpi=120)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

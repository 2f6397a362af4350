"""Draws NDCG@10 by popularity of the target and by length of the history, from the committed result files.

    python -m benchmarks.slices_plot --set amazon-beauty [--methods eager-reranked eager-fused sasrec-ce bsarec]

writes ``docs/images/slices-<set>.png``: means over the seeds of filtered figures on the test split, and below each
group how many users it has.
"""

import argparse
import statistics
import sys
from itertools import cycle
from pathlib import Path

from benchmarks.result_rows import names_of
from benchmarks.speed.plots import COLOURS
from gen_rec.errors import DataError
from gen_rec.evaluation.result import Result, read_folder
from gen_rec.extras import require
from gen_rec.files import atomic_path

HERE = Path(__file__).resolve().parent
METHODS = ("eager-reranked", "eager-fused", "sasrec-ce", "bsarec")
PANELS = {"target_popularity": "popularity of the target in training", "history_length": "items in the history"}
MODE, METRIC = "filtered", "ndcg@10"

Line = list[tuple[str, int, float]]
"""Group, its users, and the figure; in the order of the groups."""


def lines(results: list[Result], by: str) -> Line:
    """One method's line: the mean over its runs (seeds), group by group.

    results: of one method on the same users
    by:      what divides the users, see ``gen_rec.evaluation.slices``
    """
    values: dict[tuple[str, int], list[float]] = {}
    for result in results:
        for group in result.get("slices", []):
            if group["by"] == by:
                values.setdefault((group["slice"], group["n"]), []).append(group["metrics"][MODE][METRIC])
    return [(name, n, statistics.fmean(figures)) for (name, n), figures in values.items()]


def chosen(folder: Path, set_name: str, methods: list[str]) -> dict[str, list[Result]]:
    """The test results of a set, by method (and text encoder, where there are several), of the usual order of ties.

    raises DataError where none of the methods has any.
    """
    wanted = (set_name, "test", "input-order")
    results = [each for _, each in read_folder(folder) if (each["set"], each["split"], each["ties"]) == wanted]
    name_of = names_of(results)
    found: dict[str, list[Result]] = {}
    for method in methods:
        for result in results:
            if result["method"] == method:
                found.setdefault(name_of(result), []).append(result)
    if not found:
        raise DataError(f"{folder}: no test result of {', '.join(methods)} on {set_name}")
    return found


def draw(found: dict[str, list[Result]], set_name: str, path: Path) -> None:
    """Write the picture. raises MissingExtra without matplotlib (extra ``plots``)."""
    require("matplotlib", extra="plots", purpose="the picture of the slices")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="tight")
    FigureCanvasAgg(figure)
    for panel, (by, meaning) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for (method, results), colour in zip(found.items(), cycle(COLOURS), strict=False):
            line = lines(results, by)
            panel.plot(
                [f"{name}\n{n:,} users" for name, n, _ in line],
                [figure for _, _, figure in line],
                marker="o", markersize=4, linewidth=1.5, color=colour, label=method,
            )  # fmt: skip
        panel.set(xlabel=meaning, ylabel=f"NDCG@10, {MODE}", ylim=(0, None))
        panel.tick_params(labelsize=8)
        panel.grid(True, axis="y", linewidth=0.4, color="#d8d8d8")
        for edge in ("top", "right"):
            panel.spines[edge].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    figure.suptitle(f"{set_name}, test", fontsize=10, x=0.02, ha="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def main(arguments: list[str] | None = None) -> int:
    """Run the script. Returns the exit status: 0, or 2 for an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", required=True, help="such as amazon-beauty")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="in the order of the legend")
    parser.add_argument("--results", type=Path, default=HERE / "accuracy" / "results", help="folder of result files")
    parser.add_argument("--out", type=Path, help="docs/images/slices-<set>.png by default")
    options = parser.parse_args(arguments)
    path = options.out or HERE.parent / "docs" / "images" / f"slices-{options.set}.png"
    try:
        draw(chosen(options.results, options.set, options.methods), options.set, path)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

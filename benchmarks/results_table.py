"""Writes the README's table of results from the result files, or checks that it is up to date.

    python -m benchmarks.results_table            # rewrites the part between the markers
    python -m benchmarks.results_table --check    # exit status 1 when the README is stale

Every JSON file under ``benchmarks/accuracy/results`` holds one result, or a list, in the words of the
benchmark protocol. Results of one set, method, text encoder and treatment of ties are one row: their mean,
with the standard deviation over seeds where there are several. Figures that others published come from
``published.json`` beside this script; they stand in rows of their own, raw with raw and filtered with
filtered.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.markers import splice
from gen_rec.errors import DataError
from gen_rec.evaluation.metrics import metric_names
from gen_rec.evaluation.result import read_results
from gen_rec.files import atomic_path

HERE = Path(__file__).resolve().parent
MODES = {"raw": "items of the history may be recommended", "filtered": "items of the history are removed"}


@dataclass(frozen=True)
class Row:
    """One row of one table; ``figures`` has a mean and a standard deviation (None for one seed) a metric."""

    set: str
    mode: str
    name: str
    figures: dict[str, tuple[float, float | None]]
    seeds: int
    published: bool
    note: str = ""


def measured_rows(folder: Path) -> list[Row]:
    """Rows of our own results on the test split, best NDCG@10 first.

    raises   DataError for a file that is not a result, and for a seed that occurs twice in a row.
    """
    groups: dict[tuple[str, str, str, str], dict[int, tuple[Path, dict[str, dict[str, float]]]]] = {}
    for path in sorted(folder.glob("*.json")):
        for result in read_results(path):
            if result["split"] != "test":
                continue
            key = (result["set"], result["method"], result["text_encoder"], result["ties"])
            seeds = groups.setdefault(key, {})
            if result["seed"] in seeds:
                raise DataError(
                    f"{path}: {key[1]} on {key[0]} with seed {result['seed']} is already in "
                    f"{seeds[result['seed']][0]}; keep one file, or give the ablation a suffix to its method"
                )
            seeds[result["seed"]] = (path, result["metrics"])
    encoders: dict[tuple[str, str], set[str]] = {}
    for set_name, method, encoder, _ in groups:
        encoders.setdefault((set_name, method), set()).add(encoder)
    rows = []
    for (set_name, method, encoder, ties), seeds in groups.items():
        name = method
        if len(encoders[set_name, method]) > 1:
            name += f", {encoder or 'no text encoder'}"
        if ties == "shuffled":
            name += ", ties shuffled"
        for mode in MODES:
            figures = {}
            for metric in metric_names():
                values = [metrics[mode][metric] for _, metrics in seeds.values()]
                spread = statistics.stdev(values) if len(values) > 1 else None
                figures[metric] = (statistics.fmean(values), spread)
            rows.append(Row(set_name, mode, name, figures, len(seeds), published=False))
    return sorted(rows, key=lambda row: (-row.figures["ndcg@10"][0], row.name))


def published_rows(path: Path) -> list[Row]:
    """Rows of published figures, in the order of the file."""
    return [
        Row(
            each["set"],
            each["mode"],
            f"{each['name']} ({each['source']})",
            {name: (value, None) for name, value in each["figures"].items()},
            seeds=0,
            published=True,
            note=each.get("note", ""),
        )
        for each in json.loads(path.read_text(encoding="utf-8"))
    ]


def render(rows: Iterable[Row]) -> str:
    """The tables as Markdown: for every set that we measured, one for raw and one for filtered figures."""
    rows = list(rows)
    sets = sorted({row.set for row in rows if not row.published})
    if not sets:
        return "No result is committed yet."
    parts = []
    for set_name in sets:
        for mode, meaning in MODES.items():
            chosen = [row for row in rows if (row.set, row.mode) == (set_name, mode)]
            chosen.sort(key=lambda row: row.published)  # stable: ours first, each part in its order
            parts.append(f"**{set_name}, {mode}** ({meaning})\n\n{_table(chosen)}")
    parts.append(
        "R = Recall, N = NDCG, the whole catalogue ranked; mean ± standard deviation where there are several "
        "seeds; bold is the best of a column. Rows in *italics* with † are figures of others, not measured "
        "by this code."
    )
    return "\n\n".join(parts)


def _table(rows: list[Row]) -> str:
    names = metric_names()
    heads = [name.replace("recall", "R").replace("ndcg", "N") for name in names]
    best = {name: max((row.figures[name][0] for row in rows if name in row.figures), default=0) for name in names}
    lines = [f"| method | {' | '.join(heads)} | seeds |", "|---" + "|---:" * (len(names) + 1) + "|"]
    notes = []
    for row in rows:
        label = row.name.replace("|", "\\|")
        if row.published:
            label = f"*{label}* †"
        if row.note:
            notes.append(f"{row.name}: {row.note}.")
            label += "‡"
        cells = [_cell(row.figures.get(name), best[name]) for name in names]
        lines.append(f"| {label} | {' | '.join(cells)} | {row.seeds or ''} |")
    return "\n".join(lines + ([f"\n‡ {' '.join(notes)}"] if notes else []))


def _cell(figure: tuple[float, float | None] | None, best: float) -> str:
    if figure is None:
        return "–"
    mean, spread = figure
    text = f"{mean:.4f}".removeprefix("0")
    if f"{mean:.4f}" == f"{best:.4f}":
        text = f"**{text}**"
    return text if spread is None else f"{text} ± {spread:.4f}".replace("± 0.", "± .")


def main(arguments: list[str] | None = None) -> int:
    """Run the script. Returns the exit status: 0, or 1 for a stale README (``--check``), 2 for an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "accuracy" / "results", help="folder of result files")
    parser.add_argument("--published", type=Path, default=HERE / "published.json", help="figures of others")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md", help="the file with the markers")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when the table is stale")
    options = parser.parse_args(arguments)
    try:
        if not options.readme.exists():
            raise DataError(f"{options.readme}: no such file; give the README with --readme")
        old = options.readme.read_text(encoding="utf-8")
        rows = measured_rows(options.results) + published_rows(options.published)
        new = splice(old, "results", render(rows), str(options.readme))
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    if old == new:
        return 0
    if options.check:
        print(
            f"{options.readme} is stale; write it anew with: python -m benchmarks.results_table",
            file=sys.stderr,
        )
        return 1
    with atomic_path(options.readme) as temporary:
        temporary.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

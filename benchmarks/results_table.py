"""Writes the tables of results from the result files, or checks that they are up to date.

    python -m benchmarks.results_table            # rewrites the parts between the markers
    python -m benchmarks.results_table --check    # exit status 1 when a page is stale

The README has the methods, on the sets for which others published figures: all figures, and before them one a method
and set (``headline_table``). What a part is worth stands in
``docs/results.md``: methods with a suffix, as in ``eager-fused/no-transfer``, below the method that they vary; and
what was aimed at (``targets_table``), what methods cost (``cost_table``), whether differences are more than chance
(``paired_table``), and what is left over shuffled ties (``shuffled_table``), which have no part in the others.

Every JSON file under ``benchmarks/accuracy/results`` holds one result, or a list, in the words of the
benchmark protocol. Results of one set, method, text encoder and treatment of ties are one row: their mean,
with the standard deviation over seeds where there are several. Figures that others published come from
``published.json`` beside this script; they stand in rows of their own, raw with raw and filtered with
filtered.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.cost_table import render_costs
from benchmarks.headline_table import render_headline
from benchmarks.markers import splice
from benchmarks.paired_table import render_pairs
from benchmarks.result_rows import MODES, Row, measured_rows, published_rows
from benchmarks.shuffled_table import render_shuffled
from benchmarks.targets_table import render_targets
from gen_rec.errors import DataError
from gen_rec.evaluation.metrics import metric_names
from gen_rec.evaluation.result import read_folder
from gen_rec.files import atomic_path
from gen_rec.report.tables import share

HERE = Path(__file__).resolve().parent


def render_methods(measured: list[Row], published: list[Row]) -> str:
    """The README's tables: whole methods on the sets that others published figures of, ours first."""
    known = {row.set for row in published}
    whole = [row for row in measured if row.set in known and row.usual]
    sets = {row.set for row in whole}
    if not sets:
        return "No result is committed yet."
    text = _tables([*whole, *(row for row in published if row.set in sets)])
    return f"{text} Rows in *italics* with † are figures of others, not measured by this code."


def render_ablations(measured: list[Row]) -> str:
    """The tables of ``docs/results.md``: for every set, the methods that were varied and their variants."""
    varied = {(row.set, row.base) for row in measured if row.method != row.base}
    if not varied:
        return "No result is committed yet."
    return _tables([row for row in measured if (row.set, row.base) in varied and row.ties == "input-order"])


def _tables(rows: list[Row]) -> str:
    """A table for every set and mode, in Markdown, and what their words mean."""
    parts = []
    for set_name in sorted({row.set for row in rows}):
        for mode, meaning in MODES.items():
            chosen = [row for row in rows if (row.set, row.mode) == (set_name, mode)]
            parts.append(f"**{set_name}, {mode}** ({meaning})\n\n{_table(chosen)}")
    parts.append(
        "R = Recall, N = NDCG, the whole catalogue ranked; mean ± standard deviation where there are several "
        "seeds; bold is the best of a column."
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
    text = share(mean)
    if text == share(best):
        text = f"**{text}**"
    return text if spread is None else f"{text} ± {spread:.4f}".replace("± 0.", "± .")


def main(arguments: list[str] | None = None) -> int:
    """Run the script. Returns the exit status: 0, or 1 for a stale page (``--check``), 2 for an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "accuracy" / "results", help="folder of result files")
    parser.add_argument("--published", type=Path, default=HERE / "published.json", help="figures of others")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md", help="the page of the methods")
    parser.add_argument(
        "--ablations", type=Path, default=HERE.parent / "docs" / "results.md", help="the page of what parts are worth"
    )
    parser.add_argument(
        "--evidence", type=Path, default=HERE / "accuracy" / "evidence", help="folder of paired comparisons"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when a page is stale")
    options = parser.parse_args(arguments)
    stale = False
    try:
        results = list(read_folder(options.results))
        measured, published = measured_rows(results), published_rows(options.published)
        sets = sorted({row.set for row in published})
        pages = {
            options.readme: {
                "headline": render_headline(measured, published),
                "results": render_methods(measured, published),
            },
            options.ablations: {
                "targets": render_targets(measured, published),
                "ablations": render_ablations(measured),
                "pairs": render_pairs(options.evidence),
                "shuffled": render_shuffled(measured),
                "costs": render_costs((result for _, result in results), sets),
            },
        }
        changed = [(page, *_spliced(page, tables)) for page, tables in pages.items()]
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    for page, old, new in changed:
        if old == new:
            continue
        if options.check:
            print(f"{page} is stale; write it anew with: python -m benchmarks.results_table", file=sys.stderr)
            stale = True
            continue
        with atomic_path(page) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return int(stale)


def _spliced(page: Path, tables: dict[str, str]) -> tuple[str, str]:
    """A page as it is and as it should be. raises DataError where it or its markers are missing."""
    if not page.exists():
        raise DataError(f"{page}: no such file; give the page with the markers of {', '.join(tables)}")
    old = new = page.read_text(encoding="utf-8")
    for name, text in tables.items():
        new = splice(new, name, text, str(page))
    return old, new


if __name__ == "__main__":
    sys.exit(main())

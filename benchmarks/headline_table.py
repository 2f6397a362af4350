"""The table at the top of the results: one figure a method and set, so that methods can be compared at a glance."""

from collections.abc import Iterable

from benchmarks.result_rows import Row
from gen_rec.report.tables import share

METRIC, MODE = "ndcg@10", "filtered"


def render_headline(measured: list[Row], published: list[Row]) -> str:
    """Filtered NDCG@10 of whole methods on the sets that others published figures of, best mean first.

    Methods that were not run on all the sets come after those that were. Figures of others have a † and stand below.
    """
    known = {row.set for row in published}
    ours = _by_name(row for row in measured if row.usual and row.set in known)
    if not ours:
        return "No result is committed yet."
    sets = sorted({name for rows in ours.values() for name in rows})
    others = _by_name(row for row in published if row.set in sets and METRIC in row.figures)
    order = sorted(ours, key=lambda name: (-len(ours[name]), -_mean(ours[name]), name))
    lines = [f"| method | {' | '.join(sets)} |", "|---" + "|---:" * len(sets) + "|"]
    lines += [f"| {name} | {' | '.join(_cell(ours[name].get(each)) for each in sets)} |" for name in order]
    lines += [f"| *{name}* † | {' | '.join(_cell(others[name].get(each)) for each in sets)} |" for name in others]
    return "\n".join(lines)


def _by_name(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """name -> set -> row, names in the order in which they first occur."""
    names: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.mode == MODE:
            names.setdefault(row.name, {})[row.set] = row
    return names


def _mean(rows: dict[str, Row]) -> float:
    return sum(row.figures[METRIC][0] for row in rows.values()) / len(rows)


def _cell(row: Row | None) -> str:
    """Mean, spread and number of seeds; a figure of others is the bare figure."""
    if row is None:
        return "–"
    mean, spread = row.figures[METRIC]
    if row.published:
        return share(mean)
    return share(mean) if spread is None else f"{share(mean)} ± {spread:.4f} ({row.seeds})".replace("± 0.", "± .")

"""The table of what methods cost: wall time and memory of a run, from the result files."""

import statistics
from collections.abc import Iterable

from benchmarks.result_rows import names_of
from gen_rec.evaluation.result import Result

PARTS = ("eager-behavior", "eager-semantic")
"""Parts of one run; what it cost stands at ``eager-fused``."""


def render_costs(results: Iterable[Result], sets: list[str]) -> str:
    """Methods by sets: mean wall time of the seeds' runs, and the most memory that one of them took.

    results: variants of a method (those with a slash) and runs with shuffled ties have no part in it
    sets:    the columns, in this order
    """
    found: dict[str, dict[str, list[Result]]] = {}
    results = list(results)
    name_of = names_of(results)
    for result in results:
        method = result["method"]
        usual = (result["split"], result["ties"]) == ("test", "input-order") and "/" not in method
        if usual and result["set"] in sets and method not in PARTS:
            found.setdefault(name_of(result), {}).setdefault(result["set"], []).append(result)
    if not found:
        return "No result is committed yet."
    lines = ["| method | " + " | ".join(sets) + " |", "|---" + "|---:" * len(sets) + "|"]
    for method in sorted(found):
        cells = [_cell(found[method].get(name, [])) for name in sets]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    machines = sorted({each["hardware"] for of_set in found.values() for runs in of_set.values() for each in runs})
    return "\n".join(lines) + f"\n\nHardware: {'; '.join(machines)}."


def _cell(runs: list[Result]) -> str:
    if not runs:
        return "–"
    minutes = statistics.fmean(run["wall_s"] for run in runs) / 60
    memory = max(run["peak_rss_mb"] for run in runs) / 1024
    return f"{minutes:.1f} min, {memory:.1f} GiB" if memory else f"{minutes:.1f} min"  # 0: not measured

"""The table of paired comparisons, from the files that ``benchmarks.accuracy.rivals.compare --keep`` wrote."""

import json
from pathlib import Path
from typing import Any

from gen_rec.errors import DataError
from gen_rec.evaluation.evaluator import MODES

METRIC = "ndcg@10"


def render_pairs(folder: Path) -> str:
    """Differences of NDCG@10 on the test split with their 95 % intervals over users. folder: of the evidence"""
    rows = [row for _, row in sorted(_row(path) for path in folder.glob("*-vs-*.json"))]
    if not rows:
        return "No comparison is committed yet."
    lines = ["| set | method | less | " + " | ".join(MODES) + " |", "|---|---|---" + "|---:" * len(MODES) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _row(path: Path) -> tuple[tuple[Any, ...], list[str]]:
    """Where it stands, and its cells: set, sides, differences. raises DataError where the file is no comparison."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        cells = [_cell(found["test"][mode]) for mode in MODES]
        a, b = found["a"], found["b"]
        place = (a["set"], a["method"], b["method"], a["ties"], b["ties"], a["seed"], b["seed"])
        return place, [a["set"], _side(a), _side(b), *cells]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a comparison ({error!r}); make it again: rivals.compare --keep") from error


def _side(side: dict[str, Any]) -> str:
    shuffled = ", ties shuffled" if side["ties"] == "shuffled" else ""
    return f"{side['method']}{shuffled}, seed {side['seed']}"


def _cell(test: dict[str, dict[str, float]]) -> str:
    found = test[METRIC]
    difference, low, high = (f"{found[name]:+.4f}".replace("0.", ".", 1) for name in ("difference", "low", "high"))
    return f"{difference} ({low} to {high})"

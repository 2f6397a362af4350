"""The table of paired comparisons, from the files that ``benchmarks.accuracy.rivals.compare --keep`` wrote."""

import json
from pathlib import Path

from gen_rec.evaluation.evaluator import MODES

METRIC = "ndcg@10"


def render_pairs(folder: Path) -> str:
    """Differences of NDCG@10 on the test split with their 95 % intervals over users. folder: of the evidence"""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*-vs-*.json"))]
    if not rows:
        return "No comparison is committed yet."
    lines = ["| set | method | less | " + " | ".join(MODES) + " |", "|---|---|---" + "|---:" * len(MODES) + "|"]
    for row in rows:
        cells = [_cell(row["test"][mode][METRIC]) for mode in MODES]
        names = [f"{side['method']}, seed {side['seed']}" for side in (row["a"], row["b"])]
        lines.append(f"| {row['a']['set']} | {' | '.join(names)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: dict[str, float]) -> str:
    difference, low, high = (f"{found[name]:+.4f}".replace("0.", ".", 1) for name in ("difference", "low", "high"))
    return f"{difference} ({low} to {high})"

"""The table of what was aimed at: the article's raw figures, and the strongest rival, filtered."""

from benchmarks.result_rows import Row
from gen_rec.report.tables import share

OURS = ("eager-fused", "eager-reranked")
"""The generative model alone, and with the last ranking."""
PARTS = ("eager", "embsum")
"""How the names of what is ours begin; everything else that was measured is a rival."""
METRIC, MARGIN = "ndcg@10", 1.10


def render_targets(measured: list[Row], published: list[Row]) -> str:
    """For every set: how many of EAGER's figures are passed (raw), and whether the strongest rival is (filtered).

    The strongest rival is the best filtered NDCG@10 among the rivals that were run here and the figures that others
    published of the set. The model alone is to pass it, with the last ranking by 10 %. Where ours were run with several
    text encoders, each has a line.
    """
    plain = [row for row in measured if row.usual]
    lines = [
        f"| set | EAGER's article, raw: passed by {OURS[0]} | by {OURS[1]} | strongest rival, filtered NDCG@10 "
        f"| {OURS[0]} | {OURS[1]}, to pass it by 10 % |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for name in sorted({row.set for row in published}):
        of_set = [row for row in plain if row.set == name]
        others = [row for row in of_set if not row.method.startswith(PARTS)]
        others += [row for row in published if row.set == name]
        article = next((row for row in others if row.mode == "raw" and row.name.startswith("EAGER ")), None)
        rivals = [row for row in others if row.mode == "filtered" and METRIC in row.figures]
        if article is None or not rivals:
            continue
        rival = max(rivals, key=lambda row: row.figures[METRIC][0])
        encoders = sorted({row.text_encoder for row in of_set if row.method in OURS})
        for encoder in encoders:
            mine = {(row.mode, row.method): row for row in of_set if row.text_encoder == encoder}
            cells = [name if len(encoders) == 1 else f"{name}, {encoder}"]
            cells += [_passed(mine.get(("raw", method)), article) for method in OURS]
            cells.append(f"{rival.name}{' †' if rival.published else ''} {share(rival.figures[METRIC][0])}")
            for method, margin in zip(OURS, (1.0, MARGIN), strict=True):
                cells.append(_reached(mine.get(("filtered", method)), margin * rival.figures[METRIC][0]))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else "No result is committed yet."


def _passed(row: Row | None, article: Row) -> str:
    if row is None:
        return "–"
    passed = sum(row.figures[metric][0] > figure for metric, (figure, _) in article.figures.items())
    return f"{passed} of {len(article.figures)}"


def _reached(row: Row | None, target: float) -> str:
    """The figure, and by how much it passes or misses."""
    if row is None:
        return "–"
    figure = row.figures[METRIC][0]
    return f"{share(figure)} ({'passed' if figure > target else '**missed**'}, {figure / target - 1:+.1%})"

"""The table of the robustness runs: what is left where the order of a day's items is drawn by lot."""

from benchmarks.accuracy.home import REDRAWN
from benchmarks.result_rows import Row
from gen_rec.report.tables import share

METRIC, MODE = "ndcg@10", "filtered"


def render_shuffled(measured: list[Row]) -> str:
    """Filtered NDCG@10 of every method that was also run over shuffled ties, with the usual order and without.

    The two are not of the same targets: where a user's last items share a day, the lot decides which is the last. A
    method that draws the order anew in every epoch stands beside its plain kin.
    """
    rows = {(row.set, row.method, row.text_encoder, row.ties): row for row in measured if row.mode == MODE}
    lines = ["| set | method | order of the file | order within a day shuffled | |", "|---|---|---:|---:|---:|"]
    for (set_name, method, encoder, ties), row in sorted(rows.items(), key=lambda each: each[0][:2]):
        usual = rows.get((set_name, method.removesuffix(f"/{REDRAWN}"), encoder, "input-order"))
        if ties == "shuffled" and usual is not None:
            before, after = (each.figures[METRIC][0] for each in (usual, row))
            cells = [f"{share(each.figures[METRIC][0])} ({_seeds(each.seeds)})" for each in (usual, row)]
            lines.append(f"| {set_name} | {row.name} | {' | '.join(cells)} | {after / before - 1:+.0%} |")
    return "\n".join(lines) if len(lines) > 2 else "No run over shuffled ties is committed yet."


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"

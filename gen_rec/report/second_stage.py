"""What the page says of the last ranking and of EmbSum: figures before and after, what each feature is worth."""

from typing import Any

from gen_rec.evaluation.metrics import metric_names
from gen_rec.report.tables import MODES, Cell, Table, number, share, words


def ranking_tables(report: dict[str, Any]) -> list[Table]:
    """Tables of ``rerank/report.json``: cross-fitted validation figures, then the features."""
    validation = report["validation"]
    names = metric_names()
    rows: list[list[Cell]] = []
    groups: list[int] = []
    for mode in MODES:
        groups.append(len(rows))
        for when, label in (("before", "Search alone"), ("after", "Last ranking")):
            figures = validation[when][mode]
            better = when == "after"
            rows.append(
                [Cell(label, note=mode), *(Cell(share(figures[name]), best=better and
                 figures[name] > validation["before"][mode][name]) for name in names)]
            )  # fmt: skip
    head = [name.replace("recall", "Recall").replace("ndcg", "NDCG") for name in names]
    caption = f"{number(validation['users'])} validation users, each scored by a blend that did not see him"
    tables = [Table(["", *head], rows, caption, groups)]
    importance, worth = report.get("importance", {}), report.get("worth", {})
    if importance:
        rows = []
        for name in sorted(importance, key=lambda name: -abs(importance[name])):
            found = worth.get(name, {}).get("filtered")
            note = f"{found['low']:+.4f} – {found['high']:+.4f}" if found else ""
            rows.append([
                Cell(words(name)), Cell(f"{importance[name]:+.3f}"),
                Cell(f"{found['difference']:+.4f}" if found else "–", note),
            ])  # fmt: skip
        what = "Weight" if report.get("blend") == "linear" else "Share of the gain"
        repeat = report.get("repeat")
        again = f"; an item of the history gets {repeat:+.2f} on top where it may be listed" if repeat else ""
        tables.append(Table(["Feature", what, "NDCG@10 lost without it"], rows, f"What the blend looks at{again}"))
    return tables


def embsum_tables(training: dict[str, Any], states: dict[str, Any], written: dict[str, Any]) -> list[Table]:
    """Tables of ``training.json``, ``states.json`` and ``summaries_test.json``, each empty where it is not there."""
    single = {name: value for name, value in training.items() if not isinstance(value, dict)}
    rows = [[Cell(words(name)), Cell(number(value))] for name, value in single.items()]
    cut = training.get("truncated", {})
    parts = [name for name in ("items", "sessions", "histories") if cut.get(name)]
    rows += [[Cell(f"{name} cut"), Cell(f"{cut[f'{name}_cut'] / cut[name]:.1%}")] for name in parts]
    if written.get("rouge_l") is not None:
        rows.append([Cell("ROUGE-L of its summaries"), Cell(share(written["rouge_l"]))])
    tables = [Table(["", ""], rows, "EmbSum's training")] if rows else []
    if states:
        figures: dict[str, dict[str, float]] = states["states"]
        columns = [name for name in next(iter(figures.values())) if name != "seconds"]
        tables.append(
            Table(
                ["State", *(" ".join(reversed(name.split("/")[:2])) for name in columns)],
                [[Cell(state), *(Cell(share(values[name])) for name in columns)] for state, values in figures.items()],
                f"EmbSum alone, the whole catalogue ranked for {number(states['n_users'])} validation users",
            )
        )
    return tables

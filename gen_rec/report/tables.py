"""Numbers of a run as tables of text, ready for the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gen_rec.evaluation.metrics import metric_names
from gen_rec.evaluation.result import Result

MODES = ("raw", "filtered")


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    """What it says."""
    note: str = ""
    """Said smaller, below."""
    bar: float | None = None
    """Length of a bar behind the text, 0 to 1."""
    best: bool = False
    """Whether it is the best of its column."""


@dataclass(frozen=True)
class Table:
    """A table with a head and rows of cells; the first cell of a row names it."""

    head: list[str]
    rows: list[list[Cell]]
    caption: str = ""
    groups: list[int] = field(default_factory=list)
    """Rows that start a new group, drawn with a line above."""


def share(value: float) -> str:
    """A metric as the field prints it: four decimals, no leading zero; 0.0451 is .0451."""
    return f"{value:.4f}".removeprefix("0")


def number(value: Any) -> str:
    """Any JSON scalar, short: thousands separated, four significant digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return f"{int(value):,}"
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def words(key: str) -> str:
    """A JSON key as words: ``share_with_text`` is "share with text"."""
    return key.replace("_", " ")


def metrics_table(results: Sequence[Result]) -> Table:
    """Recall and NDCG of every method, raw and filtered, with intervals where a result has them."""
    names = metric_names()
    rows: list[list[Cell]] = []
    groups: list[int] = []
    for mode in MODES:
        best = {name: max(result["metrics"][mode][name] for result in results) for name in names}
        groups.append(len(rows))
        for result in results:
            cells = [Cell(result["method"], note=mode)]
            for name in names:
                value = result["metrics"][mode][name]
                low_high = result.get("intervals", {}).get(mode, {}).get(name)
                note = f"{share(low_high[0])} – {share(low_high[1])}" if low_high else ""
                cells.append(Cell(share(value), note, best=len(results) > 1 and value == best[name] > 0))
            rows.append(cells)
    head = [name.replace("recall", "Recall").replace("ndcg", "NDCG") for name in names]
    return Table(["", *head], rows, groups=groups)


def beyond_table(results: Sequence[Result], cut: int = 10) -> Table | None:
    """Coverage, novelty and popularity of every method at one cut; None where no result has them."""
    rows = []
    for mode in MODES:
        for result in results:
            figures = result.get("beyond", {}).get(mode)
            if figures:
                coverage = figures[f"coverage@{cut}"]
                rows.append(
                    [
                        Cell(result["method"], note=mode),
                        Cell(f"{coverage:.1%}", bar=coverage),
                        Cell(f"{figures[f'novelty@{cut}']:.2f} bits"),
                        Cell(number(round(figures[f"popularity@{cut}"], 1))),
                    ]
                )
    if not rows:
        return None
    head = ["", f"Coverage@{cut}", f"Novelty@{cut}", f"Mean popularity@{cut}"]
    return Table(head, rows, groups=[len(rows) // 2])


def slice_tables(results: Sequence[Result], name: str = "ndcg@10") -> list[Table]:
    """One table a slicing: a figure of every method, raw and filtered, in every slice."""
    with_slices = [result for result in results if result.get("slices")]
    if not with_slices:
        return []
    tables = []
    for by in dict.fromkeys(part["by"] for part in with_slices[0]["slices"]):
        parts = [[part for part in result["slices"] if part["by"] == by] for result in with_slices]
        figures = [part["metrics"][mode][name] for column in parts for part in column for mode in MODES]
        largest = max(figures) or 1.0
        total = sum(part["n"] for part in parts[0]) or 1
        rows = []
        for i, part in enumerate(parts[0]):
            cells = [
                Cell(part["slice"], note=_range(part)),
                Cell(number(part["n"]), note=f"{part['n'] / total:.1%}"),
            ]
            for column in parts:
                for mode in MODES:
                    value = column[i]["metrics"][mode][name]
                    cells.append(Cell(share(value), bar=value / largest))
            rows.append(cells)
        head = [words(by).capitalize(), "Users"]
        head += [f"{result['method']} {mode}" for result in with_slices for mode in MODES]
        tables.append(Table(head, rows, caption=f"{name.replace('ndcg', 'NDCG')} by {words(by)}"))
    return tables


def _range(part: dict[str, Any]) -> str:
    if part["by"] != "target_popularity":
        return ""
    if part["high"] is None:
        return f"{part['low']:,} or more in training"
    if part["low"] == part["high"]:
        return f"{part['low']:,} in training"
    return f"{part['low']:,} – {part['high']:,} in training"


def data_tables(summary: dict[str, Any]) -> list[Table]:
    """The data summary: its single numbers in one table, its groups of numbers (quantiles) in another."""
    scalars, spreads = [], {}
    for key, value in summary.items():
        if isinstance(value, dict) and value and not any(isinstance(v, dict | list) for v in value.values()):
            spreads[key] = value
        elif isinstance(value, dict | list):
            continue
        elif key.endswith("timestamp") and isinstance(value, int) and summary.get("clock", "unix") == "unix":
            scalars.append([Cell(words(key)), Cell(datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d"))])
        elif key.startswith("share") and isinstance(value, int | float):
            scalars.append([Cell(words(key)), Cell(f"{value:.1%}")])
        elif key == "density" and isinstance(value, int | float):
            scalars.append([Cell(key), Cell(f"{value:.4%}")])
        else:
            scalars.append([Cell(words(key)), Cell(number(value))])
    tables = [Table(["", ""], scalars)] if scalars else []
    by_columns: dict[tuple[str, ...], list[list[Cell]]] = {}
    for key, value in spreads.items():
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value.values()):
            by_columns.setdefault(tuple(value), []).append(
                [Cell(words(key)), *(Cell(number(round(v, 1))) for v in value.values())]
            )
    tables += [Table(["", *map(words, columns)], rows) for columns, rows in by_columns.items()]
    return tables


def json_tables(value: dict[str, Any], caption: str = "") -> list[Table]:
    """Any JSON object as tables: single values by name, lists of objects by column, nested objects by their
    name.

    Lists of numbers stand in one cell, the first eight of them; deeper structure keeps its path in the
    caption.
    """
    scalars = [[Cell(words(k)), Cell(_scalar(v))] for k, v in value.items() if not _is_nested(v)]
    tables = [Table(["", ""], scalars, caption)] if scalars else []
    for key, inner in value.items():
        path = f"{caption} · {words(key)}" if caption else words(key)
        if isinstance(inner, dict) and inner:
            tables += json_tables(inner, path)
        elif _is_nested(inner):
            columns = list(dict.fromkeys(k for row in inner for k in row if not _is_nested(row[k])))
            if "level" not in columns[:1]:
                columns = ["", *columns]
            rows = [
                [Cell(str(i) if k == "" else _scalar(row.get(k))) for k in columns]
                for i, row in enumerate(inner, start=1)
            ]
            tables.append(Table([words(k) for k in columns], rows, path))
    return tables


def _is_nested(value: Any) -> bool:
    return bool(value) and (isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict)))


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            return f"{len(value)} lists"
        return ", ".join(number(v) for v in value[:8]) + (f", … ({len(value)})" if len(value) > 8 else "")
    return "–" if isinstance(value, dict) else number(value)

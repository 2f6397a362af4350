"""The rows as a table for people."""

from collections.abc import Sequence
from typing import Any


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: one line a row, our figure, the rival's, the ratio with its spread."""
    lines = ["| # | work | ours | rival | ratio (spread) |", "|---|---|---|---|---|"]
    for row in rows:
        ours, rival = figure(row["ours"], row["unit"]), figure(row["rival"], row["unit"])
        lines.append(f"| {row['row']} | {row['name']} | {ours} | {rival} | {ratio(row)} |")
    return "\n".join(lines)


def figure(value: float | None, unit: str) -> str:
    """A value in its unit, three digits."""
    return "–" if value is None else f"{short(value)} {unit}"


def ratio(row: dict[str, Any]) -> str:
    """The ratio and its spread; the spread of our own figure where there is no rival."""
    low, high = row["spread"]
    if row["ratio"] is None:
        return f"({short(low)}–{short(high)} {row['unit']})"
    return f"{short(row['ratio'])} × ({short(low)}–{short(high)})"


def short(value: float) -> str:
    """Three significant digits, thousands with commas."""
    if abs(value) >= 1000:
        return f"{round(value):,}"
    return f"{value:#.3g}".rstrip(".") if value else "0"

"""What the page says of the last ranking and of EmbSum; and nothing of them where a run has neither."""

import json
from pathlib import Path

import pytest

from gen_rec.report import write_report
from gen_rec.report.second_stage import embsum_tables, ranking_tables

NAMES = [f"{metric}@{cut}" for metric in ("recall", "ndcg") for cut in (5, 10, 20)]


def figures(value: float) -> dict[str, dict[str, float]]:
    return {mode: dict.fromkeys(NAMES, value) for mode in ("raw", "filtered")}


REPORT = {
    "blend": "linear",
    "importance": {"behavior": 0.5, "graph_last": -1.25},
    "validation": {"users": 1234, "before": figures(0.05), "after": figures(0.0625)},
    "worth": {"graph_last": {"filtered": {"difference": 0.004, "low": 0.001, "high": 0.0075}}},
}
TRAINING = {
    "users": 120, "seconds": 61.5, "best": {"filtered/ndcg@10/embsum": 0.1},
    "truncated": {"items": 40, "items_cut": 10, "sessions": 8, "sessions_cut": 0, "histories": 0, "histories_cut": 0},
}  # fmt: skip
STATES = {
    "n_users": 50,
    "states": {"start": {"raw/ndcg@10/embsum": 0.03, "seconds": 1.0}, "summary": {"raw/ndcg@10/embsum": 0.04}},
}


def cells(table: object) -> list[list[tuple[str, str]]]:
    return [[(cell.text, cell.note) for cell in row] for row in table.rows]  # type: ignore[attr-defined]


def test_the_last_ranking() -> None:
    before_after, features = ranking_tables(REPORT)
    assert [row[:2] for row in cells(before_after)] == [
        [("Search alone", "raw"), (".0500", "")], [("Last ranking", "raw"), (".0625", "")],
        [("Search alone", "filtered"), (".0500", "")], [("Last ranking", "filtered"), (".0625", "")],
    ]  # fmt: skip
    assert [cell.best for cell in before_after.rows[1]] == [False] + [True] * 6
    assert not any(cell.best for cell in before_after.rows[0])
    assert before_after.caption.startswith("1,234 validation users")
    assert cells(features) == [  # the weightiest first
        [("graph last", ""), ("-1.250", ""), ("+0.0040", "+0.0010 – +0.0075")],
        [("behavior", ""), ("+0.500", ""), ("–", "")],
    ]


def test_embsum() -> None:
    training, states = embsum_tables(TRAINING, STATES, {"rouge_l": 0.4321})
    assert cells(training) == [
        [("users", ""), ("120", "")], [("seconds", ""), ("61.5", "")], [("items cut", ""), ("25.0%", "")],
        [("sessions cut", ""), ("0.0%", "")], [("ROUGE-L of its summaries", ""), (".4321", "")],
    ]  # fmt: skip
    assert states.head == ["State", "ndcg@10 raw"]
    assert cells(states) == [[("start", ""), (".0300", "")], [("summary", ""), (".0400", "")]]
    assert embsum_tables({}, {}, {}) == []


@pytest.mark.parametrize("there", [True, False])
def test_the_page(there: bool, tmp_path: Path) -> None:
    if there:
        for name, value in (("rerank/report.json", REPORT), ("embsum/training.json", TRAINING)):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_text(json.dumps(value))
    user = {"user_id": "ann", "history": ["Soap"], "target": "Comb", "lists": {"eager-reranked": ["Comb"]}}
    if there:
        user["summary"] = "Likes <soap>."
    page = write_report(tmp_path, [user]).read_text()
    assert ('<section id="second">' in page) == there
    assert ("Likes &lt;soap&gt;. <small>written by EmbSum</small>" in page) == there
    assert ("+0.0010" in page) == there
    assert "<h4>Reranked · target at 1</h4>" in page

"""Features against loops over the formulas, and what is said where something is not known."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gen_rec.data.interactions import Dataset, Sequences, offsets_of
from gen_rec.errors import GenRecError
from gen_rec.ranking import features
from gen_rec.ranking.features import DAY, ItemFacts, feature_table, text_features

N_ITEMS, DIM = 9, 4
TOLERANCE = 1e-5
"""Float32 sums of a few numbers of size one."""


def sequences(histories: list[list[int]]) -> Sequences:
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    return Sequences(offsets_of(lengths), items, np.arange(len(histories), dtype=np.int32))


def unit_vectors() -> np.ndarray:
    vectors = np.random.default_rng(0).standard_normal((N_ITEMS, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


HISTORIES = [[2, 5, 2, 1], [4], [], [0, 3]]
ITEMS = np.array([[1, 2, 8], [4, 7, -1], [0, 1, 2], [5, 3, 0]])


@pytest.mark.parametrize("gathered", [1 << 24, 1])
def test_texts_are_compared_as_the_formulas_say(gathered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "GATHERED", gathered)
    text = unit_vectors()
    found = text_features(text, ITEMS, sequences(HISTORIES), decay=0.6)
    for row, history in enumerate(HISTORIES):
        for column, item in enumerate(ITEMS[row]):
            if item < 0:
                continue
            aged = [(0.6**age, h) for age, h in enumerate(reversed(history)) if h != item]  # newest first
            if not aged:
                assert all(np.isnan(found[name][row, column]) for name in found)
                continue
            mean = sum(w * text[h] for w, h in aged)
            expected = {
                "text_mean": text[item] @ mean / np.linalg.norm(mean),
                "text_last": text[item] @ text[aged[0][1]],
                "text_max": max(text[item] @ text[h] for _, h in aged),
            }
            for name, value in expected.items():
                assert found[name][row, column] == pytest.approx(value, abs=TOLERANCE), name


def test_only_the_most_recent_texts_of_a_long_history_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text, items = unit_vectors(), np.array([[7, 8]])
    monkeypatch.setattr(features, "TEXT_ITEMS", 2)
    found = text_features(text, items, sequences([[0, 1, 2, 3, 4]]), 0.7)
    expected = text_features(text, items, sequences([[3, 4]]), 0.7)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], atol=TOLERANCE)


def small_dataset() -> Dataset:
    """Two users; item 0 twice in training, item 1 once and a day earlier, item 2 held out only."""
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": [""] * 3, "text": [""] * 3})
    return Dataset(
        items=items, user_ids=np.array(["u", "v"], dtype=object), offsets=np.array([0, 2, 4]),
        item_index=np.array([1, 0, 0, 2], dtype=np.int32), split=np.array([0, 0, 0, 1], dtype=np.uint8),
        timestamps=(np.array([0, 1, 1, 5]) * DAY).astype(np.int64),
    )  # fmt: skip


def test_facts_count_training_only() -> None:
    facts = ItemFacts.of(small_dataset(), None, clock=True)
    np.testing.assert_allclose(facts.popularity, np.log([3.0, 2.0, 1.0]), rtol=1e-6)
    assert facts.recency is not None
    np.testing.assert_allclose(facts.recency, [0.0, np.log(2.0), np.nan], rtol=1e-6)
    assert facts.names() == ["popularity", "recency"]
    assert ItemFacts.of(small_dataset(), None, clock=False).names() == ["popularity"]


def test_facts_are_saved_whole(tmp_path: Path) -> None:
    facts = ItemFacts.of(small_dataset(), np.ones((3, 2), dtype=np.float32), clock=False)
    facts.save(tmp_path / "items.safetensors")
    loaded = ItemFacts.load(tmp_path / "items.safetensors")
    assert loaded.recency is None
    np.testing.assert_array_equal(loaded.text, facts.text)  # type: ignore[arg-type]
    with pytest.raises(GenRecError, match=r"none\.safetensors: not a whole table of items"):
        ItemFacts.load(tmp_path / "none.safetensors")


def test_a_table_has_the_features_in_order_and_nan_for_what_is_not_known() -> None:
    facts = ItemFacts.of(small_dataset(), None, clock=True)
    items = np.array([[0, 2, -1]])
    given = {
        "graph": np.array([[0.5, 0.0, 0.0]], dtype=np.float32),
        "behavior": np.array([[-1.0, -2.0, -np.inf]], dtype=np.float32),
    }
    table = feature_table(["recency", "behavior", "graph"], items, facts, sequences([[1]]), 0.7, given)
    expected = [[0.0, -1.0, np.log1p(500.0)], [np.nan, -2.0, 0.0], [np.nan] * 3]
    np.testing.assert_allclose(table[0], expected, rtol=1e-6)
    with pytest.raises(GenRecError, match="'semantic' cannot be computed"):
        feature_table(["semantic"], items, facts, sequences([[1]]), 0.7, given)

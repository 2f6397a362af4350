"""Dataset, Sequences and Cases against a naive construction with Python lists."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_rec.data.columns import TEST, TRAIN, VALID
from gen_rec.data.interactions import Dataset, Sequences, offsets_of, ranges
from gen_rec.data.splits import leave_one_out, temporal
from gen_rec.data.storage import write_dataset
from gen_rec.errors import DataError

histories = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=8)


def make(lists: list[list[int]], split: np.ndarray | None = None) -> Dataset:
    offsets = offsets_of(np.array([len(items) for items in lists]))
    n = int(offsets[-1])
    names = [f"i{i}" for i in range(10)]
    return Dataset(
        items=pl.DataFrame({"item_id": names, "title": names, "text": [""] * 10}),
        user_ids=np.array([f"u{i}" for i in range(len(lists))], dtype=object),
        offsets=offsets,
        item_index=np.array([item for items in lists for item in items], dtype=np.int32),
        timestamps=np.arange(n, dtype=np.int64),
        split=leave_one_out(offsets) if split is None else split,
    )


def as_lists(sequences: Sequences) -> list[list[int]]:
    return [sequences[i].tolist() for i in range(len(sequences))]


@settings(deadline=None)
@given(histories)
def test_leave_one_out_structures(lists):
    dataset = make(lists)
    train = dataset.train_sequences()
    assert as_lists(train) == [items[:-2] if len(items) >= 3 else items for items in lists]
    assert train.user.tolist() == list(range(len(lists)))
    asked = [user for user, items in enumerate(lists) if len(items) >= 3]
    for split, back in (("valid", 2), ("test", 1)):
        cases = dataset.cases(split)
        assert cases.user.tolist() == asked
        assert cases.target.tolist() == [lists[user][-back] for user in asked]
        assert as_lists(cases) == [lists[user][:-back] for user in asked]
    counts = [sum(items.count(item) for items in as_lists(train)) for item in range(10)]
    assert dataset.train_counts().tolist() == counts


@settings(deadline=None)
@given(histories)
def test_without_validation_all_but_the_tests_train_and_these_stay_the_same(lists):
    with_it = make(lists)
    without = make(lists, leave_one_out(with_it.offsets, validation=False))
    assert as_lists(without.train_sequences()) == [items[:-1] if len(items) >= 3 else items for items in lists]
    assert len(without.cases("valid")) == 0
    one, other = without.cases("test"), with_it.cases("test")
    assert one.target.tolist() == other.target.tolist()
    assert as_lists(one) == as_lists(other)


@settings(deadline=None)
@given(histories, st.data())
def test_cases_take_the_first_of_a_window(lists, data):
    splits = [
        sorted(data.draw(st.lists(st.sampled_from([TRAIN, VALID, TEST]), min_size=len(x), max_size=len(x))))
        for x in lists
    ]
    dataset = make(lists, np.array([code for user in splits for code in user], dtype=np.uint8))
    for name, code in (("valid", VALID), ("test", TEST)):
        first = [(u, codes.index(code)) for u, codes in enumerate(splits) if code in codes]
        cases = dataset.cases(name)
        assert cases.user.tolist() == [u for u, _ in first]
        assert cases.target.tolist() == [lists[u][i] for u, i in first]
        assert as_lists(cases) == [lists[u][:i] for u, i in first]  # maybe empty
    train = [items[: codes.count(TRAIN)] for items, codes in zip(lists, splits, strict=True)]
    assert as_lists(dataset.train_sequences()) == train


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=8), st.integers(1, 10))
def test_last_pads_on_the_right_and_keeps_the_most_recent(lists, width):
    lengths = np.array([len(items) for items in lists], dtype=np.int64)
    flat = np.array([item for items in lists for item in items], dtype=np.int32)
    sequences = Sequences(offsets_of(lengths), flat, np.arange(len(lists), dtype=np.int32))
    padded, kept = sequences.last(width)
    expected = [items[-width:] + [-1] * (width - len(items)) for items in lists]
    assert padded.tolist() == expected
    assert padded.shape == (len(lists), width)
    assert padded.dtype == np.int64
    assert kept.tolist() == [min(len(items), width) for items in lists]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5))))
def test_ranges(parts):
    starts, lengths = (np.array([part[side] for part in parts], dtype=np.int64) for side in (0, 1))
    assert ranges(starts, lengths).tolist() == [s + i for s, n in parts for i in range(n)]


def test_sequences_refuse_an_index_beyond_the_end():
    sequences = make([[1, 2, 3]]).train_sequences()
    assert sequences[-1].tolist() == [1]
    with pytest.raises(IndexError):
        sequences[1]
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        sequences.last(0)
    with pytest.raises(ValueError, match="split must be 'valid' or 'test', got 'train'"):
        make([[1, 2, 3]]).cases("train")


@settings(deadline=None, max_examples=20)
@given(histories)
def test_what_is_written_is_read_back(tmp_path_factory, lists):
    folder = tmp_path_factory.mktemp("dataset")
    dataset = make(lists)
    write_dataset(dataset, folder)
    again = Dataset.load(folder)
    for name in ("offsets", "item_index", "timestamps", "split"):
        have, want = getattr(again, name), getattr(dataset, name)
        assert have.tolist() == want.tolist()
        assert have.dtype == want.dtype
    assert again.user_ids.tolist() == dataset.user_ids.tolist()
    assert again.items.equals(dataset.items)
    table = pl.read_parquet(folder / "interactions.parquet")
    assert table["item_id"].to_list() == [f"i{item}" for items in lists for item in items]
    assert table["user_id"].to_list() == [f"u{user}" for user, items in enumerate(lists) for _ in items]


def test_row_groups_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr("gen_rec.data.storage.ROWS_A_GROUP", 3)
    dataset = make([[1, 2, 3, 4], [5, 6, 7]])
    write_dataset(dataset, tmp_path)
    assert Dataset.load(tmp_path).item_index.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert pl.read_parquet(tmp_path / "interactions.parquet")["user"].to_list() == [0, 0, 0, 0, 1, 1, 1]


def test_schema_of_the_files(tmp_path):
    write_dataset(make([[1, 2, 3]]), tmp_path)
    assert pl.read_parquet_schema(tmp_path / "interactions.parquet") == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,
        "split": pl.String,
        "user": pl.Int32,
        "item": pl.Int32,
    }
    assert pl.read_parquet_schema(tmp_path / "users.parquet") == {"user_id": pl.String}


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"interactions\.parquet: there is no such file; run the stage first"):
        Dataset.load(tmp_path)
    write_dataset(make([[1, 2, 3]]), tmp_path)
    pl.DataFrame({"item_id": ["a"]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"items\.parquet: no column title, text \(found item_id\)"):
        Dataset.load(tmp_path)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 98), st.integers(1, 98))
def test_temporal_split_cuts_at_two_times(times, a, b):
    times = np.array(times)
    cuts = sorted((a / 100, b / 100))
    try:
        split, (valid, test) = temporal(times, *cuts)
    except DataError:
        return
    assert split.tolist() == [TEST if t >= test else VALID if t >= valid else TRAIN for t in times.tolist()]
    for cut, quantile in ((valid, cuts[0]), (test, cuts[1])):
        assert cut in times
        assert (times < cut).sum() <= quantile * (len(times) - 1) + 1  # the order statistic above
    assert set(split.tolist()) == {TRAIN, VALID, TEST}


def test_temporal_split_by_dates():
    day = 86_400
    split, cuts = temporal(np.array([0, day - 1, day, 2 * day]), "1970-01-02", "1970-01-03T00:00:00+00:00")
    assert split.tolist() == [TRAIN, TRAIN, VALID, TEST]
    assert cuts == (day, 2 * day)


def test_temporal_split_with_an_empty_window():
    with pytest.raises(DataError, match=r"the validation window of the temporal split is empty.*valid_from"):
        temporal(np.array([0, 0, 1, 1]), 0.5, 0.6)

"""Ranked lists and per-user ranks as files, read back by others' tools."""

import numpy as np
import polars as pl
import pytest
import ranx
import torch

from gen_rec.errors import DataError
from gen_rec.evaluation import (
    Evaluator,
    RankedLists,
    RankedListWriter,
    filter_seen,
    lists_to_arrays,
    read_ranked_lists,
    target_ranks,
    write_per_user,
)
from gen_rec.evaluation.metrics import ndcg_at

IDS = ["A0", "B1", "C2", "D3"]


def test_columns_and_rows_by_hand(tmp_path):
    path = tmp_path / "recs.parquet"
    with RankedListWriter(path, IDS) as writer:
        writer.write(
            np.array(["u1", "u2"]),
            torch.tensor([[2, 0], [1, -1]]),
            torch.tensor([[0.5, 0.25], [0.75, -np.inf]]),
            torch.tensor([[-1.0, -np.inf], [-3.0, 0.0]]),
            np.array([[np.nan, -2.0], [-4.0, 0.0]]),
        )
        writer.write(["u3"], np.array([[-1, -1]]), np.zeros((1, 2)))  # nothing to recommend
        writer.write(["u4"], np.array([[-1, 3]]), np.array([[0.0, 0.125]]))  # ranks stay gapless
        assert not path.exists()
    assert pl.read_parquet(path).rows() == [
        ("u1", 1, "C2", 0.5, -1.0, None),
        ("u1", 2, "A0", 0.25, None, -2.0),
        ("u2", 1, "B1", 0.75, -3.0, -4.0),
        ("u4", 1, "D3", 0.125, None, None),
    ]
    assert pl.read_parquet_schema(path) == {
        "user_id": pl.String,
        "rank": pl.Int32,
        "item_id": pl.String,
        "score": pl.Float32,
        "behavior_score": pl.Float32,
        "semantic_score": pl.Float32,
    }


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "recs.parquet"
    with RankedListWriter(path, IDS) as writer:
        writer.write(["u1"], np.array([[0]]), np.array([[1.0]]))
    with pytest.raises(RuntimeError, match="killed"), RankedListWriter(path, IDS) as writer:  # noqa: PT012
        writer.write(["u9"], np.array([[1]]), np.array([[1.0]]))
        raise RuntimeError("killed")
    assert pl.read_parquet(path)["user_id"].to_list() == ["u1"]
    assert [p.name for p in tmp_path.iterdir()] == ["recs.parquet"]


def test_an_empty_file_has_the_columns(tmp_path):
    with RankedListWriter(tmp_path / "r.parquet", IDS):
        pass
    assert len(read_ranked_lists(tmp_path / "r.parquet")) == 0


def test_what_the_writer_refuses(tmp_path):
    with RankedListWriter(tmp_path / "r.parquet", IDS) as writer:
        with pytest.raises(ValueError, match="outside the catalogue of 4"):
            writer.write(["u"], np.array([[4]]), np.array([[1.0]]))
        with pytest.raises(ValueError, match="one list a user"):
            writer.write(["u", "v"], np.array([[1]]), np.array([[1.0]]))
        with pytest.raises(ValueError, match="NaN"):
            writer.write(["u"], np.array([[1]]), np.array([[np.nan]]))


def test_round_trip_and_scored_by_ranx_from_the_file_alone(tmp_path, random_cases, random_lists):
    n, n_items = 60, 40
    items, scores = random_lists(n, n_items, 25, seed=1)
    scores = scores.astype(np.float32)
    cases = random_cases(n, n_items, seed=2)
    users = [f"user {u:03}" for u in range(n)]
    ids = [f"item {i}" for i in range(n_items)]
    with RankedListWriter(tmp_path / "r.parquet", ids) as writer:
        for start in range(0, n, 16):
            part = slice(start, start + 16)
            writer.write(users[part], items[part], scores[part])
    frame = read_ranked_lists(tmp_path / "r.parquet")
    back = lists_to_arrays(frame, users, ids, k=25)
    np.testing.assert_array_equal(back.items, items)
    np.testing.assert_array_equal(back.scores, scores)

    listed: dict[str, dict[str, float]] = {}
    for user, item, score in frame.select("user_id", "item_id", "score").rows():
        listed.setdefault(user, {})[item] = score
    qrels = ranx.Qrels({u: {ids[t]: 1} for u, t in zip(users, cases.target, strict=True)})
    ours = ndcg_at(target_ranks(items, scores, cases.target), 10).mean()
    assert ranx.evaluate(qrels, ranx.Run(listed), "ndcg@10") == pytest.approx(ours, abs=1e-12)


def test_arrays_follow_the_users_asked_for(tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": ["b", "b", "a"],
            "rank": [2, 1, 1],
            "item_id": ["A0", "B1", "D3"],
            "score": [0.1, 0.2, 0.3],
        }
    )
    frame.write_parquet(tmp_path / "r.parquet")
    read = read_ranked_lists(tmp_path / "r.parquet")
    assert read["item_id"].to_list() == ["B1", "A0", "D3"]  # sorted by rank, users as they first appear
    found = lists_to_arrays(read, ["a", "nobody", "b"], IDS, k=2)
    assert found.items.tolist() == [[3, -1], [-1, -1], [1, 0]]
    with pytest.raises(DataError, match="2 listed items are not in the catalogue"):
        lists_to_arrays(read, ["a", "b"], ["B1"], k=2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": ["a"], "rank": [1], "item_id": ["x"], "score": [1.0]}, "no column user_id"),
        ({"user_id": ["a"], "rank": [0], "item_id": ["x"], "score": [1.0]}, "user 'a' has rank 0"),
        (
            {"user_id": ["a"] * 2, "rank": [1, 1], "item_id": ["x", "y"], "score": [1.0] * 2},
            "'a' has rank 1 twice",
        ),
        (
            {"user_id": ["a"] * 2, "rank": [1, 2], "item_id": ["x"] * 2, "score": [1.0] * 2},
            "item_id 'x' twice",
        ),
        ({"user_id": ["a"], "rank": [1], "item_id": ["x"], "score": [None]}, "'score' has 1 nulls"),
    ],
)
def test_bad_lists_are_named(tmp_path, columns, message):
    pl.DataFrame(columns).write_parquet(tmp_path / "theirs.parquet")
    with pytest.raises(DataError, match=r"theirs\.parquet") as error:
        read_ranked_lists(tmp_path / "theirs.parquet")
    assert message in str(error.value)


def test_per_user_ranks_with_external_ids(tmp_path, make_cases):
    cases = make_cases([[0, 3], [1]], target=[3, 2])
    items, scores = np.array([[3, 1, 2, 0], [1, 0, 2, 3]]), np.array([[0.9, 0.8, 0.7, 0.6]] * 2)
    evaluator = Evaluator(cases, np.ones(4, int))
    evaluator.add(
        np.arange(2),
        {"eager-fused": RankedLists(items, scores)},
        {"eager-fused": filter_seen(items, scores, cases, 3, n_items=4)},
    )
    path = write_per_user(tmp_path / "u.parquet", evaluator.finish(), cases, np.array(["ann", "bob"]), IDS)
    frame = pl.read_parquet(path)
    assert frame.columns == [
        "user_id",
        "item_id",
        "history_length",
        "eager-fused/raw",
        "eager-fused/filtered",
    ]
    assert frame.rows() == [("ann", "D3", 2, 1, None), ("bob", "C2", 1, 3, 2)]

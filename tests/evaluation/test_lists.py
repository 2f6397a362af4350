"""Ranked lists and per-user ranks as files, read back by others' tools."""

import numpy as np
import polars as pl
import pytest
import ranx

from gen_rec.errors import DataError
from gen_rec.evaluation import (
    Evaluator,
    RankedLists,
    filter_seen,
    lists_to_arrays,
    read_ranked_lists,
    target_ranks,
    write_per_user,
)
from gen_rec.evaluation.metrics import ndcg_at

IDS = ["A0", "B1", "C2", "D3"]


def test_round_trip_and_scored_by_ranx_from_the_file_alone(tmp_path, random_cases, random_lists):
    n, n_items, k = 60, 40, 25
    items, scores = random_lists(n, n_items, k, seed=1)
    scores = scores.astype(np.float32)
    cases = random_cases(n, n_items, seed=2)
    users = [f"user {u:03}" for u in range(n)]
    ids = [f"item {i}" for i in range(n_items)]
    row, column = np.nonzero(items >= 0)
    theirs = pl.DataFrame({
        "user_id": [users[i] for i in row],
        "rank": column + 1,
        "item_id": [ids[i] for i in items[row, column]],
        "score": scores[row, column],
    })  # fmt: skip
    # Rows in any order, but for each user's first, which says where the user stands.
    first = theirs.filter(pl.col("rank") == 1)
    others = theirs.filter(pl.col("rank") > 1).sample(fraction=1, shuffle=True, seed=0)
    pl.concat([first, others]).write_parquet(tmp_path / "r.parquet")
    frame = read_ranked_lists(tmp_path / "r.parquet")
    assert frame.select(theirs.columns).equals(theirs.with_columns(pl.col("rank").cast(pl.Int64)))
    back = lists_to_arrays(frame, users, ids, k)
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

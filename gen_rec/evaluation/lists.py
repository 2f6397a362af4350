"""Ranked lists and per-user results as Parquet, with external ids: anyone can score them without our code."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from gen_rec.errors import DataError
from gen_rec.evaluation.evaluator import MODES, Evaluation
from gen_rec.evaluation.metrics import MISS, RankedLists
from gen_rec.files import atomic_path

if TYPE_CHECKING:
    from gen_rec.data.interactions import Cases

LIST_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("behavior_score", pa.float32()),
        pa.field("semantic_score", pa.float32()),
    ]
)
"""One row a recommended item, rank from 1; a stream's score is null where it has none for the item."""


def read_ranked_lists(path: str | Path) -> pl.DataFrame:
    """Ranked lists of a file, ours or anyone's.

    returns  at least ``user_id``, ``rank``, ``item_id``, ``score``, ids as text, sorted by user (in order of
             first appearance) and rank
    raises   DataError: not a Parquet file, a missing column, a null, a rank below 1 or given twice, an item listed
             twice for a user.
    """
    path = Path(path)
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path}: not a Parquet file that can be read ({error}); give ranked lists as Parquet"
        ) from error
    missing = [name for name in ("user_id", "rank", "item_id", "score") if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; found {', '.join(frame.columns)}")
    for name in ("user_id", "rank", "item_id", "score"):
        if nulls := frame[name].null_count():
            raise DataError(f"{path}: column '{name}' has {nulls} nulls; every listed item needs a value")
    frame = frame.with_columns(pl.col("user_id", "item_id").cast(pl.String), pl.col("rank").cast(pl.Int64))
    below = frame.filter(pl.col("rank") < 1).select("user_id", "rank").rows()
    if below:
        raise DataError(f"{path}: user {below[0][0]!r} has rank {below[0][1]}; ranks start at 1")
    for name in ("rank", "item_id"):
        twice = frame.filter(pl.struct("user_id", name).is_duplicated()).select("user_id", name).rows()
        if twice:
            raise DataError(f"{path}: user {twice[0][0]!r} has {name} {twice[0][1]!r} twice; list an item once")
    return (
        frame.with_row_index("_first")
        .with_columns(pl.col("_first").min().over("user_id"))
        .sort("_first", "rank")
        .drop("_first")
    )


def lists_to_arrays(
    frame: pl.DataFrame, user_ids: Sequence[str] | np.ndarray, item_ids: Sequence[str] | np.ndarray, k: int
) -> RankedLists:
    """Ranked lists with external ids as arrays, for the evaluator.

    frame:    what ``read_ranked_lists`` returns
    user_ids: (n,) the users wanted, in order; one that has no list gets an empty one
    item_ids: (n_items,) external id of each item
    k:        entries kept a user, by rank
    returns   (n, k) items and scores, -1 and -inf where there is nothing
    raises    DataError where a listed item is not in the catalogue.
    """
    users = pl.DataFrame({"user_id": [str(u) for u in user_ids]}).with_row_index("row")
    items = pl.DataFrame({"item_id": [str(i) for i in item_ids]}).with_row_index("item")
    wanted = frame.filter(pl.col("rank") <= k).join(users, on="user_id")
    wanted = wanted.join(items, on="item_id", how="left")
    unknown = wanted.filter(pl.col("item").is_null())
    if len(unknown):
        raise DataError(f"{len(unknown)} listed items are not in the catalogue, the first is {unknown['item_id'][0]!r}")
    table = RankedLists(
        np.full((len(users), k), -1, dtype=np.int64), np.full((len(users), k), -np.inf, dtype=np.float32)
    )
    at = wanted["row"].to_numpy(), wanted["rank"].to_numpy() - 1
    table.items[at] = wanted["item"].to_numpy()
    table.scores[at] = wanted["score"].to_numpy()
    return table


def write_per_user(
    path: str | Path,
    evaluation: Evaluation,
    cases: "Cases",
    user_ids: Sequence[str] | np.ndarray,
    item_ids: Sequence[str] | np.ndarray,
) -> Path:
    """Write one row a case: where each method ranks the target.

    Columns: ``user_id, item_id`` (the target), ``history_length`` and, for every method, ``<method>/raw`` and
    ``<method>/filtered``, the rank of the target from 1, null where it is not in the list.

    user_ids: (n_users,) external id of each user index; item_ids: (n_items,) of each item
    """
    rows = evaluation.rows
    columns: dict[str, Any] = {
        "user_id": pl.Series([str(user) for user in user_ids], dtype=pl.String).gather(cases.user[rows]),
        "item_id": pl.Series([str(item) for item in item_ids], dtype=pl.String).gather(cases.target[rows]),
        "history_length": pl.Series(np.diff(cases.offsets)[rows], dtype=pl.Int32),
    }
    for method, found in evaluation.methods.items():
        for mode in MODES:
            ranks = pl.Series(found.ranks[mode], dtype=pl.Int32)
            columns[f"{method}/{mode}"] = ranks.set(ranks == MISS, None)
    path = Path(path)
    with atomic_path(path) as temporary:
        pl.DataFrame(columns).write_parquet(temporary)
    return path

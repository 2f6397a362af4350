"""Reranked lists as Parquet: the protocol's columns, every feature, and what it adds to the score."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gen_rec.data.interactions import Cases, Dataset
from gen_rec.evaluation.lists import LIST_SCHEMA
from gen_rec.files import atomic_path
from gen_rec.ranking.reranker import Reranked

STREAM_COLUMNS = {"behavior_score": "behavior", "semantic_score": "semantic"}
"""Columns of the protocol that are features too."""


def list_schema(names: list[str]) -> pa.Schema:
    """``LIST_SCHEMA`` and, for every feature, its value (null where unknown) and its part of the score (null in lists
    of users without a history, which no blend ranks)."""
    fields = [pa.field(f"{kind}_{name}", pa.float32()) for name in names for kind in ("value", "part")]
    return pa.schema([*LIST_SCHEMA, *fields])


def write_lists(
    path: Path, found: Iterator[tuple[NDArray[np.int64], Reranked]], names: list[str], dataset: Dataset, cases: Cases
) -> int:
    """Write lists as they come, a row group a batch. Returns the rows written."""
    schema = list_schema(names)
    users, items = pa.array([str(user) for user in dataset.user_ids]), pa.array([str(i) for i in dataset.item_ids])
    rows = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for who, lists in found:
            table = _table(lists, names, users.take(pa.array(cases.user[who])), items, schema)
            writer.write_table(table)
            rows += len(table)
    return rows


def _table(found: Reranked, names: list[str], users: pa.Array, items: pa.Array, schema: pa.Schema) -> pa.Table:
    """users: (rows,) external ids of the lists; items: (n_items,) of the catalogue."""
    row, place = np.nonzero(found.items >= 0)
    values, parts = found.values[row, place], found.parts[row, place]  # (m, f)
    columns: dict[str, pa.Array] = {
        "user_id": users.take(pa.array(row)),
        "rank": pa.array((place + 1).astype(np.int32)),
        "item_id": items.take(pa.array(found.items[row, place])),
        "score": pa.array(found.scores[row, place]),
    }
    for column, name in STREAM_COLUMNS.items():
        known = values[:, names.index(name)] if name in names else np.full(len(row), np.nan, dtype=np.float32)
        columns[column] = pa.array(known, from_pandas=True)  # NaN is null
    for number, name in enumerate(names):
        columns[f"value_{name}"] = pa.array(values[:, number], from_pandas=True)
        columns[f"part_{name}"] = pa.array(parts[:, number], from_pandas=True)
    return pa.table([columns[name] for name in schema.names], schema=schema)

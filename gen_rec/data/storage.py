"""The files of a prepared data set: their schema, and how they are written."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gen_rec.data import columns as c
from gen_rec.data.interactions import Dataset

ROWS_A_GROUP = 1_000_000
"""Interactions in one row group; the ids of two groups at a time are in memory as text."""

REPEATED = [c.USER_ID, c.ITEM_ID, c.SPLIT, c.ITEM]
"""Columns written with a dictionary. Times hardly repeat and ``user`` is sorted: smaller and faster without one."""

INTERACTIONS_SCHEMA = pa.schema(
    [
        pa.field(c.USER_ID, pa.string(), nullable=False, metadata={"is": "external id of the user"}),
        pa.field(c.ITEM_ID, pa.string(), nullable=False, metadata={"is": "external id of the item"}),
        pa.field(
            c.TIMESTAMP,
            pa.int64(),
            nullable=False,
            metadata={"is": "Unix seconds, or what 'clock' in summary.json says"},
        ),
        pa.field(c.SPLIT, pa.string(), nullable=False, metadata={"is": "train, valid or test"}),
        pa.field(c.USER, pa.int32(), nullable=False, metadata={"is": "row of users.parquet"}),
        pa.field(c.ITEM, pa.int32(), nullable=False, metadata={"is": "row of items.parquet"}),
    ]
)
"""Rows are sorted by ``user``, then chronologically."""


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write ``interactions.parquet``, ``items.parquet`` and ``users.parquet`` into an existing folder."""
    dataset.items.write_parquet(folder / c.ITEMS_FILE)
    user_ids = pl.Series(c.USER_ID, dataset.user_ids, dtype=pl.String)
    user_ids.to_frame().write_parquet(folder / c.USERS_FILE)
    item_ids = dataset.items[c.ITEM_ID]
    users = dataset.user_of_row
    names = pl.Series(c.SPLIT_NAMES)
    with (
        pq.ParquetWriter(
            folder / c.INTERACTIONS_FILE, INTERACTIONS_SCHEMA, compression="zstd", use_dictionary=REPEATED
        ) as writer,
        ThreadPoolExecutor(1) as pool,  # the next group is put together while one is written
    ):
        written: Future[None] | None = None
        for start in range(0, dataset.n_interactions, ROWS_A_GROUP):
            part = slice(start, start + ROWS_A_GROUP)
            frame = pl.DataFrame(
                {
                    c.USER_ID: user_ids.gather(users[part]),
                    c.ITEM_ID: item_ids.gather(dataset.item_index[part]),
                    c.TIMESTAMP: dataset.timestamps[part],
                    c.SPLIT: names.gather(dataset.split[part]),
                    c.USER: users[part],
                    c.ITEM: dataset.item_index[part],
                }
            )
            table = frame.to_arrow().cast(INTERACTIONS_SCHEMA)
            if written is not None:
                written.result()
            written = pool.submit(writer.write_table, table)
        if written is not None:
            written.result()

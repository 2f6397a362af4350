"""The stage ``gen-rec prepare``: raw interactions in, a filtered, ordered and split data set out."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.catalogue import build_catalogue, item_frame
from gen_rec.data.config import DataConfig
from gen_rec.data.filters import chronological, first_of_each, k_core, renumber
from gen_rec.data.interactions import Dataset, offsets_of
from gen_rec.data.sources import RawData, read_raw
from gen_rec.data.splits import leave_one_out, temporal
from gen_rec.data.storage import write_dataset
from gen_rec.data.summary import summarize
from gen_rec.errors import DataError
from gen_rec.files import replace_folder, write_json

logger = logging.getLogger(__name__)


def prepare(config: DataConfig, out: str | Path) -> dict[str, Any]:
    """Read, filter, order, split and write the set that ``config`` names into the folder ``out``.

    The folder is replaced as a whole at the end: a run that fails or is killed leaves the old one as it was.
    returns the summary that is also written as ``summary.json``; raises DataError for data that cannot be
            used.
    """
    raw = read_raw(config)
    dataset, notes = build(raw, config)
    summary = {
        "set": config.set,
        "source": raw.description,
        "clock": raw.clock,
        **summarize(dataset),
        **notes,
        "settings": asdict(config),
    }
    with replace_folder(out) as folder:
        write_dataset(dataset, folder)
        write_json(folder / c.SUMMARY_FILE, summary)
    logger.info(
        "%s: %d users, %d items, %d interactions",
        out,
        dataset.n_users,
        dataset.n_items,
        dataset.n_interactions,
    )
    return summary


@dataclass
class _Rows:
    """Interactions as integers while they are filtered: rows of the user ids and of the catalogue."""

    users: np.ndarray  # (n,) int32
    items: np.ndarray  # (n,) int32
    timestamps: np.ndarray  # (n,) int64

    def __len__(self) -> int:
        return len(self.users)

    def take(self, which: np.ndarray) -> "_Rows":
        """The rows of a mask or in an order."""
        return _Rows(self.users[which], self.items[which], self.timestamps[which])


def build(raw: RawData, config: DataConfig) -> tuple[Dataset, dict[str, Any]]:
    """Everything ``prepare`` does between reading and writing; also what it dropped, for the summary."""
    name = config.set or raw.origins[0]
    timestamps = _collect(raw, c.TIMESTAMP).to_numpy()
    if not len(timestamps):
        raise DataError(f"{raw.origins[0]}: there is not one interaction in it; check the file")
    users, user_ids = encode(_collect(raw, c.USER_ID))
    items, item_ids = encode(_collect(raw, c.ITEM_ID))
    rows = _Rows(users, items, timestamps)
    del users, items, timestamps
    notes: dict[str, Any] = {"interactions_read": len(rows)}

    catalogue = build_catalogue(raw, config, item_ids, rows.items)
    rows.items = catalogue.code_of[rows.items]
    if catalogue.dropped:
        rows = rows.take(rows.items >= 0)
    notes["dropped_unknown_items"] = notes["interactions_read"] - len(rows)
    before = len(rows)
    rows = _date_window(rows, config, raw)
    notes["dropped_by_date"] = before - len(rows)
    before = len(rows)
    seed = None if config.tie_order == "input" else config.tie_seed
    rows = rows.take(chronological(rows.users, rows.timestamps, seed))
    if config.deduplicate:
        rows = rows.take(first_of_each(rows.users, rows.items))
    notes["dropped_duplicates"] = before - len(rows)
    rows, rounds = _k_core(rows, config.k_core, name)
    notes["k_core_rounds"] = rounds
    users, old_users = renumber(rows.users)
    items, old_items = renumber(rows.items)
    offsets = offsets_of(np.bincount(users))
    split, cuts = _split(offsets, rows.timestamps, raw, config)
    if cuts is not None:
        notes["split_cuts"] = cuts
    dataset = Dataset(
        items=item_frame(catalogue.items[old_items], raw, config),
        user_ids=user_ids.gather(old_users).to_numpy().astype(object),
        offsets=offsets,
        item_index=items,
        timestamps=rows.timestamps,
        split=split,
    )
    return dataset, notes


def encode(ids: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """Number ids in order of first appearance: (n,) String -> (n,) int32, (m,) String.

    The distinct ids are found by a 64-bit hash, several times faster than by the text. Of two texts with one hash
    only the first is found so; then the look-up, which goes by the text, misses the other.
    """
    unique = ids.filter(ids.hash().is_first_distinct())
    codes = _look_up(ids, unique)
    if codes.null_count():
        unique = ids.unique(maintain_order=True)
        codes = _look_up(ids, unique)
    return codes.to_numpy(), unique


def _look_up(ids: pl.Series, unique: pl.Series) -> pl.Series:
    """The place of each id among the distinct ones: (n,) Int32, null where it is not there."""
    rows = pl.DataFrame({"id": unique, "row": np.arange(len(unique), dtype=np.int32)})
    return pl.DataFrame({"id": ids}).join(rows, on="id", how="left", maintain_order="left")["row"]


def _collect(raw: RawData, column: str) -> pl.Series:
    """One column at a time, so that the text of only one of them is in memory."""
    frame = raw.interactions
    if isinstance(frame, pl.LazyFrame):
        return frame.select(column).collect(engine="streaming")[column]
    return frame[column]


def _date_window(rows: _Rows, config: DataConfig, raw: RawData) -> _Rows:
    start, end = config.window
    if start is None and end is None:
        return rows
    if raw.clock != "unix":
        raise _no_clock("data.date_from and data.date_to need", "leave them out", raw)
    keep = np.ones(len(rows), dtype=bool)
    if start is not None:
        keep &= rows.timestamps >= start
    if end is not None:
        keep &= rows.timestamps < end
    if not keep.any():
        raise DataError(
            f"{raw.origins[0]}: no interaction lies in the window from {config.date_from} to "
            f"{config.date_to} (timestamps run from {rows.timestamps.min()} to {rows.timestamps.max()}); "
            "change data.date_from or data.date_to"
        )
    return rows if keep.all() else rows.take(keep)


def _k_core(rows: _Rows, k: int, name: str) -> tuple[_Rows, int]:
    if not len(rows):
        raise DataError(f"{name}: no interaction is left before the k-core; see data.on_unknown_item")
    keep, rounds = k_core(rows.users, rows.items, k)
    if not keep.any():
        raise DataError(
            f"{name}: the {k}-core is empty: of {len(rows)} interactions, "
            f"{len(np.unique(rows.users))} users and {len(np.unique(rows.items))} items none "
            f"is left after {rounds} rounds; lower data.k_core"
        )
    return (rows if keep.all() else rows.take(keep)), rounds


def _split(
    offsets: np.ndarray, timestamps: np.ndarray, raw: RawData, config: DataConfig
) -> tuple[np.ndarray, tuple[int, int] | None]:
    if config.split != "temporal":
        split = leave_one_out(offsets, validation=config.split == "leave-one-out")
        if not split.any():
            logger.warning("no user has three interactions, so nothing is left for validation and test")
        return split, None
    if raw.clock != "unix":
        raise _no_clock("data.split temporal needs", "use data.split leave-one-out", raw)
    return temporal(timestamps, config.valid_from, config.test_from)


def _no_clock(what: str, do: str, raw: RawData) -> DataError:
    has = "gaps between a user's interactions" if raw.clock == "gaps" else "the order of a user's interactions"
    return DataError(f"{what} Unix timestamps, but {raw.origins[0]} only has {has}; {do}")

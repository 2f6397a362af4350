"""A prepared data set in memory: who took what, when, and for which split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gen_rec.data import columns as c
from gen_rec.errors import DataError
from gen_rec.files import content_hash

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """Ragged lists of items: list ``i`` is ``items[offsets[i]:offsets[i + 1]]``, oldest first.

    offsets: (n + 1,) int64
    items:   (total,) int32
    user:    (n,) int32     whose list it is
    """

    offsets: Int64Array
    items: Int32Array
    user: Int32Array

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, index: int) -> Int32Array:
        """The items of one list, (length,) int32."""
        index = range(len(self))[index]
        return self.items[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Int64Array:
        """Length of every list, (n,) int64."""
        return np.diff(self.offsets)

    def last(self, max_length: int) -> tuple[Int64Array, Int64Array]:
        """The most recent items of every list as one padded matrix.

        max_length: columns of the matrix; longer lists lose their oldest items
        returns     (n, max_length) int64, the first kept item at column 0 and -1 after the last one;
                    (n,) int64 how many items each row holds.
        """
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        lengths = np.minimum(self.lengths, max_length)  # (n,)
        column = np.arange(max_length)
        real = column < lengths[:, None]  # (n, max_length)
        padded = np.full(real.shape, -1, dtype=np.int64)
        padded[real] = self.items[ranges(self.offsets[1:] - lengths, lengths)]
        return padded, lengths


@dataclass(frozen=True)
class Cases(Sequences):
    """What a model is asked: a history (maybe empty) and the item that came next.

    target: (n,) int32
    """

    target: Int32Array


@dataclass(frozen=True)
class Dataset:
    """Interactions grouped by user, chronological within a user, with external ids at both ends.

    items:      row i is item i: ``item_id``, ``title``, ``text`` and what else the source knew
    user_ids:   (n_users,) object, external ids
    offsets:    (n_users + 1,) int64, user u owns rows ``offsets[u]:offsets[u + 1]``
    item_index: (n_interactions,) int32, row of the item in ``items``
    timestamps: (n_interactions,) int64, Unix seconds where the source knows them
    split:      (n_interactions,) uint8, TRAIN = 0, VALID = 1, TEST = 2
    """

    items: pl.DataFrame
    user_ids: NDArray[np.object_]
    offsets: Int64Array
    item_index: Int32Array
    timestamps: Int64Array
    split: NDArray[np.uint8]

    @classmethod
    def load(cls, folder: str | Path) -> "Dataset":
        """Read what ``prepare`` wrote into ``folder``. Raises DataError where a file or column is missing."""
        folder = Path(folder)
        table = _read(folder / c.INTERACTIONS_FILE, [c.USER, c.ITEM, c.TIMESTAMP, c.SPLIT])
        items = _read(folder / c.ITEMS_FILE, None)
        users = _read(folder / c.USERS_FILE, [c.USER_ID])
        splits = table[c.SPLIT].cast(pl.Enum(c.SPLIT_NAMES)).to_physical()
        counts = np.bincount(table[c.USER].to_numpy(), minlength=len(users))
        return cls(
            items=items,
            user_ids=users[c.USER_ID].to_numpy().astype(object),
            offsets=offsets_of(counts),
            item_index=table[c.ITEM].to_numpy().astype(np.int32),
            timestamps=table[c.TIMESTAMP].to_numpy().astype(np.int64),
            split=splits.to_numpy().astype(np.uint8),
        )

    def fingerprint(self) -> str:
        """Of who took what in which order, and how it is split."""
        parts = (self.offsets, self.item_index, self.split)
        return content_hash(self.user_ids.tolist(), *(np.ascontiguousarray(part).tobytes() for part in parts))

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def n_interactions(self) -> int:
        return len(self.item_index)

    @property
    def item_ids(self) -> NDArray[np.object_]:
        """External ids, (n_items,) object."""
        return self.items[c.ITEM_ID].to_numpy().astype(object)

    @property
    def titles(self) -> list[str]:
        """What a person is shown for each item; may be empty."""
        return self.items[c.TITLE].to_list()

    @property
    def texts(self) -> list[str]:
        """What an encoder reads for each item; may be empty."""
        return self.items[c.TEXT].to_list()

    @property
    def user_of_row(self) -> Int32Array:
        """The user of every interaction, (n_interactions,) int32."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.offsets))

    def train_sequences(self) -> Sequences:
        """The training rows of every user; a user without any has an empty list."""
        kept = self.split == c.TRAIN
        counts = np.bincount(self.user_of_row[kept], minlength=self.n_users)
        users = np.arange(self.n_users, dtype=np.int32)
        return Sequences(offsets=offsets_of(counts), items=self.item_index[kept], user=users)

    def cases(self, split: Literal["valid", "test"]) -> Cases:
        """One case a user that has an interaction in ``split``: the first of them is the target.

        The history is every interaction of the user before it, whatever its split; it may be empty in a
        temporal split. Users come in index order.
        """
        if split not in ("valid", "test"):
            raise ValueError(f"split must be 'valid' or 'test', got {split!r}")
        rows = np.flatnonzero(self.split == c.SPLIT_NAMES.index(split))
        user, first = np.unique(self.user_of_row[rows], return_index=True)  # rows ascend, so first is earliest
        rows = rows[first]  # (n,) the row of each target
        starts = self.offsets[user]
        lengths = rows - starts
        return Cases(
            offsets=offsets_of(lengths),
            items=self.item_index[ranges(starts, lengths)],
            user=user.astype(np.int32),
            target=self.item_index[rows],
        )

    def train_counts(self) -> Int64Array:
        """How often each item occurs in the training part, (n_items,) int64."""
        return np.bincount(self.item_index[self.split == c.TRAIN], minlength=self.n_items).astype(np.int64)


def offsets_of(counts: NDArray[np.integer]) -> Int64Array:
    """Cumulated counts with a leading 0: (n,) -> (n + 1,) int64."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def ranges(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> Int64Array:
    """``lengths[i]`` numbers counted up from ``starts[i]``, end to end: (n,), (n,) -> (sum,) int64."""
    offsets = offsets_of(lengths)
    shift = np.repeat(starts.astype(np.int64) - offsets[:-1], lengths)
    return np.arange(offsets[-1], dtype=np.int64) + shift


def _read(path: Path, names: list[str] | None) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; run the stage first: gen-rec prepare")
    have = pl.read_parquet_schema(path)
    missing = [name for name in names or [c.ITEM_ID, c.TITLE, c.TEXT] if name not in have]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)} (found {', '.join(have)}); "
            "prepare it again: gen-rec prepare --force"
        )
    return pl.read_parquet(path, columns=names)

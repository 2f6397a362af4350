"""Folders in the layout of the published benchmark sets: ``sequences.txt`` and ``items.jsonl``.

``sequences.txt`` has one user a line, ``user item item ...``, oldest first (the format of S3-Rec, arXiv
2008.07873); ``timestamps.txt`` (Unix seconds) or ``time_gaps.txt`` (seconds since the interaction before)
have the same lines and positions; ``items.jsonl`` has one JSON object an item. Each may end in ``.gz``.
"""

from bisect import bisect_right
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.lines import read_json_lines, read_lines
from gen_rec.data.sources.raw import RawData
from gen_rec.errors import DataError

EXTERNAL_IDS = ("asin", "business_id")
"""Columns of ``items.jsonl`` that hold the id the outside world uses, in order of preference."""


def find_file(folder: Path, name: str) -> Path | None:
    """``name`` or ``name.gz`` in ``folder``, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_s3rec(folder: Path) -> RawData:
    """Read a folder of sequences. Raises DataError with file and line for what does not fit together."""
    path = find_file(folder, "sequences.txt")
    if path is None:
        raise DataError(f"{folder}: there is no sequences.txt or sequences.txt.gz; put it there or change data.source")
    users, lengths, item_numbers, lines = _read_sequences(path)
    clock, timestamps = _read_times(folder, path, users, lengths, lines)
    items, id_of, item_lines, items_path = _read_items(folder)

    unique, inverse = np.unique(item_numbers, return_inverse=True)
    ids = pl.Series([id_of.get(int(number), str(number)) for number in unique], dtype=pl.String)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    interactions = pl.DataFrame(
        {
            c.USER_ID: pl.Series(users, dtype=pl.String).gather(np.repeat(np.arange(len(users)), lengths)),
            c.ITEM_ID: ids.gather(inverse),
            c.TIMESTAMP: timestamps,
        }
    )
    return RawData(
        interactions=interactions,
        items=items,
        description=f"sequences in the layout of S3-Rec, folder {folder.name}",
        clock=clock,
        origins=(str(path), str(items_path or folder / "items.jsonl")),
        locate=lambda row: f"line {lines[bisect_right(starts, row) - 1]}",
        locate_item=lambda row: f"line {item_lines[row]}",
    )


def _integers(path: Path, number: int, text: str, what: str) -> list[int]:
    fields = text.split()
    try:
        return [int(field) for field in fields]
    except ValueError:
        bad = next(field for field in fields if not field.lstrip("-").isdecimal())
        raise DataError(
            f"{path}, line {number}: found {bad!r} where {what} are expected, as integers; mend the line"
        ) from None


def _read_sequences(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, list[int]]:
    """Users, length of each list, all items, and the line of each user."""
    first_line: dict[str, int] = {}
    lengths: list[int] = []
    items: list[int] = []
    for number, text in read_lines(path):
        if not text.strip():
            continue
        user, *sequence = _integers(path, number, text, "a user and its items")
        name = str(user)
        if not sequence:
            raise DataError(f"{path}, line {number}: user {name} has no item; remove the line")
        if name in first_line:
            raise DataError(
                f"{path}, line {number}: user {name} is already on line {first_line[name]}; "
                "a user has one line, join or remove one"
            )
        first_line[name] = number
        lengths.append(len(sequence))
        items.extend(sequence)
    return list(first_line), np.array(lengths, dtype=np.int64), np.array(items), list(first_line.values())


def _read_times(
    folder: Path, sequences: Path, users: list[str], lengths: np.ndarray, lines: list[int]
) -> tuple[Literal["unix", "gaps", "order"], np.ndarray]:
    """What the timestamps count, and one for each interaction, (n_interactions,) int64."""
    total = int(lengths.sum())
    timestamps, gaps = find_file(folder, "timestamps.txt"), find_file(folder, "time_gaps.txt")
    path = timestamps or gaps
    if path is None:
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return "order", np.arange(total, dtype=np.int64) - starts

    values: list[int] = []
    rows = ((number, text) for number, text in read_lines(path) if text.strip())
    for row, user, length, line in zip_longest(rows, users, lengths, lines):
        if row is None:
            raise DataError(
                f"{path}: the file ends before user {user} (line {line} of {sequences.name}); "
                "both files have the same users on the same lines"
            )
        number, text = row
        first, *times = _integers(path, number, text, "a user and its timestamps")
        if user is None or str(first) != user:
            expected = "no more lines" if user is None else user
            raise DataError(
                f"{path}, line {number}: found user {first}, expected {expected} "
                f"(the order of {sequences.name}); both files have the same users on the same lines"
            )
        if len(times) != length:
            raise DataError(
                f"{path}, line {number}: user {user} has {len(times)} timestamps for {length} items "
                f"(line {line} of {sequences.name}); there is one for each item"
            )
        if path == gaps and min(times) < 0:
            raise DataError(
                f"{path}, line {number}: found the gap {min(times)}, expected none below 0 (lists are oldest first)"
            )
        values.extend(times)
    array = np.array(values, dtype=np.int64)
    if path == timestamps:
        return "unix", array
    starts = np.cumsum(lengths) - lengths
    array[starts] = 0
    total_gap = np.cumsum(array)
    return "gaps", total_gap - np.repeat(total_gap[starts], lengths)


def _read_items(folder: Path) -> tuple[pl.DataFrame | None, dict[int, str], list[int], Path | None]:
    """Items in the order of their numbers, the external id of each number, each row's line, the file."""
    path = find_file(folder, "items.jsonl")
    if path is None:
        return None, {}, [], None
    rows: list[tuple[int, int, dict[str, Any]]] = []
    for number, item in read_json_lines(path):
        item_number = item.get(c.ITEM_ID)
        if isinstance(item_number, bool) or not str(item_number).isdecimal():
            raise DataError(
                f"{path}, line {number}: found item_id {item_number!r}, expected the item's number in the sequences"
            )
        rows.append((int(str(item_number)), number, item))
    rows.sort(key=lambda row: row[0])  # stable: duplicates stay in file order
    external = next((name for name in EXTERNAL_IDS if rows and all(item.get(name) for _, _, item in rows)), None)
    id_of = {number: str(item[external]) if external else str(number) for number, _, item in rows}
    names = list(dict.fromkeys(name for _, _, item in rows for name in item))
    frame = {c.ITEM_ID: pl.Series([str(item[external or c.ITEM_ID]) for _, _, item in rows], dtype=pl.String)}
    for name in names:
        if name not in (c.ITEM_ID, external):
            frame[name] = _column([item.get(name) for _, _, item in rows])
    return pl.DataFrame(frame), id_of, [line for _, line, _ in rows], path


def _column(values: list[Any]) -> pl.Series:
    """String, list of String or list of lists of String, whichever holds every value."""
    depth = max((_depth(value) for value in values), default=0)
    dtype: pl.DataType = pl.String()
    for _ in range(depth):
        dtype = pl.List(dtype)
    return pl.Series([_wrap(value, depth) for value in values], dtype=dtype)


def _depth(value: Any) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _wrap(value: Any, depth: int) -> Any:
    """Bring a value to ``depth`` levels of lists, with text at the bottom."""
    if value is None or value == "":
        return None
    if depth == 0:
        return value if isinstance(value, str) else str(value)
    return [_wrap(entry, depth - 1) for entry in (value if isinstance(value, list) else [value])]

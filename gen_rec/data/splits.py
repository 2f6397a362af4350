"""Which interaction trains, which one validates, which one tests."""

import numpy as np
from numpy.typing import NDArray

from gen_rec.data.columns import TEST, TRAIN, VALID
from gen_rec.data.config import parse_date, unix_seconds
from gen_rec.errors import DataError


def leave_one_out(offsets: NDArray[np.int64], validation: bool = True) -> NDArray[np.uint8]:
    """Last interaction of a user: test; the one before it: validation; the rest: training.

    offsets:    (n_users + 1,)  rows of each user, chronological
    validation: without it the one before the last trains too; what is tested stays the same
    returns     (n_interactions,) uint8; users with fewer than three interactions only train.
    """
    split = np.full(int(offsets[-1]), TRAIN, dtype=np.uint8)
    ends = offsets[1:][np.diff(offsets) >= 3]
    split[ends - 1] = TEST
    if validation:
        split[ends - 2] = VALID
    return split


def temporal(
    timestamps: NDArray[np.int64], valid_from: float | str, test_from: float | str
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Everything from ``test_from`` on is test, from ``valid_from`` on validation, the rest training.

    timestamps: (n_interactions,) Unix seconds
    valid_from, test_from: each a quantile of ``timestamps`` (0 to 1) or an ISO-8601 date
    returns     (n_interactions,) uint8, and the two cut times; equal timestamps are never cut apart.
    raises      DataError when one of the three windows holds nothing.
    """
    valid_cut, test_cut = _cut(timestamps, valid_from), _cut(timestamps, test_from)
    split = np.full(len(timestamps), TRAIN, dtype=np.uint8)
    split[timestamps >= valid_cut] = VALID
    split[timestamps >= test_cut] = TEST
    for code, window in ((TRAIN, "training"), (VALID, "validation"), (TEST, "test")):
        if not np.any(split == code):
            raise DataError(
                f"the {window} window of the temporal split is empty: the timestamps run from "
                f"{timestamps.min()} to {timestamps.max()}, validation starts at {valid_cut} and test at "
                f"{test_cut}; change data.valid_from and data.test_from"
            )
    return split, (valid_cut, test_cut)


def _cut(timestamps: NDArray[np.int64], start: float | str) -> int:
    if isinstance(start, str):
        return unix_seconds(parse_date(start))
    return int(np.quantile(timestamps, start, method="higher"))

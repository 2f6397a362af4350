"""The ranks of every user's target, kept beside the results: a comparison needs no run to be there still.

``ranks/<name>.parquet`` belongs to ``results/<name>.json``. It has a row a user, sorted by external id, and the columns

    cases                    a hash of all users and their targets, the same in every row
    <method>/raw, /filtered  the rank of the target from 1, null where it is not in the list
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gen_rec.errors import DataError
from gen_rec.evaluation.evaluator import MODES
from gen_rec.evaluation.metrics import MISS
from gen_rec.evaluation.result import Result, read_results
from gen_rec.files import atomic_path, content_hash


class Ranks(NamedTuple):
    """of:    what the ranks are of: the result of the test split
    cases: a hash of users and targets
    modes: mode -> (n_users,) ranks from 1, ``MISS`` where the target is not listed
    label: the file's name, and the method where it has several
    """

    of: Result
    cases: str
    modes: dict[str, NDArray[np.int64]]
    label: str


def keep_ranks(users: Path, methods: Mapping[str, str], path: Path) -> Path:
    """Keep the ranks of some methods of a run.

    users:   ``users.parquet`` of the run, see ``gen_rec.evaluation.lists.write_per_user``
    methods: their names there, and as the results have them
    """
    frame = pl.read_parquet(users).sort("user_id")
    cases = content_hash(frame["user_id"].to_list(), frame["item_id"].to_list())
    columns = [pl.col(f"{old}/{mode}").alias(f"{new}/{mode}") for old, new in methods.items() for mode in MODES]
    with atomic_path(path) as temporary:
        frame.select(pl.lit(cases).alias("cases"), *columns).write_parquet(temporary, compression_level=19)
    return path


def read_ranks(which: str | Path) -> Ranks:
    """Ranks of one method.

    which:  a file, and behind a colon the method where it has several: ``…/ranks/NAME.parquet:eager-fused``
    raises  DataError where the file, the method or the result beside it is missing.
    """
    name, _, method = str(which).partition(":")
    path = Path(name)
    if not path.is_file():
        raise DataError(f"{path}: no such file; runs under benchmarks/accuracy leave one in the folder ranks")
    found = [column.rpartition("/")[0] for column in pl.read_parquet_schema(path) if column.endswith("/raw")]
    method = method or (found[0] if len(found) == 1 else "")
    if method not in found:
        raise DataError(f"{path}: has the methods {', '.join(found)}; name one of them behind a colon")
    beside = path.parents[1] / "results" / f"{path.stem}.json"
    results = [result for result in (read_results(beside) if beside.is_file() else []) if result["method"] == method]
    if not results:
        raise DataError(f"{path}: {beside} has no result of {method}; a file of ranks belongs to that of its results")
    frame = pl.read_parquet(path, columns=["cases", *(f"{method}/{mode}" for mode in MODES)])
    modes = {mode: frame[f"{method}/{mode}"].fill_null(MISS).to_numpy().astype(np.int64) for mode in MODES}
    label = path.stem if len(found) == 1 else f"{path.stem}-{method}"
    return Ranks(results[0], frame["cases"][0], modes, label.replace("/", "+"))

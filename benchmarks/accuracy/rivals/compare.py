"""Whether one method beats another: a paired bootstrap over the users that both ranked for.

    python -m benchmarks.accuracy.rivals.compare runs/beauty/users.parquet:eager-fused \\
        runs/rivals/amazon-beauty-bsarec-seed0/users.parquet

prints mode -> metric -> difference (first less second), its 95 % interval, and the share of resamples in which the
first is better.
"""

import json
import sys
from pathlib import Path

import polars as pl

from gen_rec.cli import guarded
from gen_rec.errors import DataError
from gen_rec.evaluation.bootstrap import paired_bootstrap
from gen_rec.evaluation.evaluator import MODES
from gen_rec.evaluation.metrics import MISS


def compare(a: str | Path, b: str | Path) -> dict[str, dict[str, dict[str, float]]]:
    """Paired bootstrap of two methods on the same users, mode -> metric -> difference a - b.

    a, b:    ``users.parquet`` of two runs, and behind a colon the method where the file has several, as in
             ``runs/beauty/users.parquet:eager-fused``
    raises   DataError where they are not of the same users and targets, or lack the method.
    """
    first, second = _ranks(a), _ranks(b)
    if not first.select("user_id", "item_id").equals(second.select("user_id", "item_id")):
        raise DataError(f"{a} and {b} are not of the same users and targets; prepare both from the same config")
    return {mode: paired_bootstrap(first[mode].to_numpy(), second[mode].to_numpy()) for mode in MODES}


def _ranks(which: str | Path) -> pl.DataFrame:
    """user_id, item_id, raw, filtered; sorted by user, ``MISS`` for a target that is not listed."""
    path, _, method = str(which).partition(":")
    frame = pl.read_parquet(path)
    found = [name.rpartition("/")[0] for name in frame.columns if name.endswith("/raw")]
    method = method or (found[0] if len(found) == 1 else "")
    if method not in found:
        raise DataError(f"{path}: has the methods {', '.join(found)}; name one of them behind a colon")
    ranks = [pl.col(f"{method}/{mode}").fill_null(MISS).alias(mode) for mode in MODES]
    return frame.select("user_id", "item_id", *ranks).sort("user_id")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(guarded(lambda: print(json.dumps(compare(sys.argv[1], sys.argv[2]), indent=2))))

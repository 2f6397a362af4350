"""Whether one method beats another: a paired bootstrap over the users that both ranked for.

    python -m benchmarks.accuracy.rivals.compare runs/beauty/users.parquet:eager-fused \\
        runs/rivals/amazon-beauty-bsarec-seed0/users.parquet [--keep]

prints mode -> metric -> difference (first less second), its 95 % interval, and the share of resamples in which the
first is better; with ``--keep`` it is also written into ``benchmarks/accuracy/evidence``, as
``<set>-<first>-vs-<second>-seed<seed of the first>.json``. The ranks of the last ranking are in the file
``rerank/users.parquet`` of a run that ``benchmarks/accuracy/rerank.py`` scored.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import polars as pl

from gen_rec.cli import guarded, parse_config
from gen_rec.errors import DataError
from gen_rec.evaluation.bootstrap import paired_bootstrap
from gen_rec.evaluation.evaluator import MODES
from gen_rec.evaluation.metrics import MISS
from gen_rec.files import write_json

EVIDENCE = Path(__file__).parents[1] / "evidence"


def compare(a: str | Path, b: str | Path) -> dict[str, dict[str, dict[str, float]]]:
    """Paired bootstrap of two methods on the same users, mode -> metric -> difference a - b.

    a, b:    ``users.parquet`` of two runs, and behind a colon the method where the file has several, as in
             ``runs/beauty/users.parquet:eager-fused``
    raises   DataError where they are not of the same users and targets, or lack the method.
    """
    first, second = _ranks(*_named(a)), _ranks(*_named(b))
    if not first.select("user_id", "item_id").equals(second.select("user_id", "item_id")):
        raise DataError(f"{a} and {b} are not of the same users and targets; prepare both from the same config")
    return {mode: paired_bootstrap(first[mode].to_numpy(), second[mode].to_numpy()) for mode in MODES}


def keep(a: str | Path, b: str | Path, test: dict[str, Any], folder: Path = EVIDENCE) -> Path:
    """Write a comparison, with the set, methods and seeds that it is of; returns the file.

    raises DataError where a run's ``config.yaml`` is neither beside its ``users.parquet`` nor a folder above.
    """
    sides = []
    for which in (a, b):
        path, method = _named(which)
        settings = next((home / "config.yaml" for home in path.parents[:2] if (home / "config.yaml").is_file()), None)
        if settings is None:
            raise DataError(f"{path}: no config.yaml of a run beside it; what was compared cannot be told")
        config = parse_config(["--config", str(settings)])
        sides.append({"set": config.data.name, "method": method, "seed": config.seed})
    name = f"{sides[0]['set']}-{sides[0]['method']}-vs-{sides[1]['method']}-seed{sides[0]['seed']}".replace("/", "+")
    write_json(folder / f"{name}.json", {"a": sides[0], "b": sides[1], "test": test})
    return folder / f"{name}.json"


def _named(which: str | Path) -> tuple[Path, str]:
    """The file and the method that is meant."""
    path, _, method = str(which).partition(":")
    found = [name.rpartition("/")[0] for name in pl.read_parquet_schema(path) if name.endswith("/raw")]
    method = method or (found[0] if len(found) == 1 else "")
    if method not in found:
        raise DataError(f"{path}: has the methods {', '.join(found)}; name one of them behind a colon")
    return Path(path), method


def _ranks(path: Path, method: str) -> pl.DataFrame:
    """user_id, item_id, raw, filtered; sorted by user, ``MISS`` for a target that is not listed."""
    ranks = [pl.col(f"{method}/{mode}").fill_null(MISS).alias(mode) for mode in MODES]
    return pl.read_parquet(path).select("user_id", "item_id", *ranks).sort("user_id")


def main() -> None:
    """Compare, print, and keep if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", help="users.parquet of a run, and behind a colon the method if it has several")
    parser.add_argument("second", help="what it is compared with, likewise")
    parser.add_argument("--keep", action="store_true", help="write the comparison into benchmarks/accuracy/evidence")
    options = parser.parse_args()
    found = compare(options.first, options.second)
    print(json.dumps(found, indent=2))
    if options.keep:
        print(keep(options.first, options.second, found))


if __name__ == "__main__":
    sys.exit(guarded(main))

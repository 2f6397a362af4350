"""Whether one method beats another: a paired bootstrap over the users that both ranked for.

    python -m benchmarks.accuracy.rivals.compare RANKS/amazon-beauty-beauty+minilm-seed0.parquet:eager-fused \\
        RANKS/amazon-beauty-bsarec-seed0.parquet [--keep]

with ``benchmarks/accuracy/ranks`` for RANKS prints mode -> metric -> difference (first less second), its 95 % interval,
and the share of resamples in which the first is better; with ``--keep`` it is also written into
``benchmarks/accuracy/evidence``, as ``<first>-vs-<second>.json``.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy.home import HOME, Home
from benchmarks.accuracy.ranks import Ranks, read_ranks
from gen_rec.cli import guarded
from gen_rec.errors import DataError
from gen_rec.evaluation.bootstrap import paired_bootstrap
from gen_rec.evaluation.evaluator import MODES
from gen_rec.files import write_json

SIDE = ("set", "method", "seed", "ties", "text_encoder")
"""What is kept of either side's result."""


def compare(a: Ranks, b: Ranks) -> dict[str, dict[str, dict[str, float]]]:
    """Paired bootstrap of two methods on the same users, mode -> metric -> difference a - b.

    raises DataError where they are not of the same users and targets.
    """
    if a.cases != b.cases:
        raise DataError(f"{a.label} and {b.label} are not of the same users and targets; prepare both from one config")
    return {mode: paired_bootstrap(a.modes[mode], b.modes[mode]) for mode in MODES}


def keep(a: Ranks, b: Ranks, test: dict[str, Any], home: Home) -> Path:
    """Write a comparison, and what it is of; returns the file."""
    path = home.evidence(f"{a.label}-vs-{b.label}")
    sides = [{name: side.of[name] for name in SIDE} for side in (a, b)]
    write_json(path, {"a": sides[0], "b": sides[1], "test": test})
    return path


def main() -> None:
    """Compare, print, and keep if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", help="file of ranks, and behind a colon the method if it has several")
    parser.add_argument("second", help="what it is compared with, likewise")
    parser.add_argument("--keep", action="store_true", help="write the comparison into benchmarks/accuracy/evidence")
    options = parser.parse_args()
    first, second = read_ranks(options.first), read_ranks(options.second)
    found = compare(first, second)
    print(json.dumps(found, indent=2))
    if options.keep:
        print(keep(first, second, found, HOME))


if __name__ == "__main__":
    sys.exit(guarded(main))

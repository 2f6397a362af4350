"""``python -m benchmarks.accuracy.rivals METHOD --config FILE [...]``; see the package."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.rivals.grid import Space
from benchmarks.accuracy.rivals.run import RIVALS, run, with_own_run
from gen_rec.cli import guarded, parse
from gen_rec.commands import metrics_table, values_of

GRIDS = Path("configs/rivals")


def make_parser() -> ArgumentParser:
    """The options that are the harness's own; all others are those of ``gen-rec train``."""
    parser = ArgumentParser(
        prog="python -m benchmarks.accuracy.rivals",
        allow_abbrev=False,
        epilog="All other options are those of gen-rec train (--config, --seed, --run, --data.tie_order, ...).",
    )
    parser.add_argument("method", choices=list(RIVALS))
    parser.add_argument("--grid", metavar="FILE", help=f"what may be tried; {GRIDS}/METHOD.yaml by default")
    parser.add_argument(
        "--trial", metavar="NAME=VALUE", action="append", default=[],
        help="run one trial with this setting instead of the grid; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--chosen", metavar="EVIDENCE", help="run one trial with the settings that another run, of a first seed, chose"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = make_parser()
    own, rest = parser.parse_known_args(arguments)
    names = values_of("--config", rest)
    if not names:
        parser.error("give --config FILE, the file that the result will name")
    if own.grid and own.chosen:
        parser.error("give --grid or --chosen, not both")
    config, _ = parse("train", rest)
    rival = RIVALS[own.method]
    if not values_of("--run", rest):
        config = with_own_run(config, rival)

    def work() -> None:
        space = Space.chosen_in(own.chosen) if own.chosen else Space.read(own.grid or GRIDS / f"{own.method}.yaml")
        print(metrics_table([run(config, names, rival, space.with_values(own.trial))]))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())

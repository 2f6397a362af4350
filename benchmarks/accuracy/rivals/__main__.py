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
TAKEN = ("--config", "--seed", "--run", "--training.cpu", "--data", "--embeddings", "--evaluation", "--help")
"""How the options of ``gen-rec train`` begin that mean anything to a rival."""


def make_parser() -> ArgumentParser:
    """The options that are the harness's own; all others are those of ``gen-rec train``."""
    parser = ArgumentParser(
        prog="python -m benchmarks.accuracy.rivals",
        allow_abbrev=False,
        epilog="Of the options of gen-rec train it takes --config, --seed, --run, --training.cpu and all of --data, "
        "--embeddings and --evaluation; how a rival is built and trained is said with --trial.",
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
    for option in rest:
        if option.startswith("--") and not option.startswith(TAKEN):
            parser.error(f"{option}: no option of a rival; give its settings as --trial NAME=VALUE")
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

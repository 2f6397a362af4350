"""The way in that the benchmark scripts share: the options of ``gen-rec train``, with the config files named."""

import sys
from collections.abc import Callable, Sequence

from gen_rec.cli import guarded, parse
from gen_rec.commands import values_of
from gen_rec.config import Config


def main(work: Callable[[Config, list[str]], object], arguments: Sequence[str] | None = None) -> int:
    """Run a script. Returns the exit status, 2 where no ``--config`` is given, whose name the result would have.

    work: is called with the settings and the names of the config files
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    names = values_of("--config", given)
    if not names:
        print("error: give --config FILE, the file that the result will name", file=sys.stderr)
        return 2
    config, _ = parse("train", given)

    def call() -> None:
        work(config, names)

    return guarded(call)

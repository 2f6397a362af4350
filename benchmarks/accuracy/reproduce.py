"""Makes a committed result again, prepare to the last ranking, and says whether it came out the same.

    python -m benchmarks.accuracy.reproduce --config configs/beauty.yaml --config configs/minilm.yaml [--seed 0]

takes the options of ``gen-rec train``, goes on where an interrupted run stopped, and writes its results into the run's
folder, not among the committed ones. For each method, NDCG@10 must lie within a tolerance of the committed seeds'
mean: four of their standard deviations, but at least ``LEAST``, since three seeds may lie close by chance, and ``FEW``
where fewer than three are committed. Exit status 1 where one does not. Weights agree to the bit only on the same
processor with the same packages and number of threads; elsewhere a run is like one with another seed.
"""

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy import rerank, run
from benchmarks.accuracy.home import HOME, Home
from gen_rec.cli import guarded, parse
from gen_rec.commands import values_of
from gen_rec.config import Config
from gen_rec.errors import DataError
from gen_rec.evaluation.evaluator import MODES
from gen_rec.evaluation.result import Result, read_folder

METRIC = "ndcg@10"
DEVIATIONS, LEAST, FEW = 4.0, 0.0015, 0.003


@dataclass(frozen=True)
class Row:
    """One figure, made again."""

    method: str
    mode: str
    new: float
    committed: float
    """Mean over the seeds."""
    tolerance: float

    @property
    def same(self) -> bool:
        return abs(self.new - self.committed) <= self.tolerance

    def __str__(self) -> str:
        verdict = "reproduced" if self.same else "NOT REPRODUCED"
        return (
            f"{self.method:24} {self.mode:9} {self.new:.4f}   committed {self.committed:.4f} ± {self.tolerance:.4f}   "
            f"{verdict}"
        )


def compared(new: list[Result], committed: list[Result]) -> list[Row]:
    """Every method of ``new`` that is committed for the same set, text encoder and order of ties.

    raises DataError where none is.
    """
    rows = []
    for result in new:
        same = ("set", "method", "split", "text_encoder", "ties")
        others = [each for each in committed if all(each[name] == result[name] for name in same)]
        for mode in MODES if others else ():
            figures = [each["metrics"][mode][METRIC] for each in others]
            spread = max(LEAST, DEVIATIONS * statistics.stdev(figures)) if len(figures) > 2 else FEW
            rows.append(Row(result["method"], mode, result["metrics"][mode][METRIC], statistics.fmean(figures), spread))
    if not rows:
        raise DataError(f"no committed result of {', '.join(sorted({each['method'] for each in new}))} to compare with")
    return rows


def reproduce(config: Config, names: list[str], committed: Path) -> bool:
    """Train, evaluate, rank, compare. names: the config files; returns whether every figure is within its tolerance."""
    home = Home(Path(config.run) / "reproduced")
    new = run.run(config, names, home) + rerank.run(config, names, home)
    rows = compared(new, [result for _, result in read_folder(committed)])
    print(*rows, sep="\n")
    return all(row.same for row in rows)


def main() -> int:
    """Entry point."""
    arguments = sys.argv[1:]
    names = values_of("--config", arguments)
    if not names:
        print("error: give --config FILE, the file whose result is to be made again", file=sys.stderr)
        return 2
    if not values_of("--run", arguments):
        arguments += ["--run", f"runs/reproduce-{Path(names[0]).stem}"]
    config, _ = parse("train", arguments)
    same = True

    def work() -> None:
        nonlocal same
        same = reproduce(config, names, HOME.folder / "results")

    return guarded(work) or int(not same)


if __name__ == "__main__":
    sys.exit(main())

"""Two sides of a comparison, timed in turns in one process."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

REPETITIONS = 5
"""Least repetitions of each side after the warm-up."""


class Seconds(NamedTuple):
    """Wall seconds of every repetition of both sides; repetition i of one ran beside repetition i of the other."""

    ours: list[float]
    rival: list[float]


@dataclass
class Row:
    """One line of the table.

    row:    number of the work in benchmarks/speed/README.md
    name:   the work, and the rival after "against"
    ours:   the median of our side, in ``unit``
    rival:  the median of the other side; None where there is none
    unit:   of both: seconds where less is better, otherwise something a second
    ratio:  how many times better ours is (row 2: share of the bound); None without a rival
    spread: the smallest and the largest ratio of the repetitions; of our own figure where there is no rival
    more:   what else a reader needs: sizes, memory, settings, the recommended choice
    """

    row: int
    name: str
    ours: float
    rival: float | None
    unit: str
    ratio: float | None
    spread: tuple[float, float]
    more: dict[str, Any] = field(default_factory=dict)


class Point(NamedTuple):
    """One measured size of a growth curve."""

    row: int
    axis: str  # what grows, as the plot names it: "catalogue (items)", "history (items)", ...
    side: str  # what was measured: "ours", or the name of a variant
    size: float
    seconds: float


def once(work: Callable[[], object]) -> float:
    """Wall seconds of one call, with the garbage of what came before collected."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _frozen() -> Iterator[None]:
    """Keep the collector away from what is there already: looking through all of torch takes half a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def repeat(work: Callable[[], object], repetitions: int = REPETITIONS, warmups: int = 1) -> list[float]:
    """Wall seconds of every repetition after the warm-ups."""
    with _frozen():
        return [once(work) for _ in range(warmups + repetitions)][warmups:]


def alternate(
    ours: Callable[[], object], rival: Callable[[], object], repetitions: int = REPETITIONS, warmups: int = 1
) -> Seconds:
    """Time both sides in turns: one of ours, one of the rival's, and again."""
    seconds = Seconds([], [])
    with _frozen():
        for _ in range(warmups + repetitions):
            seconds.ours.append(once(ours))
            seconds.rival.append(once(rival))
    return Seconds(seconds.ours[warmups:], seconds.rival[warmups:])


def compared(
    row: int, name: str, seconds: Seconds, unit: str = "s", amount: float = 1.0, rival_amount: float | None = None,
    **more: Any,
) -> Row:  # fmt: skip
    """The line of a comparison.

    amount:       work of one repetition of ours, in the thing that ``unit`` counts a second ("targets/s"); 1 where
                  the unit is "s" or "ms"
    rival_amount: the same of the rival where it did less or more work in a repetition
    """
    rival_amount = amount if rival_amount is None else rival_amount
    ratios = [(r / rival_amount) / (o / amount) for o, r in zip(seconds.ours, seconds.rival, strict=True)]
    ours, rival = statistics.median(seconds.ours), statistics.median(seconds.rival)
    ratio = (rival / rival_amount) / (ours / amount)
    return Row(
        row, name, in_unit(ours, amount, unit), in_unit(rival, rival_amount, unit), unit, ratio,
        (min(ratios), max(ratios)), {"repetitions": len(ratios), **more},
    )  # fmt: skip


def alone(row: int, name: str, seconds: list[float], unit: str = "s", amount: float = 1.0, **more: Any) -> Row:
    """The line of a work that has no rival."""
    figures = [in_unit(value, amount, unit) for value in seconds]
    middle = in_unit(statistics.median(seconds), amount, unit)
    return Row(row, name, middle, None, unit, None, (min(figures), max(figures)), {"repetitions": len(figures), **more})


def in_unit(seconds: float, amount: float, unit: str) -> float:
    """Seconds of some work in the unit of its line."""
    if unit == "s":
        return seconds
    if unit == "ms":
        return 1000 * seconds
    return amount / seconds

"""What a rival is to the harness: settings, a fit, and scores of the whole catalogue."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset, Sequences
from gen_rec.run import Run


class Scorer(Protocol):
    """A fitted rival."""

    def scores(self, histories: Sequences) -> Tensor:
        """Score every item for some histories.

        returns  (rows, n_items) float32 on the processor, the larger the better; -inf is never recommended.
        """


class Fitted(NamedTuple):
    """What a fit gives; ``notes`` are figures of the fit itself, such as the number of epochs."""

    scorer: Scorer
    notes: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What all trials of a run share.

    dataset: prepared; only its training part may be learnt from, and its validation targets chosen by
    config:  of the whole run
    run:     its folder
    """

    dataset: Dataset
    config: Config
    run: Run


@dataclass(frozen=True)
class Rival:
    """One method.

    name:     in the words of the protocol
    settings: the dataclass of its settings
    fit:      ``fit(job, settings, folder, key)``. A fit that was interrupted goes on from what it left in the folder of
              the trial, and one that was finished is read from there
    inputs:   files of the run beside the interactions that decide the fit
    texts:    whether it reads the items' texts
    """

    name: str
    settings: type[Any]
    fit: Callable[[Job, Any, Path, str], Fitted]
    inputs: Callable[[Run], list[Path]] = field(default=lambda run: [])
    texts: bool = False

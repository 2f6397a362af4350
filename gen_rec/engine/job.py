"""What a batch job is: work on numbered partitions, and what it needs before the first."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

Work = Callable[[int], Iterable[pa.Table]]
"""The number of a partition -> its rows, table by table."""


@dataclass(frozen=True)
class Job:
    """Work on ``n_partitions`` partitions.

    key:    a hash of all that decides the result; partitions of another key are not this job's
    schema: of every table
    open:   device ("cpu", "cuda") -> the work. Loads what every partition needs, such as a model: once where the job
            runs in this process, once an actor on Ray. It travels to other machines by pickle, so it holds settings
            and absolute paths, not models.
    name:   what is done, for the progress bar
    """

    key: str
    n_partitions: int
    schema: pa.Schema
    open: Callable[[str], Work]
    name: str = "partitions"

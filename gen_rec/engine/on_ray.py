"""The partitions of a job on Ray Data: a table of their numbers, mapped by actors that load the model once."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from gen_rec.engine.job import Job, Work
from gen_rec.engine.partitions import Partitions
from gen_rec.errors import GenRecError
from gen_rec.extras import require

logger = logging.getLogger(__name__)


class PartitionActor:
    """What Ray Data calls with numbers of partitions. It writes each partition itself, under the name it has on every
    engine, and returns no more than that it is written: rows never pass through Ray's object store.
    """

    def __init__(self, job: Job, folder: Partitions) -> None:
        self.job = job
        self.folder = folder
        self.work: Work | None = None  # loaded at the first partition, where an error can be handed back

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{"number": (n,) int64} -> the same and {"error": (n,) str}, "" where a partition is written."""
        return {"number": batch["number"], "error": np.array([self._do(int(number)) for number in batch["number"]])}

    def _do(self, number: int) -> str:
        try:
            if self.work is None:
                self.work = self.job.open(_device())
            self.folder.write(number, self.job.schema, self.work(number))
        except GenRecError as error:  # a fault of ours is left to Ray, with its traceback
            return str(error)
        return ""


def run_on_ray(job: Job, folder: Partitions, numbers: Sequence[int], gpus: bool, actors: int | None) -> Iterator[int]:
    """Do partitions and yield the number of each when it is written.

    raises GenRecError with the text of the first one an actor met; MissingExtra without Ray.
    """
    ray = _require_ray()
    with _cluster(ray):
        available = ray.cluster_resources()
        use_gpus = gpus and available.get("GPU", 0) >= 1
        fit = int(available.get("GPU" if use_gpus else "CPU", 1))
        pool = ray.data.ActorPoolStrategy(size=max(1, min(actors or fit, len(numbers))))
        table = ray.data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
        results = table.map_batches(
            PartitionActor,
            batch_size=1,
            compute=pool,
            num_cpus=1,
            num_gpus=1 if use_gpus else None,
            fn_constructor_args=(job, folder),
        )
        for row in results.iter_rows():
            if row["error"]:
                raise GenRecError(row["error"])
            yield int(row["number"])


def _require_ray() -> ModuleType:
    ray = require("ray", extra="ray", purpose="--engine ray")
    require("ray.data", extra="ray", purpose="--engine ray")
    return ray


@contextmanager
def _cluster(ray: ModuleType) -> Iterator[None]:
    """Ray as it runs already; else the cluster of RAY_ADDRESS; else one on this machine, stopped at the end."""
    context: Any = ray.data.DataContext.get_current()
    bars, context.enable_progress_bars = context.enable_progress_bars, False  # there is one of ours
    its_log = logging.getLogger("ray.data")
    level = its_log.level
    its_log.setLevel(logging.ERROR)  # it tells its plans, and that its bars are off
    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS") or "local"
        options = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING, **options)
        logger.info("ray: %d processors on %d machines", ray.cluster_resources().get("CPU", 0), len(ray.nodes()))
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        its_log.setLevel(level)
        if ours:
            ray.shutdown()


def _device() -> str:
    """Where an actor computes: on the GPU that Ray gave it, if any."""
    return "cuda" if _require_ray().get_gpu_ids() else "cpu"

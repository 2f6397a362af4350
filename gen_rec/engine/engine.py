"""Who runs the partitions of a job: this process, or the actors of a Ray cluster."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tqdm.auto import tqdm

from gen_rec.engine.job import Job
from gen_rec.engine.partitions import Partitions

logger = logging.getLogger(__name__)

EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class Engine:
    """How a job is run. Results do not depend on it, so it is part of no key.

    name:   "local" does one partition after the other in this process; "ray" gives them to actors of Ray Data
    device: where "local" computes
    gpus:   whether actors of Ray may take the cluster's GPUs, one each
    actors: of Ray; None is one for each GPU, or processor where there is no GPU to use
    """

    name: EngineName = "local"
    device: str = "cpu"
    gpus: bool = False
    actors: int | None = None

    def run(self, job: Job, folder: Partitions, numbers: Sequence[int]) -> Iterator[int]:
        """Do partitions and yield the number of each when it is written: in no particular order on Ray.

        folder: where they are written; on a cluster, a folder that all machines have under this name
        raises  GenRecError of the work; MissingExtra where Ray is wanted and not installed.
        """
        if not numbers:
            return
        found = job.n_partitions - len(numbers)
        if found:
            logger.info("%s: %d of %d partitions are there, in %s", job.name, found, job.n_partitions, folder.folder)
        work = self._local(job, folder, numbers) if self.name == "local" else self._ray(job, folder, numbers)
        with tqdm(total=job.n_partitions, initial=found, desc=job.name, unit="part") as progress:
            for number in work:
                progress.update()
                yield number

    def _local(self, job: Job, folder: Partitions, numbers: Sequence[int]) -> Iterator[int]:
        work = job.open(self.device)
        for number in numbers:
            folder.write(number, job.schema, work(number))
            yield number

    def _ray(self, job: Job, folder: Partitions, numbers: Sequence[int]) -> Iterator[int]:
        from gen_rec.engine.on_ray import run_on_ray  # Ray is an extra

        return run_on_ray(job, folder, numbers, self.gpus, self.actors)

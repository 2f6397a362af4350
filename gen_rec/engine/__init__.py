"""Batch jobs cut into numbered partitions that a killed job leaves behind and the next one goes on from.

    job = Job(key, n_partitions, schema, open_work)
    folder = Partitions("out", job.key)
    for number in Engine("ray").run(job, folder, folder.missing(job.n_partitions)): ...

The work is the same whichever engine runs it: what a partition holds does not depend on who else works.
"""

from gen_rec.engine.engine import Engine, EngineName
from gen_rec.engine.job import Job, Work
from gen_rec.engine.partitions import Partitions

__all__ = ["Engine", "EngineName", "Job", "Partitions", "Work"]

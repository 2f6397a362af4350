"""Ranked lists for any number of histories, as a batch job: partitions of users, then one file of them all."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gen_rec.engine import Engine, Job, Partitions, Work
from gen_rec.errors import GenRecError
from gen_rec.evaluation.lists import LIST_SCHEMA
from gen_rec.files import atomic_path, content_hash
from gen_rec.histories import Histories
from gen_rec.recommender import Recommender
from gen_rec.retrieval import SearchConfig

logger = logging.getLogger(__name__)

TITLED_SCHEMA = pa.schema([*list(LIST_SCHEMA)[:3], pa.field("title", pa.string()), *list(LIST_SCHEMA)[3:]])
"""``LIST_SCHEMA`` and the title, for the forms that people read."""
FORMS = (".parquet", ".csv", ".jsonl")
PARTITION_ROWS = 16_384
"""Histories in a partition unless said otherwise: a few seconds to a minute of work, some tens of MB."""


@dataclass(frozen=True)
class Request:
    """What is recommended, whoever computes it.

    model:          folder of a recommender
    search:         how its codes are searched
    k, filter_seen: as ``Recommender.recommend`` has them
    partition_rows: histories in a partition
    """

    model: Path
    search: SearchConfig
    k: int = 10
    filter_seen: bool = True
    partition_rows: int = PARTITION_ROWS

    def job(self, histories: Histories, titles: bool) -> Job:
        """The job over these histories. titles: whether the lists have the items' titles"""
        files = [path for path in sorted(self.model.iterdir()) if path.is_file()]
        settings = [asdict(self.search), self.k, self.filter_seen, self.partition_rows, titles]
        key = content_hash(settings, len(histories), histories.key(), *files)
        schema = TITLED_SCHEMA if titles else LIST_SCHEMA
        n_partitions = -(-len(histories) // self.partition_rows)
        return Job(key, n_partitions, schema, _Open(self, self.model.resolve(), histories, schema), "recommend")


@dataclass(frozen=True)
class _Open:
    """``Job.open``, as a class so that it can be sent to another machine."""

    request: Request
    model: Path
    histories: Histories
    schema: pa.Schema

    def __call__(self, device: str) -> Work:
        recommender = Recommender.from_pretrained(self.model)
        recommender.search = self.request.search
        recommender.model.to(device)

        def work(number: int) -> Iterator[pa.Table]:
            start = number * self.request.partition_rows
            stop = min(start + self.request.partition_rows, len(self.histories))
            histories, users = self.histories.read(start, stop)
            for frame in recommender.recommend_batches(histories, self.request.k, self.request.filter_seen, users):
                yield frame.select(self.schema.names).to_arrow().cast(self.schema)

        return work


def check_out(out: str) -> Path:
    """The place of the lists. raises GenRecError for a suffix that is none of the forms."""
    path = Path(out)
    if path.suffix not in FORMS and not is_folder(out):
        raise GenRecError(
            f"{out}: ranked lists are written as .parquet, .csv or .jsonl, got {path.suffix!r}; name one of them, or a "
            "folder for Parquet partitions (no suffix, or a / at the end)"
        )
    return path


def is_folder(out: str) -> bool:
    """Whether ``out`` names a folder: by its form, or because it is one."""
    return out.endswith("/") or not Path(out).suffix or Path(out).is_dir()


def write_recommendations(request: Request, histories: Histories, out: str, engine: Engine) -> int:
    """Write ranked lists and return their rows. The same call goes on where a killed one has stopped.

    out: a file, .parquet with the columns of ``LIST_SCHEMA``, .csv or .jsonl with the title too: written whole or not
         at all, from partitions that lie in ``<out>.parts`` until then. Or a folder, which keeps the Parquet
         partitions; then those of another job in it are replaced.
    raises GenRecError for another suffix, for a folder with other files in it, and what the work or the engine raises.
    """
    path = check_out(out)
    folder = path if is_folder(out) else beside(path, "parts")
    job = request.job(histories, titles=path.suffix in (".csv", ".jsonl") and folder != path)
    partitions = Partitions(folder, job.key)
    partitions.clean()
    for _ in engine.run(job, partitions, partitions.missing(job.n_partitions)):
        pass
    rows = partitions.rows()
    if folder != path:
        with atomic_path(path) as temporary:
            _join(partitions, job.n_partitions, job.schema, temporary)
        shutil.rmtree(folder)
    return rows


def beside(out: Path, what: str) -> Path:
    """A folder of a job beside its result: ``recs.csv`` -> ``recs.csv.parts``."""
    return out.with_name(f"{out.name}.{what}")


def _join(partitions: Partitions, n_partitions: int, schema: pa.Schema, out: Path) -> None:
    """One file of all partitions, a row group in memory at a time."""
    if out.suffix == ".parquet":
        with pq.ParquetWriter(out, schema, compression="zstd") as writer:
            for table in _tables(partitions, n_partitions):
                writer.write_table(table.cast(schema))
        return
    with out.open("wb") as file:
        if out.suffix == ".csv":
            pl.DataFrame(schema.empty_table()).write_csv(file)  # the header
        for table in _tables(partitions, n_partitions):
            frame = pl.DataFrame(table)
            frame.write_csv(file, include_header=False) if out.suffix == ".csv" else frame.write_ndjson(file)


def _tables(partitions: Partitions, n_partitions: int) -> Iterator[pa.Table]:
    for number in range(n_partitions):
        with pq.ParquetFile(partitions.path(number)) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)

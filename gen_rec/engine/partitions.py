"""A folder of Parquet partitions that say themselves which job they belong to."""

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gen_rec.errors import GenRecError
from gen_rec.files import atomic_path

logger = logging.getLogger(__name__)

KEY = b"gen_rec.key"
"""Where a partition's footer has the key of its job."""
GROUP_ROWS = 100_000
"""Rows gathered for a row group: many small ones make a file slow to read."""
_NAME = re.compile(r"part-(\d{5,})\.parquet")
_UNFINISHED = re.compile(r"\.part-\d{5,}\..*\.parquet")  # what ``atomic_path`` calls them


class Partitions:
    """``part-00000.parquet``, ``part-00001.parquet``, ... of one job.

    folder: made when the first partition is written
    key:    the job's; it stands in every partition's footer, which is written last and renamed into place with the
            rest: a file that is whole and has the key is a partition that is done, and nothing else is
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder)
        self.key = key

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"

    def write(self, number: int, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
        """Write a partition, whole or not at all, as its tables come; returns its rows."""
        rows = 0
        own = schema.with_metadata({**(schema.metadata or {}), KEY: self.key.encode()})
        with (
            atomic_path(self.path(number)) as temporary,
            pq.ParquetWriter(temporary, own, compression="zstd") as writer,
        ):
            for group in _groups(tables):
                writer.write_table(group)
                rows += len(group)
        return rows

    def done(self) -> list[int]:
        """Numbers of the partitions that are there, ascending."""
        return sorted(number for number, path in self._numbered() if _key_of(path) == self.key)

    def missing(self, n_partitions: int) -> list[int]:
        """Numbers below ``n_partitions`` that are not there, ascending."""
        there = set(self.done())
        return [number for number in range(n_partitions) if number not in there]

    def rows(self) -> int:
        """Rows of all partitions, from their footers."""
        return sum(pq.read_metadata(self.path(number)).num_rows for number in self.done())

    def clean(self) -> None:
        """Remove partitions of other jobs and what a killed job has not finished.

        raises GenRecError, before anything is removed, where the folder has something that is not of a batch job:
               the folder is then not one to write partitions into.
        """
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise GenRecError(f"{self.folder}: is a file, partitions need a folder; name another, or remove it")
        numbered = dict(self._numbered())
        keys = {number: _key_of(path) for number, path in numbered.items()}
        strangers = [path for path in sorted(self.folder.iterdir()) if not path.name.startswith(".")]
        strangers = [path for path in strangers if path not in numbered.values()]
        strangers += [numbered[number] for number, key in keys.items() if key == ""]
        if strangers:
            raise GenRecError(
                f"{strangers[0]}: is not a partition that gen_rec wrote, and partitions of another job are replaced; "
                "name a new folder, or an empty one"
            )
        others = [number for number, key in keys.items() if key != self.key]
        if others:
            logger.info(
                "%s: %d partitions are of another model, input or setting, or damaged; removed",
                self.folder,
                len(others),
            )
        for number in others:
            numbered[number].unlink()
        for path in self.folder.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink()

    def _numbered(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        matches = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        return [(int(match[1]), path) for match, path in matches if match]


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of at least ``GROUP_ROWS`` rows, but for the last."""
    gathered: list[pa.Table] = []
    for table in tables:
        gathered.append(table)
        if sum(map(len, gathered)) >= GROUP_ROWS:
            yield pa.concat_tables(gathered)
            gathered = []
    if gathered:
        yield pa.concat_tables(gathered)


def _key_of(path: Path) -> str | None:
    """The key in a partition's footer; "" where there is none, None where the file is not whole."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    return metadata.get(KEY, b"").decode()

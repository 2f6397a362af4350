"""Summaries on disk, found again by the hash of what they were made from; written as they arrive."""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import polars as pl

from gen_rec.data import columns as c
from gen_rec.files import atomic_path, content_hash
from gen_rec.summaries import prompt
from gen_rec.summaries.config import SummaryConfig

logger = logging.getLogger(__name__)

SCHEMA = pl.Schema(
    {
        "key": pl.String, "user_id": pl.String, "split": pl.String, "summary": pl.String, "error": pl.String,
        "tokens_in": pl.Int64, "tokens_out": pl.Int64,
    }
)  # fmt: skip
"""``summary`` is null where it failed, and ``error`` then says why; it is null otherwise."""
SAVE_SECONDS = 30.0
"""Seconds after which what has arrived is written, however little it is."""
DECIDING = ("backend", "model", "max_items", "item_characters", "max_tokens", "max_words", "temperature")
"""Settings that decide what a summary says."""


@dataclass(frozen=True)
class Answer:
    """What came of one history: a row of ``SCHEMA``. Tokens are 0 where nobody counted them."""

    key: str
    user_id: str
    split: str
    summary: str | None
    error: str | None
    tokens_in: int = 0
    tokens_out: int = 0


class Keys:
    """The keys of histories over one catalogue under some settings.

    A key is a hash of the history's items with all that is known of them, the settings that decide and the prompt. It
    does not depend on the place of an item in the catalogue.
    """

    def __init__(self, items: pl.DataFrame, config: SummaryConfig) -> None:
        settings = {name: getattr(config, name) for name in DECIDING}
        self._settings = content_hash(settings, prompt.SYSTEM, prompt.TASK).encode()
        self._max_items = config.max_items
        # the template weighs a history against the whole catalogue, so that the catalogue is part of its key
        self._items = [json.dumps(row, default=str).encode() for row in items.iter_rows()]
        if config.backend == "template":
            self._settings += hashlib.sha256(b"\n".join(self._items)).digest()
        self._items = [hashlib.sha256(row).digest() for row in self._items]

    def of(self, history: prompt.History) -> str:
        """history: rows of the catalogue, oldest first. returns 32 hexadecimal digits."""
        digest = hashlib.sha256(self._settings)
        for item in history[-self._max_items :]:
            digest.update(self._items[item])
        return digest.hexdigest()[:32]


class SummaryStore:
    """A folder of small Parquet files of ``SCHEMA``; a key may stand in several, and one with a summary counts.

    Files are only ever added, under a name nobody else uses and renamed into place when whole, and joined.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> pl.DataFrame:
        """One row a key. Files that cannot be read are left out, with a warning."""
        return _one_a_key([frame for _, frame in self._parts()])

    def add(self, answers: Sequence[Answer]) -> None:
        """Write a file of its own."""
        if answers:
            self._write(pl.DataFrame([asdict(answer) for answer in answers], schema=SCHEMA))

    def compact(self) -> None:
        """Join all files into one; what was joined is removed only when the new one is in place."""
        parts = self._parts()
        if len(parts) < 2:
            return
        self._write(_one_a_key([frame for _, frame in parts]))
        for path, _ in parts:
            path.unlink(missing_ok=True)

    def _write(self, frame: pl.DataFrame) -> None:
        # names sort by time, so that of two failures the later one is told
        with atomic_path(self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet") as temporary:
            frame.write_parquet(temporary)

    def _parts(self) -> list[tuple[Path, pl.DataFrame]]:
        found = []
        for path in sorted(path for path in self.folder.glob("*.parquet") if not path.name.startswith(".")):
            try:
                found.append((path, pl.read_parquet(path).select(SCHEMA.names()).cast(SCHEMA)))
            except FileNotFoundError:  # another process has just joined it with others
                continue
            except (pl.exceptions.PolarsError, OSError) as error:
                logger.warning("%s: unreadable part of the summaries, left out (%s)", path, error)
        return found


def _one_a_key(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """A success before a failure, the later of two alike."""
    rows = pl.concat([frame.with_columns(pl.lit(i).alias("part")) for i, frame in enumerate(frames)] or [_EMPTY])
    rows = rows.sort(pl.col("summary").is_null(), -pl.col("part"), maintain_order=True)
    return rows.unique("key", keep="first", maintain_order=True).drop("part")


_EMPTY = pl.DataFrame(schema={**SCHEMA, "part": pl.Int32})


class Saver:
    """Gathers answers and writes them when there are ``every`` of them, or ``SAVE_SECONDS`` after the first; at the
    end of its ``with``, whatever ended it, the rest."""

    def __init__(self, store: SummaryStore, every: int) -> None:
        self.store, self.every = store, every
        self.answers: list[Answer] = []  # all of them
        self._waiting: list[Answer] = []
        self._since = 0.0

    def __call__(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting.append(answer)
        if len(self._waiting) >= self.every or time.monotonic() - self._since > SAVE_SECONDS:
            self._write()

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def _write(self) -> None:
        self.store.add(self._waiting)
        self._waiting = []


def load_summaries(path: str | Path) -> dict[str, str]:
    """{key: summary} of a file of ``SCHEMA``, such as ``<run>/summaries/train.parquet``, without failures."""
    frame = pl.read_parquet(path, columns=["key", "summary"]).drop_nulls("summary")
    return dict(zip(frame["key"], frame["summary"], strict=True))


def summary_key(item_ids: Sequence[str], items: pl.DataFrame, config: SummaryConfig) -> str:
    """The key of one history of external ids; for many histories use ``Keys``."""
    rows = {item: row for row, item in enumerate(items[c.ITEM_ID])}
    return Keys(items, config).of([rows[item] for item in item_ids])

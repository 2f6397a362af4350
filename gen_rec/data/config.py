"""The settings of ``gen-rec prepare``: which data set, how it is read, filtered and split."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from gen_rec.choices import check_choices

DEFAULT_TEXT = "{title}. Brand: {brand}. {categories}"
"""The template of an item's text when a config names none; columns a set has not got are left out."""

Source = Literal["auto", "s3rec", "amazon-2014", "amazon-2018", "amazon-2023", "yelp", "table", "demo"]


@dataclass
class TableConfig:
    """How to read anyone's CSV or Parquet tables (``source: table``)."""

    interactions: str | None = None
    """File of interactions, .csv, .tsv (also .gz) or .parquet; a relative name is looked for in the set's
    folder, then in the working folder. None means ``interactions.*`` in the set's folder."""
    items: str | None = None
    """File of items, in the same formats; None means ``items.*`` in the set's folder, if there is one."""
    user_column: str = "user_id"
    """Column of the interactions that holds the user."""
    item_column: str = "item_id"
    """Column of the interactions that holds the item."""
    timestamp_column: str = "timestamp"
    """Column of the interactions that holds the time: a number, a date, or ISO-8601 text."""
    timestamp_unit: Literal["s", "ms", "us", "ns"] = "s"
    """Unit of a timestamp that is a number (counted from 1970-01-01 UTC); dates and text need none."""
    items_id_column: str | None = None
    """Column of the items table that holds the item; None means the same name as ``item_column``."""
    separator: str | None = None
    """Separator of the CSV files; None means a tab for .tsv and a comma otherwise."""

    def __post_init__(self) -> None:
        check_choices(self, "data.table")
        for name in ("user_column", "item_column", "timestamp_column"):
            if not getattr(self, name):
                raise ValueError(f"data.table.{name} must name a column, got an empty string")
        columns = [self.user_column, self.item_column, self.timestamp_column]
        if len(set(columns)) < 3:
            raise ValueError(
                "data.table.user_column, item_column and timestamp_column must be three "
                f"different columns, got {columns}"
            )
        if self.separator is not None and len(self.separator.encode()) != 1:
            raise ValueError(f"data.table.separator must be a single byte, got {self.separator!r}")


@dataclass
class DataConfig:
    """What ``gen-rec prepare`` reads and makes of it."""

    set: str | None = None
    """Name of the data set: a folder under ``root`` (``amazon-beauty``), ``movielens-demo``, or a public raw
    set that can be downloaded."""
    root: str | None = None
    """Folder that holds the data sets; None means the environment variable GEN_REC_DATA, and where that is
    not set either, ``~/.cache/gen_rec/data``."""
    source: Source = "auto"
    """Layout of the set; ``auto`` looks at the files of its folder (or, for a download, at its name)."""
    download: bool = True
    """Whether a public set that is not under ``root`` may be downloaded."""
    table: TableConfig = field(default_factory=TableConfig)
    """Files and columns of ``source: table``."""

    min_rating: float | None = None
    """Keep only reviews with at least this rating (raw Amazon and Yelp); None keeps all."""
    date_from: str | None = None
    """Keep only interactions at or after this ISO-8601 date, such as ``2019-01-01`` (UTC)."""
    date_to: str | None = None
    """Keep only interactions before this ISO-8601 date (UTC): the window is ``[date_from, date_to)``."""

    text: str | None = None
    """Template of an item's text over the columns of the items, such as
    ``{title}. Brand: {brand}. {categories}``. A field that is empty or "Unknown" is left out with the words
    before it. None means the source's own template with the columns the set has not got left out: that one,
    but for the film ratings of the demo, which have years and genres."""
    title_column: str = "title"
    """Column of the items that a person is shown as the item's name (Sports has only ``title_proxy``)."""
    list_separator: str = " > "
    """What joins the entries of a list column such as categories."""

    k_core: int = 0
    """Drop users and items with fewer interactions than this until none is left; 0 means no filter. The
    published benchmark sets are 5-core already."""
    deduplicate: bool = False
    """Keep only the first interaction (in time) of every user with every item."""
    tie_order: Literal["input", "shuffled", "redrawn"] = "input"
    """Order of interactions of a user that carry the same timestamp: that of the files; drawn by lot; or drawn by lot,
    and for the search's training anew in every epoch, so that it cannot learn an order that means nothing."""
    tie_seed: int = 0
    """Seed of the lot of ``tie_order``."""

    split: Literal["leave-one-out", "leave-last-out", "temporal"] = "leave-one-out"
    """``leave-one-out``: a user's last interaction is test, the one before it validation, the rest training.
    ``leave-last-out``: the same tests, but everything before them trains: for training once more, without validation,
    with settings and epochs that a leave-one-out run has picked.
    ``temporal``: everything from ``test_from`` on is test, from ``valid_from`` on validation."""
    valid_from: float | str = 0.8
    """Start of the validation window: a quantile of all timestamps (0 to 1), or an ISO-8601 date."""
    test_from: float | str = 0.9
    """Start of the test window: a quantile of all timestamps (0 to 1), or an ISO-8601 date."""

    on_duplicate: Literal["error", "keep_first", "keep_last"] = "error"
    """What to do when an item has more than one row in the items table."""
    on_unknown_item: Literal["error", "drop", "keep"] = "error"
    """What to do with an interaction whose item has no row in the items table: stop, drop the interaction,
    or keep it and give the item an empty text."""

    def __post_init__(self) -> None:
        check_choices(self, "data")
        if self.k_core < 0:
            raise ValueError(f"data.k_core must be 0 (no filter) or positive, got {self.k_core}")
        if self.tie_seed < 0:
            raise ValueError(f"data.tie_seed must not be negative, got {self.tie_seed}")
        start, end = (_check_date(name, getattr(self, name)) for name in ("date_from", "date_to"))
        if start is not None and end is not None and start >= end:
            raise ValueError(f"data.date_from must be before data.date_to, got {self.date_from} and {self.date_to}")
        cuts = [_check_cut(name, getattr(self, name)) for name in ("valid_from", "test_from")]
        if isinstance(cuts[0], float) != isinstance(cuts[1], float):
            raise ValueError(
                "data.valid_from and data.test_from must both be quantiles or both be dates, "
                f"got {self.valid_from!r} and {self.test_from!r}"
            )
        if cuts[0] >= cuts[1]:  # type: ignore[operator]
            raise ValueError(
                f"data.valid_from must be before data.test_from, got {self.valid_from} and {self.test_from}"
            )

    @property
    def name(self) -> str:
        """What results call the data: the set, or the file of interactions."""
        return self.set or Path(str(self.table.interactions)).name

    @property
    def window(self) -> tuple[int | None, int | None]:
        """``date_from`` and ``date_to`` as Unix seconds (start included, end excluded)."""
        start, end = (_check_date(name, getattr(self, name)) for name in ("date_from", "date_to"))
        return (None if start is None else unix_seconds(start), None if end is None else unix_seconds(end))


def parse_date(text: str) -> datetime:
    """Read ISO-8601 text; without a time zone it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def unix_seconds(moment: datetime) -> int:
    """Whole seconds since 1970-01-01 UTC."""
    return int(moment.timestamp())


def _check_date(name: str, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return parse_date(value)
    except ValueError:
        raise ValueError(f"data.{name} must be an ISO-8601 date such as 2019-01-01, got {value!r}") from None


def _check_cut(name: str, value: float | str) -> float | datetime:
    if isinstance(value, str):
        moment = _check_date(name, value)
        assert moment is not None
        return moment
    if not 0 < value < 1:
        raise ValueError(f"data.{name} must be a quantile between 0 and 1 or a date, got {value}")
    return float(value)

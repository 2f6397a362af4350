"""Where interactions come from: find a set by its name, recognise its layout, read it as ``RawData``."""

import logging
import os
from pathlib import Path

from gen_rec.data.config import DataConfig
from gen_rec.data.download import ALIASES, PUBLIC_SETS, download_set
from gen_rec.data.sources.amazon import read_amazon
from gen_rec.data.sources.demo import read_demo
from gen_rec.data.sources.raw import RawData
from gen_rec.data.sources.s3rec import read_s3rec
from gen_rec.data.sources.table import find_table, read_table
from gen_rec.data.sources.yelp import read_yelp
from gen_rec.errors import DataError, GenRecError

__all__ = ["RawData", "read_raw", "source_files"]

logger = logging.getLogger(__name__)

DEMO_SET = "movielens-demo"

_LAYOUTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("s3rec", ("sequences.txt", "sequences.txt.gz")),
    ("yelp", ("*business.json", "*business.json.gz")),
    ("table", ("interactions.csv", "interactions.tsv", "interactions.*.gz", "interactions.parquet")),
    ("amazon", ("reviews_*.json*", "meta_*.json*", "*_5.json*", "*.jsonl", "*.jsonl.gz")),
)
"""The first layout with a file of one of these names is taken; the Amazon reader tells its editions apart."""


def read_raw(config: DataConfig) -> RawData:
    """Read the set that ``config`` names, downloading it where that is possible and allowed.

    raises DataError where the set is not there and cannot be had, is of no known layout, or is broken.
    """
    if config.source == "demo" or config.set == DEMO_SET:
        return read_demo(config)
    if config.source in ("auto", "table") and config.table.interactions is not None:
        _refuse_rating(config, "table")
        return read_table(config, _existing(config))
    if config.set is None:
        raise DataError(
            "data.set names no data set; name one (such as amazon-beauty or movielens-demo), "
            "or the file of your own interactions in data.table.interactions"
        )
    folder = find_set(config)
    source = detect_layout(folder) if config.source == "auto" else config.source
    logger.info("reading %s (layout %s)", folder, source)
    if source in ("s3rec", "table"):
        _refuse_rating(config, source)
        return read_s3rec(folder) if source == "s3rec" else read_table(config, folder)
    return read_yelp(config, folder) if source == "yelp" else read_amazon(config, folder)


def source_files(config: DataConfig) -> list[Path]:
    """The files that ``read_raw`` would read, so that a caller can tell whether they have changed.

    A set that is not there is downloaded first; the demo set is a package and has none.
    """
    if config.source == "demo" or config.set == DEMO_SET:
        return []
    if config.source in ("auto", "table") and config.table.interactions is not None:
        folder = _existing(config)
        named = [(config.table.interactions, "interactions"), (config.table.items, "items")]
        found = [find_table(name, folder, kind) for name, kind in named]
        return [path for path in found if path is not None]
    if config.set is None:
        return []  # read_raw says what is missing
    return sorted(path for path in find_set(config).rglob("*") if path.is_file())


def roots(config: DataConfig) -> list[Path]:
    """The folders that may hold sets: ``data.root`` or $GEN_REC_DATA, and the cache where downloads go
    when that cannot be written."""
    named = config.root or os.environ.get("GEN_REC_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gen_rec" / "data"
    return [Path(named).expanduser(), cache] if named else [cache]


def find_set(config: DataConfig) -> Path:
    """The folder of the set that ``config`` names; a public raw set is downloaded, or its download completed.

    raises DataError that says both ways to get it.
    """
    assert config.set is not None
    found = _existing(config)
    if found is not None and not (config.download and _incomplete(config.set, found)):
        return found
    if not config.download:
        raise _not_found(config, "data.download is false")
    root = _writable(roots(config))
    try:
        return download_set(config.set, root)
    except (GenRecError, OSError) as error:
        raise _not_found(config, str(error)) from error


def _existing(config: DataConfig) -> Path | None:
    """The folder of the set where it is there already, under its own or its family's name."""
    if config.set is None:
        return None
    names = [config.set, ALIASES.get(config.set, config.set)]
    places = [root / name for name in names for root in roots(config)]
    return next((place for place in places if place.is_dir()), None)


def _incomplete(name: str, folder: Path) -> bool:
    """Whether the folder holds what an interrupted download of this public set leaves."""
    family, _, category = ALIASES.get(name, name).partition("/")
    if family not in PUBLIC_SETS or not category:
        return False
    expected = {url.format(name=category).rpartition("/")[2] for url in PUBLIC_SETS[family].urls}
    have = {path.name for path in folder.iterdir()}
    return any(entry.endswith(".part") for entry in have) or have < expected


def detect_layout(folder: Path) -> str:
    """Recognise a folder by its files. Raises DataError where none is known."""
    for layout, patterns in _LAYOUTS:
        if any(next(folder.glob(pattern), None) for pattern in patterns):
            return layout
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    raise DataError(
        f"{folder}: no known layout (found {found}; expected sequences.txt and items.jsonl, "
        "interactions.csv or .parquet, reviews_*.json.gz or other Amazon files, or Yelp's business.json "
        "and review.json); add or rename the files, or set data.source"
    )


def _writable(places: list[Path]) -> Path:
    for place in places:
        existing = next(parent for parent in (place, *place.parents) if parent.exists())
        if os.access(existing, os.W_OK):
            return place
    return places[-1]


def _not_found(config: DataConfig, reason: str) -> DataError:
    assert config.set is not None
    place = roots(config)[0] / config.set
    return DataError(
        f"data.set: {config.set!r} is not at {place}. Either put its files there (or set data.root or "
        f"GEN_REC_DATA to the folder that holds {config.set}), or let it be downloaded, which is not "
        f"possible now: {reason}"
    )


def _refuse_rating(config: DataConfig, source: str) -> None:
    if config.min_rating is not None:
        raise DataError(
            f"data.min_rating: the source {source!r} has no ratings; filter the file beforehand, "
            "or leave min_rating out"
        )

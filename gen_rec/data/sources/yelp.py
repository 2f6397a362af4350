"""The Yelp Open Dataset: ``business.json`` and ``review.json``, under their long or short names.

The benchmark set of S3-Rec (and of the papers after it) is the reviews of 2019-01-01 up to, and without,
2019-12-31, 5-core: ``date_from: 2019-01-01``, ``date_to: 2019-12-31``, ``k_core: 5``.
"""

import logging
from pathlib import Path
from typing import Any

import polars as pl

from gen_rec.data.config import DataConfig
from gen_rec.data.lines import read_json_lines
from gen_rec.data.sources.raw import RawData
from gen_rec.data.sources.reviews import ReviewFields, kept_place, read_reviews, shorten
from gen_rec.errors import DataError

logger = logging.getLogger(__name__)

FIELDS = ReviewFields(user="user_id", item="business_id", time="date", rating="stars", clock="date")
PREFIXES = ("yelp_academic_dataset_", "")


def read_yelp(config: DataConfig, folder: str | Path) -> RawData:
    """Read Yelp's reviews and the businesses that occur in them.

    The files may be gzipped. Of ``config`` this uses ``date_from`` (included), ``date_to`` (excluded),
    ``min_rating`` and ``list_separator``.

    returns items with the columns item_id, title (the name), categories, city and state, all String, "" when
            the source has none.
    raises  DataError, naming file and line.
    """
    folder = Path(folder)
    review_file, business_file = _find(folder, "review"), _find(folder, "business")
    interactions = read_reviews([review_file], FIELDS, config)
    wanted = set(interactions["item_id"].unique())
    lines: dict[tuple[str, ...], int] = {}  # of rows that are the same throughout, the first
    for number, business in read_json_lines(business_file):
        if _identifier(business_file, number, business) in wanted:
            row = _item(f"{business_file}, line {number}", business, config.list_separator)
            lines.setdefault(row, number)
    numbers = list(lines.values())
    columns = ("item_id", "title", "categories", "city", "state")
    items = pl.DataFrame(list(lines), schema=dict.fromkeys(columns, pl.String), orient="row")
    logger.info("%s: %d reviews of %d businesses", folder, len(interactions), len(wanted))
    window = f"from {config.date_from or 'the first'} up to {config.date_to or 'the last'}"
    return RawData(
        interactions,
        items,
        f"Yelp Open Dataset, {review_file.name}, reviews {window}",
        origins=(str(review_file), str(business_file)),
        locate=kept_place,
        locate_item=lambda row: f"line {numbers[row]}",
    )


def _find(folder: Path, kind: str) -> Path:
    names = [f"{prefix}{kind}.json{suffix}" for prefix in PREFIXES for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    archives = sorted(path.name for path in folder.glob("*.tar*")) if folder.is_dir() else []
    hint = f"unpack {archives[0]} there" if archives else "put it there, from Yelp's open dataset"
    raise DataError(f"{folder}: none of the files {', '.join(names)}; {hint}")


def _identifier(path: Path, number: int, business: dict[str, Any]) -> str:
    identifier = business.get("business_id")
    if not isinstance(identifier, str) or not identifier:
        raise DataError(
            f"{path}, line {number}: no 'business_id' among {sorted(business)}; expected one business a "
            "line, mend or remove the line"
        )
    return identifier


def _item(where: str, business: dict[str, Any], separator: str) -> tuple[str, ...]:
    categories = business.get("categories") or ""  # text since 2018, a list before
    if isinstance(categories, str):
        categories = categories.split(", ")
    if not isinstance(categories, list):
        raise DataError(
            f"{where}: 'categories' is {shorten(repr(categories))}; expected text such as 'Pizza, "
            "Restaurants' or a list, mend or remove the line"
        )
    parts = [str(part).strip() for part in categories]
    texts = [str(business.get(key) or "").strip() for key in ("name", "city", "state")]
    return (business["business_id"], texts[0], separator.join(filter(None, parts)), *texts[1:])

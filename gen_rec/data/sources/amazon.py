"""Raw Amazon reviews and metadata, in the layouts of 2014, 2018 and 2023 (McAuley et al.), gzipped or not.

| layout | reviews | metadata |
|---|---|---|
| 2014 | ``reviews_X_5.json`` or ``reviews_X.json`` | ``meta_X.json``, whose lines are Python literals |
| 2018 | ``X_5.json`` or ``X.json``, the same keys | ``meta_X.json``, with HTML here and there |
| 2023 | ``X.jsonl``, ``X.csv`` or ``X.{train,valid,test}.csv`` | ``meta_X.jsonl`` |
"""

import ast
import html
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from gen_rec.data.config import DataConfig
from gen_rec.data.lines import read_lines
from gen_rec.data.sources.raw import RawData
from gen_rec.data.sources.reviews import ReviewFields, json_object, kept_place, read_reviews, shorten
from gen_rec.errors import DataError

logger = logging.getLogger(__name__)

ITEM_COLUMNS = ("item_id", "title", "brand", "categories", "price", "description")
SPLITS = ("train", "valid", "test")
OLD_FIELDS = ReviewFields("reviewerID", "asin", "unixReviewTime", "overall", "s")
NEW_FIELDS = ReviewFields("user_id", "parent_asin", "timestamp", "rating", "ms")

SCRIPT = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
SPACE = re.compile(r"\s+")
SCRAPED_CODE = re.compile(r"getTime\(|^var \w+ ?=|^\.[\w-]+ ?\{|function ?\(")


@dataclass(frozen=True)
class Layout:
    """Names and keys of one edition of the data."""

    reviews: re.Pattern[str]
    """What a review file is called, without ``.gz``."""
    metadata: str
    """Suffix of the metadata file ``meta_*``, without ``.gz``."""
    fields: ReviewFields
    brand: str
    categories: str
    literals: bool
    """Whether lines of the metadata are Python literals instead of JSON."""


LAYOUTS = {
    "amazon-2014": Layout(re.compile(r"reviews_.+\.json"), ".json", OLD_FIELDS, "brand", "categories", literals=True),
    "amazon-2018": Layout(
        re.compile(r"(?!meta_|reviews_).+\.json"), ".json", OLD_FIELDS, "brand", "category", literals=False
    ),
    "amazon-2023": Layout(
        re.compile(r"(?!meta_).+\.(jsonl|csv)"), ".jsonl", NEW_FIELDS, "store", "categories", literals=False
    ),
}


def read_amazon(config: DataConfig, folder: str | Path) -> RawData:
    """Read one category of the Amazon reviews and the metadata of the items that occur in them.

    Of ``config`` this uses ``source`` (a layout, or ``auto`` to go by the names of the files),
    ``min_rating``, the date window and ``list_separator``.

    returns interactions as ``RawData`` says; items with the columns item_id, title, brand, categories
            (``Beauty > Hair``, several paths joined by "; "), price and description, all String, free of
            HTML, "" when the source has none; or no items, with a warning, when there is no metadata file.
    raises  DataError, naming file and line.
    """
    folder = Path(folder)
    name = _layout_name(config, folder)
    layout = LAYOUTS[name]
    reviews = _find_reviews(folder, name)
    metadata = _find_metadata(folder, layout)
    interactions = read_reviews(reviews, layout.fields, config)
    wanted = set(interactions["item_id"].unique())
    origin = " and ".join(str(path) for path in reviews)
    description = f"Amazon reviews, {name.removeprefix('amazon-')} layout, " + ", ".join(path.name for path in reviews)
    if metadata is None:
        logger.warning("%s: no meta_*%s here, so items have no title and no text", folder, layout.metadata)
        return RawData(interactions, None, description, origins=(origin, "no metadata"), locate=kept_place)
    items, lines = _read_metadata(metadata, layout, wanted, config.list_separator)
    logger.info("%s: %d reviews of %d items, metadata of %d", folder, len(interactions), len(wanted), len(items))
    return RawData(
        interactions,
        items,
        f"{description}, metadata of {metadata.name}",
        origins=(origin, str(metadata)),
        locate=kept_place,
        locate_item=lambda row: f"line {lines[row]}",
    )


def _files(folder: Path) -> dict[str, Path]:
    """The files of a folder by name without ``.gz``; of a pair, the unzipped one."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; put the review and metadata files there")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # x.json.gz before x.json, which takes its place
        if path.is_file():
            files[path.name.removesuffix(".gz")] = path
    return dict(sorted(files.items()))


def _layout_name(config: DataConfig, folder: Path) -> str:
    if config.source in LAYOUTS:
        return config.source
    files = _files(folder)
    fitting = [name for name, layout in LAYOUTS.items() if any(map(layout.reviews.fullmatch, files))]
    if len(fitting) != 1:
        raise DataError(
            f"{folder}: the files {sorted(files)} fit {len(fitting)} of the layouts {', '.join(LAYOUTS)}; "
            "expected exactly one, say which with data.source"
        )
    return fitting[0]


def _find_reviews(folder: Path, name: str) -> list[Path]:
    """The review file, or the three files of a ready-made split, which together are the whole."""
    found = {stem: path for stem, path in _files(folder).items() if LAYOUTS[name].reviews.fullmatch(stem)}
    stems = sorted(found)
    if len(stems) == 1 and stems[0].split(".")[-2] not in SPLITS:
        return [found[stems[0]]]
    base = stems[0].split(".")[0] if stems else ""
    parts = [f"{base}.{split}.csv" for split in SPLITS]
    if stems and set(stems) == set(parts):
        return [found[part] for part in parts]
    expected = {
        "amazon-2014": "reviews_X_5.json or reviews_X.json",
        "amazon-2018": "X_5.json or X.json",
        "amazon-2023": "X.jsonl, X.csv or all three of X.train.csv, X.valid.csv and X.test.csv",
    }[name]
    raise DataError(
        f"{folder}: {'the review files ' + ', '.join(stems) if stems else 'no review file'}; expected one "
        f"category in the {name} layout: {expected} (each may be .gz). Put one there, and no other of the "
        "kind"
    )


def _find_metadata(folder: Path, layout: Layout) -> Path | None:
    found = {
        stem: path
        for stem, path in _files(folder).items()
        if stem.startswith("meta_") and stem.endswith(layout.metadata)
    }
    if len(found) > 1:
        raise DataError(f"{folder}: the metadata files {', '.join(found)}; expected one, keep that of the category")
    return next(iter(found.values()), None)


def _read_metadata(path: Path, layout: Layout, wanted: set[str], separator: str) -> tuple[pl.DataFrame, list[int]]:
    """The wanted items and the line of each; of rows that are the same throughout (2018 has many), the
    first."""
    lines: dict[tuple[str, ...], int] = {}
    for number, entry in _entries(path, layout, wanted):
        lines.setdefault(_item(f"{path}, line {number}", entry, layout, separator), number)
    items = pl.DataFrame(list(lines), schema=dict.fromkeys(ITEM_COLUMNS, pl.String), orient="row")
    return items, list(lines.values())


def _entries(path: Path, layout: Layout, wanted: set[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Metadata of the wanted items, with line numbers.

    Parsing is slow and most lines are of other items, so a line whose ids (found by pattern) are all unwanted
    is passed over unparsed.
    """
    key = layout.fields.item
    pattern = re.compile(rf"""['"]{key}['"]\s*:\s*['"]([^'"]+)['"]""")
    for number, text in tqdm(read_lines(path), desc=path.name, unit=" lines", leave=False, disable=None):
        if not text.strip():
            continue
        ids = pattern.findall(text)
        if ids and wanted.isdisjoint(ids):
            continue
        where = f"{path}, line {number}"
        entry = _literal(where, text) if layout.literals else json_object(where, text)
        identifier = entry.get(key)
        if not isinstance(identifier, str) or not identifier:
            raise DataError(
                f"{where}: no {key!r} among {sorted(map(str, entry))}; expected one item a line, "
                "mend or remove the line"
            )
        if identifier in wanted:
            yield number, entry


def _literal(where: str, text: str) -> dict[str, Any]:
    """Read one line that is a Python dict literal; nothing in it is ever executed."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise DataError(
            f"{where}: not a Python literal ({reason}), found {shorten(text)}; expected a dict such as "
            "{'asin': '0000031852', 'title': '...'}. If it is the last line, the file was cut: download or "
            "copy it again. If it is JSON, this is not the 2014 layout: set data.source. Else mend or remove "
            "the line"
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: found {shorten(text)}, expected a dict; mend or remove the line")
    return value


def _item(where: str, entry: dict[str, Any], layout: Layout, separator: str) -> tuple[str, ...]:
    """One row of the items, in the order of ITEM_COLUMNS."""
    brand = entry.get(layout.brand)
    if not brand and isinstance(entry.get("details"), dict):
        brand = entry["details"].get("Brand")
    description = " ".join(map(clean, _flat(where, "description", entry.get("description"))))
    price = entry.get("price")
    return (
        entry[layout.fields.item],
        _title(entry.get("title")),
        clean(brand),
        _paths(where, layout.categories, entry.get(layout.categories), separator),
        "" if price is None or SCRAPED_CODE.search(str(price)) else clean(price).strip("—"),
        description.strip(),
    )


def _flat(where: str, key: str, value: Any) -> Iterator[str]:
    """The texts of a text, a list of texts, or a list of lists of them."""
    if value is None:
        return
    if isinstance(value, list):
        for part in value:
            yield from _flat(where, key, part)
    elif isinstance(value, str | int | float):
        yield str(value)
    else:
        raise DataError(
            f"{where}: {key!r} holds {shorten(repr(value))}; expected text or a list of texts, mend or remove the line"
        )


def _paths(where: str, key: str, value: Any, separator: str) -> str:
    """``[["Beauty", "Hair"], ["Gifts"]]`` as ``Beauty > Hair; Gifts``; a list that is one path as ``Beauty >
    Hair``."""
    nested = isinstance(value, list) and any(isinstance(part, list) for part in value)
    paths = (map(clean, _flat(where, key, path)) for path in (value if nested else [value]))
    return "; ".join(dict.fromkeys(filter(None, (separator.join(filter(None, path)) for path in paths))))


def _title(value: Any) -> str:
    """A title without markup; "" where the page's script was scraped instead of the title."""
    text = clean(value)
    return "" if SCRAPED_CODE.search(text) else text


def clean(value: Any) -> str:
    """Text without HTML tags, scripts, entities and runs of white space; "" for None."""
    if value is None:
        return ""
    text = str(value)
    if "<" in text:
        text = TAG.sub(" ", SCRIPT.sub(" ", text))
    return SPACE.sub(" ", html.unescape(text)).strip()

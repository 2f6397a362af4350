"""The items of a set: one row each, in a fixed order, with title and text."""

import logging
from dataclasses import dataclass

import numpy as np
import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.config import DataConfig
from gen_rec.data.sources import RawData
from gen_rec.data.text import item_texts
from gen_rec.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """All items that may occur, in catalogue order, before any filter.

    items:   one row an item, ``item_id`` first
    code_of: (n_ids,) int32  catalogue row of each id of the interactions; -1 where it is to be dropped
    dropped: whether ``code_of`` holds a -1
    """

    items: pl.DataFrame
    code_of: np.ndarray
    dropped: bool = False


def item_frame(items: pl.DataFrame, raw: RawData, config: DataConfig) -> pl.DataFrame:
    """The catalogue as it is written: ``item_id``, ``title``, ``text``, then what else the source knew."""
    title = config.title_column
    titles = (
        items[title].fill_null("") if title in items.columns else pl.repeat("", len(items), eager=True, dtype=pl.String)
    )
    texts = item_texts(
        items,
        config.text or raw.template,
        lenient=config.text is None,
        origin=raw.origins[raw.items is not None],
    )
    rest = items.drop(c.ITEM_ID, c.TITLE, c.TEXT, strict=False)
    own = [items[c.ITEM_ID], titles.alias(c.TITLE), texts.alias(c.TEXT)]
    return pl.DataFrame(own).hstack(rest.get_columns())


def build_catalogue(raw: RawData, config: DataConfig, ids: pl.Series, codes: np.ndarray) -> Catalogue:
    """Bring the items table and the ids of the interactions together.

    ids:    (n_ids,) String, the distinct ids of the interactions in order of first appearance
    codes:  (n_interactions,) int32 into ``ids``, to say where an unknown item is
    raises  DataError for a duplicate or unknown item where the policy is ``error``, or a missing title
            column.
    """
    if raw.items is None:
        items = pl.DataFrame({c.ITEM_ID: ids})
        return Catalogue(items, np.arange(len(ids), dtype=np.int32))
    items = join_lists(_one_row_each(raw, config), config.list_separator)
    _check_title(items, config, raw)
    lookup = pl.DataFrame({c.ITEM_ID: items[c.ITEM_ID], "row": np.arange(len(items), dtype=np.int32)})
    rows = pl.DataFrame({c.ITEM_ID: ids}).join(lookup, on=c.ITEM_ID, how="left", maintain_order="left")
    code_of = rows["row"].fill_null(-1).to_numpy().copy()
    unknown = code_of < 0
    if not unknown.any():
        return Catalogue(items, code_of)

    if config.on_unknown_item == "error":
        row = int(np.argmax(unknown[codes]))
        raise DataError(
            f"{raw.interaction_place(row)}: item {ids[int(codes[row])]!r} has no row in {raw.origins[1]} "
            f"({int(unknown.sum())} such items, {int(unknown[codes].sum())} interactions); add the rows, "
            "or pass --data.on_unknown_item drop or keep"
        )
    logger.warning("%d items have no row in %s: %s", unknown.sum(), raw.origins[1], config.on_unknown_item)
    if config.on_unknown_item == "drop":
        return Catalogue(items, code_of, dropped=True)
    new = np.flatnonzero(unknown)
    code_of[new] = np.arange(len(items), len(items) + len(new), dtype=np.int32)
    items = pl.concat([items, pl.DataFrame({c.ITEM_ID: ids.gather(new)})], how="diagonal")
    return Catalogue(items, code_of)


def join_lists(items: pl.DataFrame, separator: str) -> pl.DataFrame:
    """Turn every column into text: a list joined by ``separator``, a list of lists also by "; "."""
    columns = []
    for name, dtype in items.schema.items():
        column = pl.col(name)
        if dtype == pl.List(pl.List(pl.String)):
            paths = column.list.eval(pl.element().list.drop_nulls().list.join(separator)).list.drop_nulls()
            column = paths.list.join("; ")
        elif isinstance(dtype, pl.List):
            column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(separator)
        elif dtype != pl.String:
            column = column.cast(pl.String)
        columns.append(column)
    return items.select(columns)


def _one_row_each(raw: RawData, config: DataConfig) -> pl.DataFrame:
    assert raw.items is not None
    items = raw.items
    twice = ~items[c.ITEM_ID].is_first_distinct()
    if not twice.any():
        return items
    if config.on_duplicate == "error":
        row = int(twice.arg_max() or 0)
        item = items[c.ITEM_ID][row]
        first = int((items[c.ITEM_ID] == item).arg_max() or 0)
        raise DataError(
            f"{raw.item_place(row)}: item_id {item!r} occurs twice (first: {raw.item_place(first)}); ids "
            "must be unique (drop one, or pass --data.on_duplicate keep_first or keep_last)"
        )
    logger.warning("%s: %d rows repeat an item: %s", raw.origins[1], twice.sum(), config.on_duplicate)
    if config.on_duplicate == "keep_first":
        return items.filter(~twice)
    # the last row's content in the first row's place, so that the catalogue keeps its order
    order = items.filter(~twice).select(c.ITEM_ID)
    last = items.filter(items[c.ITEM_ID].is_last_distinct())
    return order.join(last, on=c.ITEM_ID, how="left", maintain_order="left").select(items.columns)


def _check_title(items: pl.DataFrame, config: DataConfig, raw: RawData) -> None:
    if config.title_column != c.TITLE and config.title_column not in items.columns:
        raise DataError(
            f"{raw.origins[1]}: no column {config.title_column!r} (found {', '.join(items.columns)}); "
            "change data.title_column"
        )

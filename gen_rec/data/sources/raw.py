"""What every source hands to ``prepare``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from gen_rec.data.config import DEFAULT_TEXT


@dataclass(frozen=True)
class RawData:
    """Interactions and items as a source holds them, before any filter, sort or split.

    interactions: columns ``user_id`` String, ``item_id`` String, ``timestamp`` Int64 and no other, none of
                  them null, in input order (an order that breaks ties in time). A LazyFrame where the source
                  can be read in pieces.
    items:        one row an item: ``item_id`` String, ``title`` String where the source has titles, and any
                  other String or (nested) list-of-String columns; None when the source knows nothing of its
                  items. Duplicate rows may be left in: ``prepare`` applies ``data.on_duplicate`` to them.
    description:  one sentence for the summary: where this came from.
    clock:        what ``timestamp`` counts: ``unix`` seconds, ``gaps`` (seconds since the user's first
                  interaction; comparable within a user only) or ``order`` (positions only).
    origins:      where interactions and items were read, for error messages, such as two file names.
    template:     text template for these items where the config names none; columns that are not there are
                  left out.
    locate:       the place of interaction row i (from 0) in its file, such as ``line 7``; None where the
                  source left interactions out, then their count is said.
    locate_item:  the same for a row of ``items``.
    """

    interactions: pl.DataFrame | pl.LazyFrame
    items: pl.DataFrame | None
    description: str
    clock: Literal["unix", "gaps", "order"] = "unix"
    origins: tuple[str, str] = ("interactions", "items")
    template: str = DEFAULT_TEXT
    locate: Callable[[int], str] | None = None
    locate_item: Callable[[int], str] | None = None

    def interaction_place(self, row: int) -> str:
        """File and place of interaction ``row`` (from 0), for an error message."""
        place = self.locate(row) if self.locate else f"interaction {row + 1} of those kept"
        return f"{self.origins[0]}, {place}"

    def item_place(self, row: int) -> str:
        """File and place of item ``row`` (from 0), for an error message."""
        place = self.locate_item(row) if self.locate_item else f"item {row + 1} of those kept"
        return f"{self.origins[1]}, {place}"

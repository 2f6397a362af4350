"""From the columns of an item to the text an encoder reads."""

import re
import string
from dataclasses import dataclass, replace

import polars as pl

from gen_rec.errors import DataError

UNKNOWN = ("unknown", "n/a")
"""Values that say nothing, compared in lower case; such a field is left out with its label."""

_CLOSING = re.compile(r"[)\]}»”\"']*")
_OPENING = " \t\n.,;:|/\\-–—·>"


@dataclass(frozen=True)
class Piece:
    """One field of a template: the words before it, its column, and the bracket that closes after it."""

    label: str
    column: str
    closing: str


def parse_template(template: str) -> list[Piece]:
    """Cut ``"{title} ({year}). Brand: {brand}"`` into a piece for every field, each with its label.

    The words between two fields belong to the second one, except a closing bracket or quote, which belongs to
    the first; words after the last field belong to it. Doubled braces stand for braces.
    raises DataError for a template that is malformed or names no column.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DataError(f"data.text: the template {template!r} is malformed ({error})") from None
    pieces: list[Piece] = []
    words = ""  # since the last field
    for literal, column, spec, conversion in parts:
        words += literal
        if column is None:  # a doubled brace, or the words after the last field
            continue
        if not column or spec or conversion:
            raise DataError(
                f"data.text: the template {template!r} may only hold plain column names in braces, such as "
                f"{{title}}; found "
                f"{{{column}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
            )
        closing = _CLOSING.match(words)[0] if pieces else ""  # type: ignore[index]
        if closing:
            pieces[-1] = replace(pieces[-1], closing=closing)
        pieces.append(Piece(label=words[len(closing) :], column=column, closing=""))
        words = ""
    if pieces:
        pieces[-1] = replace(pieces[-1], closing=words)
    if not pieces:
        raise DataError(f"data.text: the template {template!r} names no column, such as {{title}}")
    return pieces


def item_texts(items: pl.DataFrame, template: str, *, lenient: bool = False, origin: str = "items") -> pl.Series:
    """Fill the template for every item, leaving out fields that are empty or unknown together with their
    label.

    items:    String columns
    lenient:  leave out columns that are not there instead of raising
    origin:   where the items came from, for the error
    returns   (n_items,) String, never null; "" where every field is empty.
    raises    DataError for a template with a column that is not there.
    """
    pieces = parse_template(template)
    missing = [piece.column for piece in pieces if piece.column not in items.columns]
    if missing and not lenient:
        raise DataError(
            f"{origin}: the template data.text names the column {missing[0]!r}, which is not there "
            f"(found {', '.join(items.columns)}); change the template or the table"
        )
    frame = pl.DataFrame({"text": pl.repeat("", len(items), dtype=pl.String, eager=True)})
    for piece in pieces:
        if piece.column in missing:
            continue
        value = known(items[piece.column])
        frame = frame.with_columns(value.alias("value")).with_columns(_append(piece).alias("text"))
    return frame["text"]


def known(values: pl.Series) -> pl.Series:
    """Strip a String column and turn nulls and values that say nothing into ""."""
    stripped = values.cast(pl.String).fill_null("").str.strip_chars()
    return stripped.set(stripped.str.to_lowercase().is_in(list(UNKNOWN)), "")


def _append(piece: Piece) -> pl.Expr:
    """The text so far, with the piece behind it where its value is not empty."""
    text, value = pl.col("text"), pl.col("value")
    # "Hello!" + ". Brand: " would end one sentence twice
    once = pl.lit(piece.label[1:] if piece.label.startswith(".") else piece.label)
    label = (
        pl.when(text == "")
        .then(pl.lit(piece.label.lstrip(_OPENING)))
        .when(text.str.contains(r"[.!?]$"))
        .then(once)
        .otherwise(pl.lit(piece.label))
    )
    return pl.when(value == "").then(text).otherwise(pl.concat_str(text, label, value, pl.lit(piece.closing)))

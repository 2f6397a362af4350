"""Templates of item texts."""

import polars as pl
import pytest

from gen_rec.data.catalogue import join_lists
from gen_rec.data.config import DEFAULT_TEXT
from gen_rec.data.text import Piece, item_texts, parse_template
from gen_rec.errors import DataError


def text(template: str, **fields: str | None) -> str:
    schema = dict.fromkeys(fields, pl.String)
    frame = pl.DataFrame({name: [value] for name, value in fields.items()}, schema=schema)
    return item_texts(frame, template).item()


@pytest.mark.parametrize(
    ("title", "brand", "categories", "expected"),
    [
        ("Nail Polish", "OPI", "Beauty > Nails", "Nail Polish. Brand: OPI. Beauty > Nails"),
        ("Nail Polish", "Unknown", "Beauty > Nails", "Nail Polish. Beauty > Nails"),
        ("Nail Polish", None, "Beauty > Nails", "Nail Polish. Beauty > Nails"),
        ("Nail Polish", "", "", "Nail Polish"),
        ("", "OPI", "Beauty", "Brand: OPI. Beauty"),
        ("", "", "Beauty", "Beauty"),
        (" ", "unknown", None, ""),
        ("Wow!", "OPI", "", "Wow! Brand: OPI"),
        ("Polish.", "", "Beauty", "Polish. Beauty"),
    ],
)
def test_empty_and_unknown_fields_go_with_their_label(title, brand, categories, expected):
    assert text(DEFAULT_TEXT, title=title, brand=brand, categories=categories) == expected


@pytest.mark.parametrize(
    ("title", "year", "genres", "expected"),
    [
        ("Dumbo", "1941", "Animation", "Dumbo (1941). Animation"),
        ("Dumbo", "", "Animation", "Dumbo. Animation"),
        ("Dumbo", "1941", "", "Dumbo (1941)"),
        ("", "1941", "Animation", "(1941). Animation"),
    ],
)
def test_brackets_close_with_their_field(title, year, genres, expected):
    assert text("{title} ({year}). {genres}", title=title, year=year, genres=genres) == expected


def test_pieces():
    assert parse_template("A {{x}} {a}, b: {b}!") == [Piece("A {x} ", "a", ""), Piece(", b: ", "b", "!")]


def test_columns_that_are_not_there():
    frame = pl.DataFrame({"item_id": ["1"], "title": ["Polish"]})
    assert item_texts(frame, DEFAULT_TEXT, lenient=True).to_list() == ["Polish"]
    with pytest.raises(DataError, match=r"^items\.csv: the template .* names the column 'brand'.*found item_id"):
        item_texts(frame, DEFAULT_TEXT, origin="items.csv")


def test_no_items():
    assert item_texts(pl.DataFrame(schema={"title": pl.String}), "{title}").to_list() == []


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no field", "names no column"),
        ("{title", "is malformed"),
        ("{}", r"plain column names.*found \{\}"),
        ("{title!r}", r"found \{title!r\}"),
        ("{year:04d}", r"found \{year:04d\}"),
    ],
)
def test_bad_templates(template, message):
    with pytest.raises(DataError, match=message):
        parse_template(template)


def test_lists_become_text():
    frame = pl.DataFrame(
        {
            "flat": [["a", "b"], [], None, ["a", None]],
            "nested": [[["a", "b"], ["c"]], [["a"]], None, [None, ["d"]]],
            "number": [1, 2, None, 3],
        }
    )
    assert join_lists(frame, " > ").to_dict(as_series=False) == {
        "flat": ["a > b", "", None, "a"],
        "nested": ["a > b; c", "a", None, "d"],
        "number": ["1", "2", None, "3"],
    }

"""The template: what it says of a hand-made catalogue, and what holds for any history."""

import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_rec.summaries.facts import Facts, readable
from gen_rec.summaries.template import NOTHING, TemplateWriter, listed

SHOP: list[Any] = [
    # title, categories, brand
    ("Rose hand balm", "Shop > Skin Care > Balms", "Aveda"),
    ("Rose foot balm", "Shop > Skin Care > Balms", "Aveda"),
    ("Rose water", "Shop > Skin Care > Toners", "Dr. Bloom"),
    ("Matte lipstick", "Shop > Makeup > Lips", "NYX"),
    ("Glossy lipstick", "Shop > Makeup > Lips", "NYX"),
    ("Kohl pencil", "Shop > Makeup > Eyes", None),
    ("Boar brush", "Shop > Hair Care > Brushes", None),
    ("Plastic comb", "Shop > Hair Care > Combs", "Kent"),
    ("Steel comb", "Shop > Hair Care > Combs", "Kent"),
    ("Gift", "Shop", ""),
]
SHOP = [(f"{title} in a plain box", *rest) for title, *rest in SHOP]  # long enough to be no mere names


def catalogue(rows: list[tuple[str, str, str | None]]) -> pl.DataFrame:
    items = pl.DataFrame(rows, schema=["title", "categories", "brand"], orient="row")
    return items.with_columns(
        pl.Series("item_id", [f"i{row}" for row in range(len(rows))]), pl.col("title").alias("text")
    )


@pytest.fixture(scope="module")
def writer() -> TemplateWriter:
    return TemplateWriter(catalogue(SHOP))


def test_what_is_said_of_one_history_by_hand(writer: TemplateWriter) -> None:
    # 3 of 4 items are skin care (mostly, not almost only), 2 of them balms; the one of makeup weighs a sixth of that.
    # Aveda twice. "rose" is in three titles, 75 % of the history against 30 % of the catalogue. New at the end: lips.
    assert writer.write([0, 1, 2, 3]) == (
        "This user mostly goes for skin care, above all balms and toners. "
        "They come back to the brand Aveda, and words such as rose come up. Lately they turned to lips."
    )


def test_almost_only_varied_and_a_first_impression(writer: TemplateWriter) -> None:
    assert writer.write([7, 8, 7, 8, 7]).startswith("This user almost only goes for hair care, above all combs. ")
    assert writer.write([0, 3, 7]).startswith("This user has varied interests, among them ")
    assert writer.write([0]).endswith("This is a first impression, as little is known yet.")
    assert writer.write([7, 8, 7]).endswith("Lately they stayed with combs.")


def test_a_history_of_nothing_known_is_said_to_be_that(writer: TemplateWriter) -> None:
    assert writer.write([]) == NOTHING
    assert writer.write([9]) == NOTHING
    bare = pl.DataFrame({"item_id": ["a", "b"], "title": ["", ""], "text": ["", ""]})
    assert TemplateWriter(bare).write([0, 1, 1]) == NOTHING


def test_only_the_most_recent_items_count() -> None:
    writer = TemplateWriter(catalogue(SHOP), max_items=2)
    assert writer.write([3, 4, 3, 7, 8]) == writer.write([7, 8])


@pytest.mark.parametrize(("gone", "lost"), [(["brand"], "Aveda"), (["categories"], "skin care"), (["title"], "rose")])
def test_missing_columns_are_done_without(gone: list[str], lost: str) -> None:
    items = catalogue(SHOP)
    items = items.with_columns(pl.lit("").alias(name) if name == "title" else pl.col(name) for name in gone)
    items = items.drop(name for name in gone if name != "title").with_columns(pl.lit("").alias("text"))
    text = TemplateWriter(items).write([0, 1, 2, 3])
    assert lost not in text
    assert len(sentences(text)) == 3


def test_words_stand_in_where_there_are_no_columns() -> None:
    items = catalogue(SHOP).select("item_id", "title", "text")
    text = TemplateWriter(items).write([0, 1, 2])
    assert text.startswith("This user goes for things around rose")


def test_titles_that_are_names_give_no_words() -> None:
    films = pl.DataFrame(
        {
            "item_id": list("abcdef"), "title": ["Blue Night", "Long Night", "Night", "Sun", "Rain", "Snow"],
            "text": [""] * 6, "genres": ["Drama, War", "Drama", "Drama", "Comedy", "Comedy", "Sci-Fi, Comedy"],
            "year": ["1991", "1994", "1999", "2001", "2003", "2004"],
        }
    )  # fmt: skip
    text = TemplateWriter(films).write([0, 1, 2])
    assert text == (
        "This user almost only goes for drama. Most of what they choose is from the 1990s. "
        "Lately they stayed with drama."
    )


def test_tags_are_told_from_a_tree() -> None:
    tags = pl.DataFrame({"item_id": ["a", "b", "c"], "title": "", "text": "", "categories": ["x > y", "y > x", "z"]})
    assert Facts.of(tags).narrow.names == []
    tree = tags.with_columns(pl.Series("categories", ["x > y", "x > z", "w > v"]))
    assert Facts.of(tree).wide.names == ["y", "z", "w"]  # two of three items are an x, which therefore says nothing
    assert Facts.of(tree).narrow.names == ["v"]


def test_news_have_a_category_and_a_narrower_one() -> None:
    news = pl.DataFrame(
        {"item_id": ["a", "b"], "title": "", "text": "", "category": ["sports", "news"], "subcategory": ["golf", ""]}
    )
    assert TemplateWriter(news).write([0]).startswith("This user almost only goes for sports, above all golf.")


def test_names_inside_a_sentence() -> None:
    assert readable("RC Helicopters") == "RC helicopters"
    assert readable("American (New)") == "American (new)"
    assert readable("Gun Holsters, Cases & Bags") == "gun holsters/cases & bags"
    assert readable("Dr. Who Toys") == "dr who toys"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a"]) == "a"
    assert listed([]) == ""


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s", text)


NAMES = st.sampled_from(["Skin Care", "Makeup", "Dr. No!", "A, B & C", "Unknown", "", "ÖL > Farbe", "x > y; z > w"])


@given(
    rows=st.lists(st.tuples(st.text(max_size=20), NAMES, st.one_of(st.none(), NAMES)), min_size=1, max_size=8),
    data=st.data(),
)
def test_any_history_gets_three_sentences_the_same_each_time_and_no_title(
    rows: list[tuple[str, str, str | None]], data: st.DataObject
) -> None:
    items = catalogue([(f"Thing-{row} {title}", kind, brand) for row, (title, kind, brand) in enumerate(rows)])
    history = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    text = TemplateWriter(items).write(history)
    assert len(sentences(text)) == 3
    assert text == TemplateWriter(items).write(history)
    assert not any(title in text for title in items["title"])
    assert not re.search(r"\d", text)

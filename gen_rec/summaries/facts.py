"""What a catalogue says of its items: kinds, brands, times and words, as numbers that histories are counted in."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.text import known

KINDS = ("categories", "category", "subcategory", "genres")
"""Columns that say what kind of thing an item is, from the widest to the narrowest."""
BRAND, YEAR, KEYWORDS = "brand", "year", "keywords"

PATH, PATHS = " > ", "; "
COMMON = 0.6
"""A kind that more of the items have than this says nothing."""
BROAD = 0.15
"""What is under a wide kind and still takes in more items than this, such as "face" in skin care, says little."""
BOTH_WAYS = 0.05
"""Names that stand under one another both ways round, as a share: above it they are tags and no tree."""
NAME_WORDS = 4
"""Titles of at most so many words, the median of the catalogue, are names such as a film's and describe nothing."""

_STOP = re.compile(r"[.!?]+(?=\s|$)")  # what would end a sentence inside a name: "Dr. Scholl's"
_ACRONYM = re.compile(r"[A-Z]{2}")
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’-](?=[^\W\d_]))+")
_EMPTY_WORDS = """
a about all amp an and any are as at be by can catégories count description each et false fl fluid for free from
get gram grams great has have high how i'm im in inch inches into is it its kit la lb le liter makes ml more my
na name new no not of off on one only or ounce ounces our out own oz pack packs pcs piece pieces plus price
quality quot reg sales set sets size so stars that the their these this three tm to true two up use via was we
what when who will with you your
"""
_EMPTY = frozenset(_EMPTY_WORDS.split())
"""Words that are no theme."""
_PROPER_WORDS = """
african american arabian argentine asian australian austrian bavarian belgian brazilian british cajun canadian
cantonese caribbean chinese christmas cuban czech dutch egyptian english ethiopian filipino french german greek
halloween hawaiian hungarian indian indonesian iranian irish israeli italian jamaican japanese jewish korean
latin lebanese malaysian mediterranean mexican mongolian moroccan pakistani peruvian portuguese russian
scandinavian scottish shanghainese sicilian singaporean southern spanish swedish swiss syrian taiwanese tex-mex
thai tibetan turkish tuscan ukrainian vietnamese
"""
_PROPER = frozenset(_PROPER_WORDS.split())
"""Words that keep their capital inside a sentence."""


@dataclass(frozen=True)
class Feature:
    """One thing that items have none, one or several of, such as words.

    names: what a reader is shown, n names
    rows:  of every item, its names as numbers
    share: n numbers, the part of the items that have it
    """

    names: list[str]
    rows: list[tuple[int, ...]]
    share: list[float]


@dataclass(frozen=True)
class Facts:
    """Everything that a summary may speak of. Features that the catalogue does not have are empty.

    wide:   kinds such as "skin care", and all kinds where they are tags
    narrow: kinds under the wide ones, such as "body lotions"
    brands, decades, words: as they are called; words are single ones and pairs
    """

    wide: Feature
    narrow: Feature
    brands: Feature
    decades: Feature
    words: Feature

    @classmethod
    def of(cls, items: pl.DataFrame) -> "Facts":
        """items: the catalogue with ``title`` and ``text``, and any of the columns that are known here."""
        paths = _paths(items)
        wide, narrow = _kinds(paths)
        brands: list[tuple[str, ...]] = [(_STOP.sub("", value),) if value else () for value in _column(items, BRAND)]
        return cls(
            wide=feature([[readable(name) for name in row] for row in wide]),
            narrow=feature([[readable(name) for name in row] for row in narrow]),
            brands=feature(brands),
            decades=feature([_decade(value) for value in _column(items, YEAR)]),
            words=_words(items, paths, brands),
        )


def feature(rows: list) -> Feature:
    """Number the names. rows: of every item its names, repeated ones counted once."""
    numbers: dict[str, int] = {}
    numbered = [tuple(numbers.setdefault(name, len(numbers)) for name in dict.fromkeys(row)) for row in rows]
    counts = np.zeros(len(numbers))
    for row in numbered:
        counts[list(row)] += 1
    return Feature(list(numbers), numbered, (counts / max(len(rows), 1)).tolist())


def readable(name: str) -> str:
    """A kind's name inside a sentence: "RC Helicopters" -> "RC helicopters", "Mexican" as it is."""
    words = [word if _keeps_capitals(word) else word.lower() for word in name.split(" ")]
    return _STOP.sub("", " ".join(words)).replace(", ", "/")


def _keeps_capitals(word: str) -> bool:
    return bool(_ACRONYM.search(word)) or word.strip("()").lower() in _PROPER


def _column(items: pl.DataFrame, name: str) -> list[str]:
    if name not in items.columns:
        return [""] * len(items)
    return known(items[name]).to_list()


def _paths(items: pl.DataFrame) -> list[list[list[str]]]:
    """Of every item its kinds: a list of paths, each from the widest name to the narrowest."""
    paths: list[list[list[str]]] = [[] for _ in range(len(items))]
    columns = [name for name in KINDS if name in items.columns]
    if {"category", "subcategory"} <= set(columns):
        pairs = zip(_column(items, "category"), _column(items, "subcategory"), strict=True)
        return [[[name for name in pair if name]] for pair in pairs]
    for values in (_column(items, name) for name in columns):
        separator = next((mark for mark in (PATH, "|") if any(mark in value for value in values)), ", ")
        for row, value in zip(paths, values, strict=True):
            names = [[name.strip() for name in path.split(separator)] for path in value.split(PATHS)]
            found = [[name for name in path if name] for path in names]
            row.extend([[name] for name in found[0]] if separator != PATH and found else filter(None, found))
    return paths if _is_tree(paths) else [[[name] for path in row for name in path] for row in paths]


def _is_tree(paths: list[list[list[str]]]) -> bool:
    """Whether the names stand under one another: in a tree no two of them do so both ways round."""
    pairs = Counter(pair for row in paths for path in row for pair in pairwise(path))
    both = sum(count for (upper, lower), count in pairs.items() if (lower, upper) in pairs)
    return both <= BOTH_WAYS * pairs.total()


def _kinds(paths: list[list[list[str]]]) -> tuple[list[list[str]], list[list[str]]]:
    """Wide and narrow names of every item; what most items are is neither, and tags are all wide."""
    counts = Counter(name for row in paths for name in {name for path in row for name in path})
    n = len(paths)
    telling = [[[name for name in path if counts[name] <= COMMON * n] for path in row] for row in paths]
    wide = [[path[0] for path in row if path] for row in telling]
    narrow = [[name for path in row for name in path[1:] if counts[name] <= max(BROAD * n, 2)] for row in telling]
    return wide, narrow


def _decade(year: str) -> tuple[str, ...]:
    found = re.match(r"([12]\d{2})\d\b", year)
    return (f"the {found[1]}0s",) if found else ()


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, in order, without numbers."""
    return _WORD.findall(text.lower())


def _words(items: pl.DataFrame, paths: list[list[list[str]]], brands: list[tuple[str, ...]]) -> Feature:
    """Words and pairs of words that several titles share, and that are no item's whole title.

    They are those of titles and keywords; of keywords alone, and without the title's words, where titles are names; of
    the text where an item has neither. Words of the item's own brand and kinds are said elsewhere. Titles that are the
    same count once: a name that many branches bear is no theme.
    """
    titles = _column(items, c.TITLE)
    lengths = [len(tokens(title)) for title in titles if title]
    names = bool(lengths) and float(np.median(lengths)) <= NAME_WORDS
    empty = _EMPTY.union(*(tokens(name) for name in items.columns))
    whole = {" ".join(tokens(title)) for title in titles}
    rows: list[list[str]] = []
    bearers: dict[str, set[str]] = {}
    keywords, texts = _column(items, KEYWORDS), _column(items, c.TEXT)
    for title, keys, text, kinds, brand in zip(titles, keywords, texts, paths, brands, strict=True):
        said = {word for name in (*brand, *(name for path in kinds for name in path)) for word in tokens(name)}
        if names:
            said.update(tokens(title))
        said.update([re.sub(r"['’-]", "", word) for word in said])  # keywords often lack them
        source = keys if names else f"{title} | {keys}" if title or keys else text
        found = [word for word in _phrases(source, empty | said) if word not in whole]
        rows.append(list(dict.fromkeys(found)))
        for word in rows[-1]:
            bearers.setdefault(word, set()).add(title or text)
    least = max(2, min(5, len(items) // 1000))
    return feature([[word for word in row if len(bearers[word]) >= least] for row in rows])


def _phrases(text: str, without: frozenset[str] | set[str]) -> list[str]:
    """Words of a text and pairs of words that follow one another in it."""
    useful = [word if word not in without else "" for word in tokens(text)]
    pairs = [f"{first} {second}" for first, second in pairwise(useful) if first and second and first != second]
    return [word for word in (*pairs, *useful) if len(word) > 2]

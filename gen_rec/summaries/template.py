"""Three sentences on what a user cares about, put together from the catalogue's own columns; no language model."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from math import log1p

import polars as pl

from gen_rec.summaries.facts import Facts, Feature, tokens
from gen_rec.summaries.prompt import History

MOSTLY, ALMOST_ONLY = 0.5, 0.8
"""Parts of a history from which on these words are true."""
LATELY = 2
"""Items at the end of a history that are the recent ones."""
FLOOR = 0.02
"""Added to a share of the catalogue, so that a rare thing chosen once does not outweigh what is chosen often."""
LIFT = 2.0
"""A word is told when it is so many times as frequent in the history as in the catalogue."""
LEAST = 0.35
"""What weighs less than this part of the weightiest is not told beside it."""
NOTHING = "Nothing is known of this user's interests yet. No kind, brand or theme stands out. Anything may suit them."


class TemplateWriter:
    """Writes summaries of histories over one catalogue; the same history always gets the same text.

    items:     the catalogue, as ``items.parquet`` has it; any of categories, genres, brand, year and keywords may miss
    max_items: most recent items of a history that count

    A kind, brand or word is told when it is frequent in the history against the catalogue: one that ``k`` of ``n``
    items have, and a share ``s`` of the catalogue, weighs ``k log(1 + k / (n (s + FLOOR)))``. Titles and numbers of
    items are not told.
    """

    def __init__(self, items: pl.DataFrame, max_items: int = 60) -> None:
        self.facts = Facts.of(items)
        self.max_items = max_items

    def write(self, history: History) -> str:
        """Three sentences. history: rows of the catalogue, oldest first; may be empty."""
        items = [int(item) for item in history[-self.max_items :]]
        words = self._themes(items)
        interests, said = self._interests(items, words)
        if not said:
            return NOTHING
        details, more = self._details(items, words, said)
        return f"{interests} {details} {self._lately(items, said | more)}"

    def _interests(self, items: list[int], words: list[str]) -> tuple[str, set[str]]:
        """The sentence on what the user is interested in, and the names in it.

        These are kinds of items; themes where no kind is known, brands where no theme is.
        """
        facts = self.facts
        found = salient(facts.wide, items, 3)
        if not found:
            names = words[:3] or _names(facts.brands, salient(facts.brands, items, 3))
            return f"This user goes for things around {listed(names)}.", set(names)
        names, first = _names(facts.wide, found), found[0][1] / len(items)
        if first >= ALMOST_ONLY:
            names = names[:1]
            sentence = f"This user almost only goes for {names[0]}"
        elif first >= MOSTLY:
            names = names[:2]
            sentence = "This user mostly goes for " + ", and also for ".join(names)
        else:
            sentence = (
                f"This user has varied interests, {'among them' if len(names) > 1 else 'first of all'} {listed(names)}"
            )
        told = {name for name, _ in found[: len(names)]}
        inside = [item for item in items if not told.isdisjoint(facts.wide.rows[item])]
        narrow = [name for name in _names(facts.narrow, salient_apart(facts.narrow, inside, 2)) if name not in names]
        return sentence + (f", above all {listed(narrow)}." if narrow else "."), {*names, *narrow}

    def _details(self, items: list[int], words: list[str], said: set[str]) -> tuple[str, set[str]]:
        """The sentence on brands, times and themes, or else further kinds; and the names in it."""
        facts = self.facts
        brands = salient(facts.brands, items, 2)
        loyal = _names(facts.brands, [(name, count) for name, count in brands if count > 1])
        tried = [name for name in _names(facts.brands, brands) if name not in said]
        decades = [(name, count) for name, count in salient(facts.decades, items, 1) if count >= MOSTLY * len(items)]
        themes = [word for word in words if not _stems(word) & set().union(*map(_stems, said))][:2]
        kinds = [] if themes or loyal or tried else self._other_kinds(items, said)
        if loyal:
            start = f"They come back to the brand{'s' if len(loyal) > 1 else ''} {listed(loyal)}"
        elif tried:
            start = f"They try brands such as {listed(tried)}" if len(tried) > 1 else f"They know the brand {tried[0]}"
        elif decades:
            start = f"Most of what they choose is from {listed(_names(facts.decades, decades))}"
        elif themes:
            return f"Words such as {listed(themes)} come up again.", set(themes)
        else:
            return f"They also like {listed(kinds)}." if kinds else "Nothing else stands out.", set(kinds)
        if themes:
            return f"{start}, and words such as {listed(themes)} come up.", set(themes)
        return start + (f", and they like {listed(kinds)}." if kinds else "."), set(kinds)

    def _other_kinds(self, items: list[int], said: set[str]) -> list[str]:
        for feature in (self.facts.narrow, self.facts.wide):
            others = [name for name in _names(feature, salient(feature, items, 6)) if name not in said]
            if others:
                return others[:2]
        return []

    def _lately(self, items: list[int], said: set[str]) -> str:
        """The sentence on the most recent items, against all of them."""
        if len(items) <= LATELY:
            return "This is a first impression, as little is known yet."
        recent = items[-LATELY:]
        for feature in (self.facts.narrow, self.facts.wide, self.facts.words):
            names = _names(feature, salient_apart(feature, recent, 2))
            new = [name for name in names if name not in said]
            if names:
                return f"Lately they turned to {listed(new)}." if new else f"Lately they stayed with {listed(names)}."
        return "Nothing is known of their latest choices."

    def _themes(self, items: list[int]) -> list[str]:
        """Words or pairs of words that several different items share, the most telling first, none in two pairs."""
        words, distinct = self.facts.words, list(dict.fromkeys(items))
        chosen: list[str] = []
        used: set[str] = set()
        for name, count in salient(words, distinct, 12):
            stems = _stems(words.names[name])
            if count > 1 and count >= LIFT * words.share[name] * len(distinct) and used.isdisjoint(stems):
                chosen.append(words.names[name])
                used |= stems
        return chosen


def salient(feature: Feature, items: list[int], most: int) -> list[tuple[int, int]]:
    """What is frequent in ``items`` against the catalogue, the weightiest first: at most ``most`` (name, count)."""
    counts = Counter(chain.from_iterable([feature.rows[item] for item in items]))
    weighed = _weighed(counts, feature, len(items))[:most]
    return [(name, counts[name]) for weight, name in weighed if weight <= LEAST * weighed[0][0]]


def salient_apart(feature: Feature, items: list[int], most: int) -> list[tuple[int, int]]:
    """Like ``salient``, but a name counts only those items that have none of the names before it."""
    rows = [feature.rows[item] for item in items]
    chosen: list[tuple[int, int]] = []
    enough = 0.0
    while len(chosen) < most:
        counts = Counter(chain.from_iterable(rows))
        if not counts:
            break
        weight, name = min(_weighed(counts, feature, len(items)))
        if weight > enough:
            break
        enough = enough or LEAST * weight
        chosen.append((name, counts[name]))
        rows = [row for row in rows if name not in row]
    return chosen


def _weighed(counts: Counter[int], feature: Feature, n: int) -> list[tuple[float, int]]:
    """Every name with its weight below zero, so that the weightiest sort first and ties by number."""
    share = feature.share
    return sorted((-k * log1p(k / (n * (share[name] + FLOOR))), name) for name, k in counts.items())


def _names(feature: Feature, found: list[tuple[int, int]]) -> list[str]:
    return [feature.names[name] for name, _ in found]


def _stems(name: str) -> set[str]:
    """The words of a name, singular and plural alike."""
    return {word.rstrip("s") for word in tokens(name)}


def listed(names: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"; "" for none."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

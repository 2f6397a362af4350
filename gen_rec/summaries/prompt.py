"""What a language model is asked, and what of its answer is a summary."""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.text import known
from gen_rec.summaries.config import SummaryConfig

History = Sequence[int] | np.ndarray
"""Rows of the catalogue, oldest first."""
SYSTEM = "You describe what people care about, for a recommender system. You write plain, friendly English."
TASK = """Below is what one person has chosen, one thing a line, the oldest first.

{lines}

Write exactly three sentences about what this person cares about. The first sentence: which kinds of things. \
The second: which brands, makers, styles or themes come up again. The third: how their interest has moved lately.
Describe tastes in general words. Do not name or quote any single thing of the list, do not give numbers, and do not \
guess who the person is. Answer with the three sentences only."""
LEAST_WORDS = 5
NAME_WORDS = 3  # a title of at least so many words, in full, is a named item


class Prompts:
    """The texts of a catalogue, as a language model is shown them.

    lines:  of every item one line, at most ``config.item_characters`` long
    titles: of every item its title in lower case; "" where it is too short to tell from plain words
    """

    def __init__(self, items: pl.DataFrame, config: SummaryConfig) -> None:
        self.max_items = config.max_items
        shown = zip(known(items[c.TEXT]), known(items[c.TITLE]), items[c.ITEM_ID].cast(pl.String), strict=True)
        self.lines = [
            " ".join((text or title or name).split())[: config.item_characters] for text, title, name in shown
        ]
        titles = [" ".join(title.lower().split()) for title in known(items[c.TITLE])]
        self.titles = [title if len(title.split()) >= NAME_WORDS else "" for title in titles]

    def messages(self, history: History) -> list[dict[str, str]]:
        """The conversation that asks for a summary. history: rows of the catalogue, oldest first, not empty."""
        lines = "\n".join(f"- {self.lines[item]}" for item in history[-self.max_items :])
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TASK.format(lines=lines)}]

    def check(self, answer: str, history: History, config: SummaryConfig) -> tuple[str, str]:
        """The summary in an answer, and what is wrong with it.

        returns (summary, "") or ("", reason): empty, too short or too long, the prompt over again, an item's title
        """
        text = " ".join(re.sub(r"```\w*", " ", answer).split()).strip("\"' ")
        lower, n_words = text.lower(), len(text.split())
        if not text:
            return "", "empty answer"
        echoes = (SYSTEM, "Write exactly three sentences", "one thing a line, the oldest first")
        if any(echo.lower() in lower for echo in echoes):
            return "", "the answer repeats the prompt"
        if n_words < LEAST_WORDS:
            return "", f"the answer has {n_words} words"
        if n_words > config.max_words:
            return "", f"the answer has {n_words} words, more than summaries.max_words ({config.max_words})"
        for item in history[-self.max_items :]:
            if self.titles[item] and self.titles[item] in lower:
                return "", f"the answer names the item {self.titles[item]!r}"
        return text, ""

"""Texts of items as tokens, and histories as tokens of sessions; all ragged, nothing padded."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen_rec.data.interactions import Int64Array, Sequences, offsets_of, ranges
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.sessions import session_starts

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 10_000
"""Texts that the tokenizer gets in one call."""


class TokenLists(NamedTuple):
    """Ragged lists of tokens: list i is ``ids[offsets[i]:offsets[i + 1]]``; none is empty."""

    ids: Tensor  # (total,) int64
    offsets: Int64Array  # (n + 1,), on the processor: it decides on shapes

    def to(self, device: torch.device | str) -> "TokenLists":
        return TokenLists(self.ids.to(device), self.offsets)


class HistoryTokens(NamedTuple):
    """The sessions of a batch of histories, those of a row side by side."""

    sessions: TokenLists
    starts: Tensor  # (rows, items) int64: place of each item's start token among all tokens, -1 after the last
    row_offsets: Int64Array  # (rows + 1,): tokens of row i are number row_offsets[i]:row_offsets[i + 1]

    def to(self, device: torch.device | str) -> "HistoryTokens":
        return HistoryTokens(self.sessions.to(device), self.starts.to(device), self.row_offsets)


@dataclass
class ItemTokens:
    """The tokens of every item's text, start token first, cut to ``item_tokens``.

    ids:       (total,) int64
    offsets:   (n_items + 1,)
    start, end: the ids of an item's start token and of the token that ends a session
    truncated: how much was cut: "items" of the catalogue, and "sessions" and "histories" of all that were built since
    """

    ids: Int64Array
    offsets: Int64Array
    start: int
    end: int
    config: EmbSumConfig
    truncated: dict[str, int] = field(default_factory=lambda: {"items": 0, "sessions": 0, "histories": 0})

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Any, start: int, end: int, config: EmbSumConfig) -> "ItemTokens":
        """Tokenize texts; an empty text is its start token alone.

        tokenizer: of Hugging Face; start, end: token ids
        """
        room = config.item_tokens - 1
        lists: list[list[int]] = []
        for i in range(0, len(texts), TEXTS_AT_ONCE):
            some = [text.strip() for text in texts[i : i + TEXTS_AT_ONCE]]
            lists += tokenizer(some, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        cut = sum(len(words) > room for words in lists)
        if cut:
            logger.info("%d of %d items have texts of more than %d tokens, cut", cut, len(lists), room)
        lengths = np.array([1 + min(len(words), room) for words in lists], dtype=np.int64)
        ids = np.fromiter((token for words in lists for token in (start, *words[:room])), np.int64, lengths.sum())
        tokens = cls(ids, offsets_of(lengths), start, end, config)
        tokens.truncated["items"] = cut
        return tokens

    @property
    def n_items(self) -> int:
        return len(self.offsets) - 1

    def candidates(self, items: NDArray[np.integer]) -> TokenLists:
        """Items read alone: (n,) item rows to n lists, each with an end token."""
        starts = self.offsets[:-1][items]
        lengths = self.offsets[1:][items] - starts
        offsets = offsets_of(lengths + 1)
        ids = np.full(offsets[-1], self.end, dtype=np.int64)
        ids[ranges(offsets[:-1], lengths)] = self.ids[ranges(starts, lengths)]
        return TokenLists(torch.from_numpy(ids), offsets)

    def histories(self, histories: Sequences, times: Int64Array | None = None) -> HistoryTokens:
        """Histories as sessions; of a long one the most recent ``max_items`` items.

        histories: oldest item first; one may be empty, its row then has no token
        times:     (total,) seconds of each item of ``histories``, for sessions cut at gaps
        """
        config = self.config
        kept = np.minimum(histories.lengths, config.max_items)  # (rows,)
        self.truncated["histories"] += int((histories.lengths > config.max_items).sum())
        places = ranges(histories.offsets[1:] - kept, kept)
        items, offsets = histories.items[places], offsets_of(kept)
        gap = None if config.session_gap_hours is None else 3600 * config.session_gap_hours
        first = session_starts(offsets, config.session_items, None if times is None else times[places], gap)
        session = np.cumsum(first) - 1  # (items,) whose session each is
        lengths = self._fitted(items, first, session)

        ends = np.zeros(len(items), dtype=np.int64)  # 1 at the last item of a session: its end token follows
        ends[np.append(np.flatnonzero(first)[1:], len(items))[: first.sum()] - 1] = 1
        at = offsets_of(lengths + ends)  # (items + 1,) place of each item's tokens among all
        ids = np.full(at[-1], self.end, dtype=np.int64)
        ids[ranges(at[:-1], lengths)] = self.ids[ranges(self.offsets[:-1][items], lengths)]
        starts = np.full((len(kept), max(1, int(kept.max(initial=0)))), -1, dtype=np.int64)
        starts[np.arange(starts.shape[1]) < kept[:, None]] = at[:-1]
        return HistoryTokens(
            TokenLists(
                torch.from_numpy(ids), np.append(at[:-1][first], at[-1]) if len(items) else offsets_of(kept[:0])
            ),
            torch.from_numpy(starts),
            at[offsets],
        )

    def _fitted(self, items: NDArray[np.integer], first: NDArray[np.bool_], session: Int64Array) -> Int64Array:
        """Tokens of each item that its session has room for, (items,); the start token always."""
        words = self.offsets[1:][items] - self.offsets[:-1][items] - 1  # without the start token
        before = np.cumsum(words) - words
        before -= before[first][session]  # words of the same session before this item
        n_items = np.bincount(session, minlength=int(first.sum()))
        room = (self.config.session_tokens - 1 - n_items)[session]
        fitted = np.clip(room - before, 0, words)
        self.truncated["sessions"] += len(np.unique(session[fitted < words]))
        return fitted + 1

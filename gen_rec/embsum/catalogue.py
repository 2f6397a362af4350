"""The whole catalogue and many users through EmbSum: encoded in blocks, ranked in blocks."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gen_rec.data.interactions import Cases, Dataset, Int64Array, Sequences
from gen_rec.embsum.batches import case_times, case_tokens
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.poly import PairScore
from gen_rec.embsum.tokens import ItemTokens
from gen_rec.errors import GenRecError
from indexing import Ranked
from indexing.ranking import ranked, top_k

BATCH_ITEMS, BATCH_USERS = 256, 64
"""Items and users that are encoded at once."""
BLOCK_ITEMS, BLOCK_USERS = 512, 256
"""Items and users that are scored at once: 4 million products with 8 and 4 codes, in two tables."""


def item_tokens(dataset: Dataset, model: EmbSum) -> ItemTokens:
    """The tokens of the catalogue as this model reads them."""
    words = model.words
    return ItemTokens.of(dataset.texts, words.tokenizer, words.item, words.end, model.config)


def gap_times(dataset: Dataset, cases: Cases, config: EmbSumConfig) -> Int64Array | None:
    """Seconds of every item of the cases' histories, where sessions are cut at gaps."""
    return None if config.session_gap_hours is None else case_times(dataset, cases)


def check_clock(clock: str, config: EmbSumConfig) -> None:
    """raises GenRecError where sessions are to be cut at gaps and the data knows only the order of interactions."""
    if config.session_gap_hours is not None and clock not in ("unix", "gaps"):
        raise GenRecError(
            f"embsum.session_gap_hours is {config.session_gap_hours}, but the data has no times, only the order of a "
            "user's interactions; leave it empty: --embsum.session_gap_hours null"
        )


@torch.no_grad()
def encode_items(model: EmbSum, tokens: ItemTokens, items: Int64Array) -> Iterator[Tensor]:
    """Poly-embeddings of items, batch by batch: (some, n, d) float32 each."""
    for start in range(0, len(items), BATCH_ITEMS):
        candidates = tokens.candidates(items[start : start + BATCH_ITEMS])
        yield model.encode_items(candidates.to(model.device)).float()


@torch.no_grad()
def encode_cases(
    model: EmbSum, tokens: ItemTokens, cases: Cases, rows: Int64Array, times: Int64Array | None = None
) -> Iterator[Tensor]:
    """Poly-embeddings of the users of some cases, from their histories, batch by batch: (some, m, d) float32 each.

    times: ``gap_times`` of all cases
    """
    for start in range(0, len(rows), BATCH_USERS):
        histories = case_tokens(tokens, cases, rows[start : start + BATCH_USERS], times)
        yield model.encode_users(histories.to(model.device)).vectors.float()


@torch.no_grad()
def rank_catalogue(score: PairScore, users: Tensor, items: Tensor, k: int, seen: Int64Array | None = None) -> Ranked:
    """The k best of all items for each user.

    users:   (rows, m, d)
    items:   (n_items, n, d)
    seen:    (rows, s) items that are left out, -1 for none
    returns  items and scores, each (rows, k).
    """
    blocks = []
    for start in range(0, len(users), BLOCK_USERS):
        some = slice(start, start + BLOCK_USERS)
        blocks.append(_rank_block(score, users[some], items, k, None if seen is None else seen[some]))
    return Ranked(torch.cat([block.items for block in blocks]), torch.cat([block.scores for block in blocks]))


def rank_both_ways(
    score: PairScore, users: Tensor, items: Tensor, histories: Sequences, k: int
) -> tuple[Ranked, Ranked]:
    """``rank_catalogue`` with the items of each user's history, and without. histories: of the same rows"""
    seen = histories.last(max(1, int(histories.lengths.max())))[0]
    return rank_catalogue(score, users, items, k), rank_catalogue(score, users, items, k, seen)


def _rank_block(score: PairScore, users: Tensor, items: Tensor, k: int, seen: Int64Array | None) -> Ranked:
    """``rank_catalogue`` for as many users as are scored at once: the best so far, and one block of items more."""
    best = users.new_full((len(users), 0), -torch.inf)
    rows = torch.zeros((len(users), 0), dtype=torch.int64, device=users.device)
    for start in range(0, len(items), BLOCK_ITEMS):
        block = score.all_pairs(users, items[start : start + BLOCK_ITEMS])  # (users, items of the block)
        if seen is not None:
            inside = (seen >= start) & (seen < start + block.shape[1])
            row, column = np.nonzero(inside)
            block[torch.from_numpy(row), torch.from_numpy(seen[row, column] - start)] = -torch.inf
        number = torch.arange(start, start + block.shape[1], device=users.device).expand(len(users), -1)
        scores, numbers = torch.cat([best, block], 1), torch.cat([rows, number], 1)
        best, columns = top_k(scores, k)  # a tie goes to the earlier column, which is the smaller item
        order = columns.sort(1).indices
        best, rows = best.gather(1, order), numbers.gather(1, columns.gather(1, order))
    return ranked(rows, best, k)

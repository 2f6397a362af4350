"""What it is worth that the history holds an item already: the model learns whether people come back.

Item vectors are the same on the way in and out, so a state is most like the items that it was made from, and by
products alone the next item would be one of the last. Where people never take a thing twice, a model without a word for
that has to bend its vectors away from what they say; where they often do, it can tell an old acquaintance from a
likeness only by chance. One number for every distance, added to an item's score before the softmax, says it outright,
in training and in every search alike. (Repeats as a choice of their own: RepeatNet, arXiv 1812.02646.)

The number reaches whatever sees leaves: the last code, and in a tree of two levels that looks ahead the first code too.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

RATE = 16.0
"""The table learns at this multiple of the rate, so that it is where it has to be within an epoch: a weight moves by
about the rate a step, and these are few and large, where all others are many and small."""


class Seen(NamedTuple):
    """The items that each target's history holds, every one once, and what that adds to their scores."""

    items: Tensor  # (n, m) int64, -1 for none
    bias: Tensor  # (n, m), 0 for none

    def at(self, nodes: Tensor) -> "Seen":
        """The same by other numbers. nodes: (n_items,) int64, the new number of each item."""
        return Seen(torch.where(self.items >= 0, nodes[self.items.clamp(min=0)], -1), self.bias)


class RepeatBias(nn.Module):
    """A learnt number for every distance, the same in every stream that reads with it; zero at first.

    max_history: distances that have a number of their own
    """

    def __init__(self, max_history: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(max_history))

    def forward(self, history: Tensor, rows: Tensor, ends: Tensor) -> Seen:
        """The items seen before some targets.

        history: (batch, items) int64, oldest first, left-aligned
        rows:    (n,) int64 the history of each target
        ends:    (n,) int64 the place of its most recent item; -1 where the history is empty
        returns  (n, items) each; an item that was taken twice stands where it was taken last.
        """
        place = torch.arange(history.shape[1], device=history.device)
        same = (history[:, :, None] == history[:, None, :]) & (place[:, None] < place)  # (batch, items, later items)
        again = torch.where(same, place, history.shape[1]).amin(2)  # (batch, items) where it is taken the next time
        back = ends[:, None] - place  # (n, items) how many items ago
        held = (back >= 0) & (again[rows] > ends[:, None]) & (history[rows] >= 0)
        worth = self.table[back.clamp(0, len(self.table) - 1)]
        return Seen(torch.where(held, history[rows], -1), torch.where(held, worth, 0.0))


def of_parents(seen: Seen, parents: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which of the seen are children of the nodes that a search or a loss looks at.

    seen:    (n, m) nodes of a level, -1 for none
    parents: (n, m) the parent of each
    nodes:   (n, b) nodes of the level above
    returns  (p,) int64 each: the row, the place in it among the seen, the place in it among the nodes.
    """
    found = (parents[:, :, None] == nodes[:, None, :]) & (seen.items >= 0)[:, :, None]
    row, which, where = found.nonzero(as_tuple=True)
    return row, which, where

"""What the search knows of a model: log-probabilities of the children of trie nodes, one level at a time."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from indexing.trie import Trie


class Scorer(Protocol):
    """Log-probabilities of the children of trie nodes, for a batch of rows (users), one level at a time.

    A search calls ``score(0, zeros(rows, 1))`` first. After each level it calls ``reorder`` with the beams
    that it continues, then ``score`` for the next level. ``score(0, ...)`` always starts over: whatever an
    earlier walk left behind is forgotten, so one scorer serves several searches, and the exact search in
    several chunks.
    """

    n_rows: int
    device: torch.device

    def score(self, level: int, nodes: Tensor) -> Tensor:
        """Score the children of the nodes that are held now.

        level:  depth of ``nodes`` in the trie; 0 is the root
        nodes:  (rows, beams) int64 level-local ids, in the beam order now held, never negative
        returns (rows, beams, trie.widths[level]) float log-probabilities of each child in code order, given
                its parent; ``-inf`` where there is no such child.
        """
        ...

    def reorder(self, beams: Tensor) -> None:
        """Continue from some of the beams of the last ``score``.

        beams: (rows, new_beams) int64, which old beam each new beam continues; may repeat and may grow.
        """
        ...


class TableScorer:
    """A scorer that reads its log-probabilities from one table a level: no history, no network.

    It is the reference model of the tests, and what one needs for prefix counts (a popularity model).

    tables: one a level, (rows, n_nodes[level], widths[level]) log-probabilities of the children of each node.
    """

    def __init__(self, tables: Sequence[Tensor]) -> None:
        self.tables = list(tables)
        self.n_rows = self.tables[0].shape[0]
        self.device = self.tables[0].device

    @classmethod
    def from_logits(cls, logits: Sequence[Tensor], trie: Trie) -> "TableScorer":
        """Normalise arbitrary numbers over the children that exist.

        logits: one a level, (rows, n_nodes[level], widths[level])
        """
        tables = []
        for level, values in enumerate(logits):
            nodes = torch.arange(trie.n_nodes[level], device=values.device)
            tables.append(values.masked_fill(~trie.mask(level, nodes), -torch.inf).log_softmax(-1))
        return cls(tables)

    def score(self, level: int, nodes: Tensor) -> Tensor:
        """See ``Scorer.score``."""
        table = self.tables[level]  # (rows, n_nodes, width)
        return table.gather(1, nodes[..., None].expand(-1, -1, table.shape[2]))

    def reorder(self, beams: Tensor) -> None:
        """Nothing to do: a table remembers no path."""

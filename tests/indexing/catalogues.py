"""The oracles: small catalogues, scorers whose answers are known, searches written with dictionaries."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from indexing import TableScorer, Trie


class PathChecker(TableScorer):
    """A table scorer that fails when a search breaks the protocol.

    It remembers the nodes of its last ``score``, follows ``reorder`` as a model with states would, and then
    insists that every node it is asked for is a child of the beam in whose place it stands.
    """

    def __init__(self, tables: list[Tensor], trie: Trie) -> None:
        super().__init__(tables)
        self.trie = trie
        self.level = -1
        self.states: Tensor | None = None  # (rows, beams) node that each beam's state has read

    def score(self, level: int, nodes: Tensor) -> Tensor:
        assert nodes.dtype == torch.int64
        assert nodes.shape[0] == self.n_rows
        assert int(nodes.min()) >= 0
        assert int(nodes.max()) < self.trie.n_nodes[level]
        if level == 0:
            assert nodes.shape == (self.n_rows, 1)
        else:
            assert level == self.level + 1, "reorder must come between two levels"
            assert self.states is not None
            assert self.states.shape == nodes.shape
            parents = self.trie.parents(level)[nodes]
            padding = nodes == 0  # a beam that holds nothing has node 0 and the state of any beam
            assert bool(((parents == self.states) | padding).all())
        self.level, self.states = level, nodes
        self.reordered = False
        return super().score(level, nodes)

    def reorder(self, beams: Tensor) -> None:
        assert self.states is not None
        assert not self.reordered
        assert beams.shape[0] == self.n_rows
        self.states = self.states.gather(1, beams)
        self.reordered = True


def random_scorer(trie: Trie, rows: int, seed: int, ties: bool = False) -> PathChecker:
    """Normalised random log-probabilities; with ``ties``, few distinct values: many equal scores."""
    generator = torch.Generator().manual_seed(seed)
    logits = []
    for n_nodes, width in zip(trie.n_nodes, trie.widths, strict=False):
        values = torch.randn(rows, n_nodes, width, generator=generator)
        logits.append(torch.zeros_like(values) if ties else values)
    if ties:  # exact in binary: every child of a level has the same power of two, whatever its siblings
        tables = []
        for level, values in enumerate(logits):
            steps = torch.randint(1, 3, (rows, trie.n_nodes[level], trie.widths[level]), generator=generator)
            real = trie.mask(level, torch.arange(trie.n_nodes[level]))
            tables.append((values - steps).masked_fill(~real, -torch.inf))
        return PathChecker(tables, trie)
    return PathChecker(TableScorer.from_logits(logits, trie).tables, trie)


def dict_scores(codes: np.ndarray, scorer: TableScorer) -> np.ndarray:
    """(rows, n_items) float64 log-probabilities, each item walked through a dictionary of prefixes."""
    prefixes = [sorted({tuple(row[:level]) for row in codes.tolist()}) for level in range(codes.shape[1])]
    number = [{prefix: place for place, prefix in enumerate(level)} for level in prefixes]
    scores = np.zeros((scorer.n_rows, len(codes)))
    for item, code in enumerate(codes.tolist()):
        for level in range(len(code)):
            node = number[level][tuple(code[:level])]
            scores[:, item] += scorer.tables[level][:, node, code[level]].double().numpy()
    return scores


def dict_top(scores: np.ndarray, k: int, exclude: list[list[int]] | None = None) -> list[list[int]]:
    """Best k items of each row by score, ties by item id, without the excluded ones."""
    lists = []
    for row, values in enumerate(scores):
        banned = set() if exclude is None else set(exclude[row])
        order = sorted(range(len(values)), key=lambda item: (-values[item], item))
        lists.append([item for item in order if item not in banned and values[item] > -np.inf][:k])
    return lists


def dict_beam(
    codes: np.ndarray, scorer: TableScorer, beams: int, k: int, exclude: list[list[int]] | None = None
) -> list[list[int]]:
    """Beam search over dictionaries: inner ties go to the smaller prefix, the last to the smaller item."""
    item_of = {tuple(row): item for item, row in enumerate(codes.tolist())}
    depth = codes.shape[1]
    levels = [sorted({code[:level] for code in item_of}) for level in range(depth + 1)]
    number = [{prefix: place for place, prefix in enumerate(level)} for level in levels]
    lists = []
    for row in range(scorer.n_rows):
        held: dict[tuple[int, ...], np.float32] = {(): np.float32(0)}
        for level in range(depth):
            grown = {}
            for prefix in levels[level + 1]:
                if prefix[:-1] in held:
                    log_prob = scorer.tables[level][row, number[level][prefix[:-1]], prefix[-1]].numpy()
                    grown[prefix] = held[prefix[:-1]] + log_prob
            grown = {prefix: score for prefix, score in grown.items() if score > -np.inf}
            if level < depth - 1:
                held = dict(sorted(grown.items(), key=lambda pair: (-pair[1], pair[0]))[:beams])
        banned = set() if exclude is None else set(exclude[row])
        found = [(-score, item_of[prefix]) for prefix, score in grown.items() if item_of[prefix] not in banned]
        lists.append([item for _, item in sorted(found)[:k]])
    return lists


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """Distinct codes in any order, and widths that may exceed what is used."""
    depth = draw(st.integers(1, 4))
    widths = tuple(draw(st.lists(st.integers(1, 11), min_size=depth, max_size=depth)))
    code = st.tuples(*(st.integers(0, width - 1) for width in widths))
    rows = draw(st.lists(code, min_size=1, max_size=40, unique=True))
    return np.array(rows, dtype=np.int32).reshape(len(rows), depth), widths

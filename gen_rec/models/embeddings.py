"""Vectors of items on the way in, and of trie nodes (code prefixes) on the way in and out."""

import torch
from torch import Tensor, nn

from indexing import Trie

INITIAL_STD = 0.02


def content_projection(content: Tensor, hidden_size: int) -> nn.Linear:
    """A projection of content rows of unit norm that starts as small as the free vectors it is added to."""
    project = nn.Linear(content.shape[1], hidden_size, bias=False)
    nn.init.normal_(project.weight, std=INITIAL_STD)
    return project


class ItemEmbedding(nn.Module):
    """A free vector for every item plus, when given, a projection of what its text says.

    content: (n_items, c) frozen semantic embeddings, or None
    """

    content: Tensor | None

    def __init__(self, n_items: int, hidden_size: int, content: Tensor | None) -> None:
        super().__init__()
        self.table = nn.Embedding(n_items, hidden_size)
        nn.init.normal_(self.table.weight, std=INITIAL_STD)
        self.register_buffer("content", content, persistent=False)
        self.project = None if content is None else content_projection(content, hidden_size)

    def vectors(self) -> Tensor:
        """All items' vectors, (n_items, d)."""
        if self.project is None:
            return self.table.weight
        return self.table.weight + self.project(self.content)  # type: ignore[no-any-return]

    def forward(self, items: Tensor) -> Tensor:
        """items: (...) int64; returns (..., d)."""
        vectors = self.table(items)
        if self.project is not None:
            assert self.content is not None
            vectors = vectors + self.project(self.content[items])
        return vectors  # type: ignore[no-any-return]


def node_means(values: Tensor, trie: Trie, depth: int) -> list[Tensor]:
    """Mean of the items' values below every node.

    values: (n_items, c); returns one (n_nodes[level], c) for each level 1..depth, at most the trie's.
    """
    means = []
    for level in range(1, depth + 1):
        nodes = trie.item_nodes[:, level - 1]  # (n_items,)
        total = torch.zeros(trie.n_nodes[level], values.shape[1], dtype=values.dtype, device=values.device)
        count = torch.bincount(nodes, minlength=trie.n_nodes[level]).to(values.dtype)
        means.append(total.index_add_(0, nodes, values) / count[:, None])
    return means


class PrefixCodeEmbedding(nn.Module):
    """A vector for every node of the trie: a free one plus a projection of the content below the node."""

    def __init__(self, trie: Trie, hidden_size: int, content: Tensor | None) -> None:
        super().__init__()
        self.tables = nn.ParameterList(
            nn.Parameter(torch.randn(n_nodes, hidden_size) * INITIAL_STD) for n_nodes in trie.n_nodes[1:]
        )
        self.project: nn.ModuleList | None = None
        if content is not None:
            for level, mean in enumerate(node_means(content, trie, trie.depth), 1):
                self.register_buffer(f"content_{level}", mean, persistent=False)
            self.project = nn.ModuleList(content_projection(content, hidden_size) for _ in range(trie.depth))

    def vectors(self, level: int) -> Tensor:
        """Vectors of all nodes of a level from 1 to depth, (n_nodes[level], d)."""
        table: Tensor = self.tables[level - 1]
        if self.project is None:
            return table
        return table + self.project[level - 1](getattr(self, f"content_{level}"))  # type: ignore[no-any-return]


class LevelCodeEmbedding(nn.Module):
    """A vector for every code of a level, whatever its prefix (one table a level, as the article reads)."""

    def __init__(self, trie: Trie, hidden_size: int) -> None:
        super().__init__()
        self.tables = nn.ParameterList(
            nn.Parameter(torch.randn(width, hidden_size) * INITIAL_STD) for width in trie.widths
        )
        for level in range(1, trie.depth + 1):
            self.register_buffer(f"codes_{level}", trie.node_codes(level), persistent=False)

    def vectors(self, level: int) -> Tensor:
        """Vectors of all nodes of a level from 1 to depth, (n_nodes[level], d)."""
        return self.tables[level - 1][getattr(self, f"codes_{level}")]  # type: ignore[no-any-return]

"""The trie of item codes, on tensors: which codes may follow a prefix, and which item a whole code names."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Layout = Literal["auto", "dense", "csr"]

DENSE_CELLS = 1 << 20
"""A level whose table of children (nodes x width) has no more cells than this is dense: at most 4 MB."""

DENSE_PER_CHILD = 32
"""A larger level is dense only with at most this many cells a child: memory stays proportional to the items.

Measured (benchmarks/trie_layout.py): full nodes are expanded up to nine times faster from a table; nodes with
few children as fast or faster from CSR, at any size, and a million of them in a twentieth of the memory.
"""

_BUILT_LATER = ("item_nodes", "cells", "item_cells")


class Trie:
    """Levels 0..depth; level 0 is the root, the nodes of level ``depth`` are the items (leaves).

    The nodes of a level are numbered 0.. in lexicographic order of their code prefix, so the children of a
    node are consecutive ids of the next level, in code order. Build one with ``Trie.from_codes``.

    Each level keeps one bit for each code of each node (``mask`` reads nothing else, so its cost hardly
    depends on the size of the catalogue), and its children either as a dense table (nodes x width, one
    gather a look-up) or only as offsets and codes (CSR; a look-up costs more, the memory is proportional to
    the children that exist).

    depth:    number of code levels
    n_items:  number of items, equal to ``n_nodes[depth]``
    widths:   (depth,) children a node may have, per level
    n_nodes:  (depth + 1,) nodes of each level; the first is 1
    layouts:  (depth,) "dense" or "csr", what was chosen for each level
    """

    def __init__(
        self,
        widths: Sequence[int],
        codes: list[Tensor],
        parents: list[Tensor],
        leaf_items: Tensor,
        layout: Layout,
    ) -> None:
        """Take the levels 1..depth as arrays; ``from_codes`` is the door for everyone else.

        codes, parents: per level 1..depth, (n_nodes,) code within the parent and parent's id
        leaf_items:     (n_items,) item of each leaf
        """
        self.widths = tuple(int(width) for width in widths)
        self.depth = len(self.widths)
        self.n_nodes = (1, *(len(level) for level in codes))
        self.n_items = self.n_nodes[-1]
        self.leaf_items = leaf_items.long()
        self._codes = [_compact(code, width) for code, width in zip(codes, self.widths, strict=True)]
        self._parents = [_compact(parent, n) for parent, n in zip(parents, self.n_nodes, strict=False)]
        self._first: list[Tensor] = []
        self._bits: list[Tensor] = []
        self._tables: list[Tensor | None] = []
        self._most_children: list[int] = []
        for level, width in enumerate(self.widths):
            counts = torch.bincount(self._parents[level], minlength=self.n_nodes[level])
            first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
            self._first.append(_compact(first, self.n_nodes[level + 1] + 1))
            self._most_children.append(int(counts.max()))
            self._bits.append(self._bit_rows(level))
            small = self.n_nodes[level] * width <= max(DENSE_CELLS, DENSE_PER_CHILD * self.n_nodes[level + 1])
            dense = layout == "dense" or (layout == "auto" and small)
            self._tables.append(self._table(level) if dense else None)

    @classmethod
    def from_codes(
        cls, codes: np.ndarray | Tensor, widths: Sequence[int] | None = None, layout: Layout = "auto"
    ) -> "Trie":
        """Build the trie of a catalogue; one sort, no loop over items.

        codes:  (n_items, depth) integers; row i is the code of item i
        widths: (depth,) children a node may have, per level; the largest code + 1 where not given
        layout: "dense" or "csr" for every level, or "auto": dense where the table is small or well filled
                (``DENSE_CELLS``, ``DENSE_PER_CHILD``)
        raises  ValueError for no items, negative codes, codes >= width and two items with one code.
        """
        if layout not in ("auto", "dense", "csr"):
            raise ValueError(f"layout must be 'auto', 'dense' or 'csr', got {layout!r}")
        array = torch.as_tensor(codes)
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"codes must be (n_items, depth) with at least one of each, got {tuple(array.shape)}")
        if array.is_floating_point() or array.is_complex() or array.dtype == torch.bool:
            raise ValueError(f"codes must be integers, got {array.dtype}")
        array = array.long()
        widths = _checked_widths(array, widths)
        order = _lexicographic_order(array, widths)
        ordered = array[order]  # (n_items, depth)
        n_items, depth = array.shape
        new = torch.ones(n_items, dtype=torch.bool, device=array.device)  # first row of a node of this level
        new[1:] = False
        ids = torch.zeros(n_items, dtype=torch.int64, device=array.device)  # node of each ordered row, level 0
        level_codes, level_parents = [], []
        for level in range(depth):
            new[1:] |= ordered[1:, level] != ordered[:-1, level]
            level_codes.append(ordered[new, level])
            level_parents.append(ids[new])
            ids = new.cumsum(0) - 1
        if not bool(new.all()):
            _raise_duplicate(order, ordered, new)
        return cls(widths, level_codes, level_parents, order, layout)

    @property
    def layouts(self) -> tuple[str, ...]:
        """(depth,) "dense" or "csr", per level."""
        return tuple("csr" if table is None else "dense" for table in self._tables)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.leaf_items.device

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors; of those that are built at first use, what was asked for."""
        tensors = [self.leaf_items, *self._codes, *self._parents, *self._first, *self._bits]
        tensors += [table for table in self._tables if table is not None]
        for built in _BUILT_LATER:
            held = self.__dict__.get(built, [])
            tensors += [held] if isinstance(held, Tensor) else held
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @cached_property
    def item_nodes(self) -> Tensor:
        """(n_items, depth) int64: the item's node at levels 1..depth; built at first use."""
        nodes = torch.empty(self.n_items, self.depth, dtype=torch.int64, device=self.device)
        column = torch.arange(self.n_items, device=self.device)  # leaves, walked up to the root
        for level in range(self.depth, 0, -1):
            nodes[self.leaf_items, level - 1] = column
            column = self.parents_at(level, column)
        return nodes

    @cached_property
    def cells(self) -> list[Tensor]:
        """A level 1..depth: (n_nodes[level],) int64 parent * width + code; built at first use.

        Where each node is in a table of all nodes above it x codes.
        """
        levels = zip(self._parents, self._codes, self.widths, strict=True)
        return [parents.long() * width + codes.long() for parents, codes, width in levels]

    @cached_property
    def item_cells(self) -> Tensor:
        """(n_items,) int64: the cell of each item's leaf; built at first use."""
        cells = torch.empty_like(self.leaf_items)
        cells[self.leaf_items] = self.cells[-1]
        return cells

    def node_codes(self, level: int) -> Tensor:
        """(n_nodes[level],) int64 code of each node of a level >= 1 within its parent."""
        return self._codes[level - 1].long()

    def codes_at(self, level: int, nodes: Tensor) -> Tensor:
        """Code of some nodes of a level >= 1 within their parents; (...) ids in, (...) int64 out."""
        return self._codes[level - 1][nodes].long()

    def parents_at(self, level: int, nodes: Tensor) -> Tensor:
        """Parents of some nodes of a level >= 1; (...) ids in, (...) int64 ids at level - 1 out."""
        return self._parents[level - 1][nodes].long()

    def parents(self, level: int) -> Tensor:
        """(n_nodes[level],) int64 parent, a node of level - 1, of each node of a level >= 1."""
        return self._parents[level - 1].long()

    def first_child(self, level: int) -> Tensor:
        """(n_nodes[level] + 1,) int64: node i of the level owns the nodes first[i]:first[i + 1] of level +
        1."""
        return self._first[level].long()

    def first_children(self, level: int, low: int, high: int) -> tuple[int, int]:
        """The nodes low..high - 1 of a level own the nodes of level + 1 from the first result to before the second."""
        return int(self._first[level][low]), int(self._first[level][high])

    def children(self, level: int, nodes: Tensor) -> Tensor:
        """All children of some nodes, in code order.

        nodes:  (...) int64 ids at ``level``
        returns (..., widths[level]) int64 ids at level + 1, -1 where there is no such child.
        """
        table = self._tables[level]
        if table is not None:
            return table.index_select(0, nodes.reshape(-1)).view(*nodes.shape, -1).long()
        return self._expand(level, nodes)

    def mask(self, level: int, nodes: Tensor) -> Tensor:
        """Which codes may follow some nodes.

        nodes:  (...) int64 ids at ``level``
        returns (..., widths[level]) bool, True where there is such a child.
        """
        rows = self._bits[level].index_select(0, nodes.reshape(-1))  # (n, bytes)
        eight = _unpacked(self.device).index_select(0, rows.reshape(-1).int())  # (n * bytes,) eight bools in an int64
        return eight.view(torch.bool).view(*nodes.shape, 8 * rows.shape[1])[..., : self.widths[level]]

    def child(self, level: int, nodes: Tensor, codes: Tensor) -> Tensor:
        """One child of each node.

        nodes:  (...) int64 ids at ``level``
        codes:  (...) int64 code of the wanted child, in 0..widths[level] - 1
        returns (...) int64 ids at level + 1, -1 where there is no such child.
        """
        table = self._tables[level]
        if table is not None:
            return table.view(-1)[nodes * self.widths[level] + codes].long()
        first, of_child = self._first[level], self._codes[level]
        low, end = first[nodes].long(), first[nodes + 1].long()
        high = end
        for _ in range(self._most_children[level].bit_length()):  # bisect among the node's children
            middle = (low + high) >> 1
            right = (middle < high) & (of_child[middle.clamp(max=len(of_child) - 1)] < codes)
            low, high = torch.where(right, middle + 1, low), torch.where(right, high, middle)
        found = (low < end) & (of_child[low.clamp(max=len(of_child) - 1)] == codes)
        return torch.where(found, low, -1)

    def to(self, device: torch.device | str) -> "Trie":
        """The same trie with its tensors on ``device``."""
        moved = object.__new__(Trie)
        moved.__dict__.update(self.__dict__)
        for built in _BUILT_LATER:
            moved.__dict__.pop(built, None)
        moved.leaf_items = self.leaf_items.to(device)
        moved._codes = [tensor.to(device) for tensor in self._codes]
        moved._parents = [tensor.to(device) for tensor in self._parents]
        moved._first = [tensor.to(device) for tensor in self._first]
        moved._bits = [tensor.to(device) for tensor in self._bits]
        moved._tables = [None if tensor is None else tensor.to(device) for tensor in self._tables]
        return moved

    def _bit_rows(self, level: int) -> Tensor:
        """(n_nodes[level], bytes) uint8: bit c % 8 of byte c // 8 tells whether the node has the child c."""
        parents, codes = self._parents[level].long(), self._codes[level]
        n_bytes = (self.widths[level] + 7) // 8
        bits = torch.zeros(self.n_nodes[level] * n_bytes, dtype=torch.uint8, device=self.device)
        cells = parents * n_bytes + (codes >> 3)
        for bit in range(8):  # each cell at most once a bit
            bits[cells[codes & 7 == bit]] += 1 << bit
        return bits.view(self.n_nodes[level], n_bytes)

    def _table(self, level: int) -> Tensor:
        """(n_nodes[level], widths[level]) the dense table of children, -1 where there is none."""
        n_children = self.n_nodes[level + 1]
        ids = _compact(torch.arange(n_children, device=self.device), n_children)
        table = ids.new_full((self.n_nodes[level] * self.widths[level],), -1)
        table[self._parents[level].long() * self.widths[level] + self._codes[level]] = ids
        return table.view(self.n_nodes[level], self.widths[level])

    def _expand(self, level: int, nodes: Tensor) -> Tensor:
        """``children`` of a CSR level: each child's id is written where its code says."""
        first, of_child, width = self._first[level], self._codes[level], self.widths[level]
        start, end = first[nodes].long()[..., None], first[nodes + 1].long()[..., None]
        slots = start + torch.arange(self._most_children[level], device=nodes.device)  # (..., most children)
        codes = of_child[slots.clamp(max=len(of_child) - 1)].long()
        codes = torch.where(slots < end, codes, width)  # what is not a child: a spare column
        ids = slots.new_full((*nodes.shape, width + 1), -1).scatter_(-1, codes, slots)
        return ids[..., :width]


@cache
def _unpacked(device: torch.device) -> Tensor:
    """(256,) int64: the eight bits of a byte as eight bools, side by side in one number."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1  # (256, 8)
    return bits.to(torch.bool).view(torch.int64).view(256).to(device)


def _compact(values: Tensor, limit: int) -> Tensor:
    """The smallest of int16, int32 and int64 that holds ``limit``."""
    dtype = torch.int16 if limit < 1 << 15 else torch.int32 if limit < 1 << 31 else torch.int64
    return values.to(dtype)


def _checked_widths(codes: Tensor, widths: Sequence[int] | None) -> tuple[int, ...]:
    """The widths, given or found, after a check of every code against them."""
    depth = codes.shape[1]
    if bool((codes < 0).any()):
        row, level = (codes < 0).nonzero()[0].tolist()
        raise ValueError(
            f"codes row {row}, level {level}: found {int(codes[row, level])}; codes must be 0 or more "
            "(an item without a code cannot be in the trie: leave it out)"
        )
    if widths is None:
        return tuple((codes.amax(0) + 1).tolist())
    if len(widths) != depth:
        raise ValueError(f"widths has {len(widths)} entries, but codes has {depth} levels; give one width a level")
    beyond = codes >= torch.as_tensor(list(widths), device=codes.device)
    if bool(beyond.any()):
        row, level = beyond.nonzero()[0].tolist()
        raise ValueError(
            f"codes row {row}, level {level}: found {int(codes[row, level])}; codes of this level must be "
            f"below its width {widths[level]} (raise the width, or fit the codes again)"
        )
    return tuple(int(width) for width in widths)


def _lexicographic_order(codes: Tensor, widths: Sequence[int]) -> Tensor:
    """(n_items,) the rows in lexicographic order, equal rows by row number.

    Neighbouring columns are packed into one 63-bit number as far as they fit: most catalogues need one sort.
    """
    order: Tensor | None = None
    level = len(widths)
    while level > 0:  # from the last column, stable sorts
        key, size = codes[:, level - 1], int(widths[level - 1])
        level -= 1
        while level > 0 and size * int(widths[level - 1]) < 1 << 63:
            key = key + codes[:, level - 1] * size
            size *= int(widths[level - 1])
            level -= 1
        order = key.argsort(stable=True) if order is None else order[key[order].argsort(stable=True)]
    assert order is not None
    return order


def _raise_duplicate(order: Tensor, ordered: Tensor, new: Tensor) -> None:
    """Name the first two rows that carry the same code."""
    place = int((~new).nonzero()[0])
    first, second = int(order[place - 1]), int(order[place])
    raise ValueError(
        f"codes rows {first} and {second} are both {ordered[place].tolist()}; every item needs a code of its "
        f"own ({int((~new).sum())} rows repeat another's; add a level that tells them apart)"
    )

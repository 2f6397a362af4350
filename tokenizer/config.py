"""Settings of the tokenizer: how embeddings become codes."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass
class TokenizerConfig:
    """How embeddings are cut into codes, and how wide and deep the codes are."""

    method: Literal["balanced", "residual", "random"] = "balanced"
    """balanced: hierarchical k-means with equal-sized children. residual: k-means of what the level before
    left over (TIGER, arXiv 2305.05065). random: a balanced tree that ignores the embeddings, for
    ablations."""
    branching: int = 256
    """Children of a node: the size K of one code level."""
    widths: list[int] | None = None
    """Children of a node at each level, when levels should differ; it also fixes the depth. The product must
    be at least the number of items. None: every level is ``branching`` wide and the depth is as small as
    possible. For ``residual``, the codebook size of each level before the last one, which removes
    collisions."""
    normalize: bool = False
    """Scale every embedding to length one before anything else, so that distance follows the cosine."""
    max_rounds: int = 20
    """Rounds of equal-size k-means at each split; stops early when the inertia no longer falls."""
    n_init: int = 1
    """k-means++ starts at each split; the one with the lowest inertia is kept."""
    sibling_order: Literal["chain", "principal", "random"] = "chain"
    """Order of the children of a node. chain: a short path through their centres, so that codes that are near
    in number are near in space. principal: along the first principal direction. random: chance, for
    comparison."""
    residual_levels: int = 3
    """Codebooks of the residual method, before the level that tells colliding items apart."""

    def __post_init__(self) -> None:
        if self.method not in ("balanced", "residual", "random"):
            raise ValueError(f"tokenizer.method must be 'balanced', 'residual' or 'random', got {self.method!r}")
        if self.sibling_order not in ("chain", "principal", "random"):
            raise ValueError(
                f"tokenizer.sibling_order must be 'chain', 'principal' or 'random', got {self.sibling_order!r}"
            )
        if self.branching < 2:
            raise ValueError(f"tokenizer.branching must be at least 2, got {self.branching}")
        if self.widths is not None and (not self.widths or min(self.widths) < 2):
            raise ValueError(f"tokenizer.widths must name at least one level, each at least 2 wide, got {self.widths}")
        for name in ("max_rounds", "n_init", "residual_levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"tokenizer.{name} must be at least 1, got {getattr(self, name)}")

    def tree_widths(self, n_items: int) -> tuple[int, ...]:
        """Children per node of each level of a tree that holds ``n_items`` items, one in a leaf.

        Without ``widths``: the least depth whose leaves suffice, ceil(log_branching(n_items)), at least one.
        Raises ValueError when ``widths`` are given and their product is less than ``n_items``.
        """
        if self.widths is not None:
            leaves = math.prod(self.widths)
            if leaves < n_items:
                raise ValueError(
                    f"tokenizer.widths {self.widths} make {leaves} leaves, too few for {n_items} items; "
                    "widen a level, add one, or set tokenizer.widths to null"
                )
            return tuple(self.widths)
        depth, leaves = 1, self.branching
        while leaves < n_items:
            depth, leaves = depth + 1, leaves * self.branching
        return (self.branching,) * depth

"""Residual k-means codes: each level quantises what the levels before it left over (as in TIGER).

The codebooks of a level are shared by all nodes, so a code means the same everywhere. Items may collide; a
last level tells them apart, as in TIGER (arXiv 2305.05065, section 3.1).
"""

import logging

import numpy as np
from torch import Tensor

from tokenizer.config import TokenizerConfig
from tokenizer.kmeans import kmeans
from tokenizer.order import sibling_ranks

logger = logging.getLogger(__name__)


def fit_residual(
    points: Tensor, config: TokenizerConfig, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, ...], list[np.ndarray]]:
    """Quantise level by level, then number the items that share all codes.

    points: (n, d) float32, centred
    returns codes (n, levels + 1) int32, rows unique; the widths; and the codebooks, one (codes, d) array a
            level but the last. The codes of a level are numbered by ``config.sibling_order`` of its codebook;
            items that collide are numbered from the one nearest to their common reconstruction. The last
            width is the size of the largest collision, 1 where there is none.
    """
    widths = config.widths or [config.branching] * config.residual_levels
    rest = points
    columns, codebooks = [], []
    for width in widths:
        result = kmeans(rest, width, rng, config.max_rounds, config.n_init)
        ranks = sibling_ranks(result.centres[None], config.sibling_order, rng)[0]
        labels = ranks[result.labels]
        codebook = result.centres[ranks.argsort()]
        rest = rest - codebook[labels]
        columns.append(labels.cpu().numpy())
        codebooks.append(codebook.cpu().numpy())
    codes = np.stack(columns, axis=1).astype(np.int32)
    last = number_collisions(codes, rest.square().sum(dim=1).cpu().numpy())
    largest = int(last.max()) + 1
    logger.info("residual k-means: %d items collide, the last level is %d wide", int((last > 0).sum()), largest)
    return np.column_stack([codes, last]).astype(np.int32), (*widths, largest), codebooks


def number_collisions(codes: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Number the items of each code sequence from 0, by distance and then by position.

    codes: (n, levels); distance: (n,); returns (n,) int64
    """
    _, group = np.unique(codes, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.lexsort((distance, group))  # stable: ties by position
    sizes = np.bincount(group)
    number = np.empty(len(codes), dtype=np.int64)
    number[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return number

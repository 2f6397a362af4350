"""Balanced trees: split every node evenly, level after level, until a node holds one item."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokenizer.balanced import balanced_kmeans
from tokenizer.config import TokenizerConfig
from tokenizer.order import sibling_ranks

logger = logging.getLogger(__name__)

ENTRIES_AT_ONCE = 1 << 24
"""Entries of the points and of the cost matrix of the nodes that are split together."""
QUICK_FROM = 20_000
"""Items from which a fit takes the cheaper steps: starting prices by matrix products, fewer chains of moves, and
sibling orders by sweeps. Codes of smaller fits stay what they were, bit by bit."""
QUICK_ENTRIES_AT_ONCE = 1 << 22
"""``ENTRIES_AT_ONCE`` of such a fit: nodes split together go on until the last of them is done, so fewer at once."""
NODES_IN_ORDER_AT_ONCE = 32
"""Nodes of such a fit, at least, whose children are put in order together: a sweep costs as much for one node. Groups
of so many nodes are shared out to the threads."""


@dataclass
class _Level:
    """Nodes of one level: node i holds the items ``order[starts[i] : starts[i] + sizes[i]]``."""

    order: np.ndarray  # (n_items,) int64
    starts: np.ndarray  # (nodes,) int64
    sizes: np.ndarray  # (nodes,) int64


def fit_tree(points: Tensor, config: TokenizerConfig, rng: np.random.Generator) -> np.ndarray:
    """Codes of a balanced tree over the points.

    Every node with more than one item is split into ``width`` children whose sizes differ by at most one;
    where it has fewer items than that, each item is a child of its own. A node with one item goes on with
    code 0, so all items have the same depth. Nodes of one size are split together. With ``config.method ==
    "random"`` the same shape is filled by chance.

    points: (n, d) float32, centred, of about unit size (``prepare.standardize``)
    returns (n, depth) int32, rows unique
    """
    n = len(points)
    widths = config.tree_widths(n)
    codes = np.zeros((n, len(widths)), dtype=np.int32)
    level = _Level(np.arange(n), np.zeros(1, dtype=np.int64), np.full(1, n))
    if config.method == "random":
        level.order = rng.permutation(n)
    for depth, width in enumerate(widths):
        children = np.zeros(n, dtype=np.int64)  # the code of order[i] within its node
        for size in np.unique(level.sizes):
            nodes = np.flatnonzero(level.sizes == size)
            places = level.starts[nodes][:, None] + np.arange(size)  # (nodes, size)
            children[places] = _split_nodes(points, level.order[places], width, config, rng)
        codes[level.order, depth] = children
        level = _descend(level, children, width)
        logger.info("level %d: %d nodes of at most %d items", depth + 1, len(level.sizes), level.sizes.max())
    return codes


def _split_nodes(
    points: Tensor, items: np.ndarray, width: int, config: TokenizerConfig, rng: np.random.Generator
) -> np.ndarray:
    """Code of every item within its node, for nodes of one size.

    items: (nodes, size); returns (nodes, size) int64 below ``width``
    """
    nodes, size = items.shape
    if size == 1:
        return np.zeros((nodes, 1), dtype=np.int64)
    if config.method == "random":
        return np.tile(np.arange(size) % width, (nodes, 1))
    codes = np.empty((nodes, size), dtype=np.int64)
    quick = len(points) >= QUICK_FROM
    entries = QUICK_ENTRIES_AT_ONCE if quick else ENTRIES_AT_ONCE
    step = max(1, entries // (size * (points.shape[1] + min(size, width))))  # nodes that are split together
    group = max(step, NODES_IN_ORDER_AT_ONCE) if quick else step
    starts = range(0, nodes, group)

    def split(start: int, rng: np.random.Generator) -> None:
        part = items[start : start + group]
        centres, labels = [], []
        for first in range(0, len(part), step):
            if nodes == 1 and size == len(points):
                held = points[None]  # the root holds all points in order: no copy
            else:
                held = points[torch.from_numpy(part[first : first + step]).to(points.device)]  # (step, size, d)
            if size > width:
                found = balanced_kmeans(held, width, rng, config.max_rounds, config.n_init, quick)
                centres.append(found.centres)
                labels.append(found.labels)
            else:
                centres.append(held)
        ranks = sibling_ranks(torch.cat(centres), config.sibling_order, rng, quick)
        codes[start : start + group] = (ranks.gather(1, torch.cat(labels)) if labels else ranks).cpu().numpy()

    # Small fits draw from one generator in turn; that is how their codes stay what they were.
    draws = rng.spawn(len(starts)) if quick else [rng] * len(starts)
    threads = torch.get_num_threads()
    if not quick or len(starts) == 1 or threads == 1 or points.device.type != "cpu":
        for start, draw in zip(starts, draws, strict=True):
            split(start, draw)
        return codes
    try:
        # Steps are too short to share out; groups of nodes are not.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(split, starts, draws))
    finally:
        torch.set_num_threads(threads)
    return codes


def _descend(level: _Level, children: np.ndarray, width: int) -> _Level:
    """Nodes of the next level, in the order of their codes."""
    node = np.repeat(np.arange(len(level.sizes)), level.sizes)
    key = node * width + children
    by_child = np.argsort(key, kind="stable")
    _, starts, sizes = np.unique(key[by_child], return_index=True, return_counts=True)
    return _Level(level.order[by_child], starts, sizes)

"""Codes for items that came after the fit: a free leaf of the nearest node, and nobody moves.

Distance is squared Euclid in the space of the fit (embeddings scaled to length one if the fit did that). In a
tree an item walks from the root to the child with the nearest centre, level by level, down to a node of the
last level but one, and takes the first free code there. A node's centre is the mean of the items it had when
it was made; placing items does not change it, so where an item goes does not depend on who came with it.

Where that node is full, a new node opens beside it, if their parent has a child to spare (its centre is the
mean of the items that go into it); else the last level grows wider. Residual codes are read off the
codebooks, so an item may open a prefix that nobody had; the last level counts on from the items that share
the prefix, and grows if it must.
"""

import numpy as np
import torch

from tokenizer.codes import Codes
from tokenizer.kmeans import nearest_centre
from tokenizer.nodes import Nodes
from tokenizer.prepare import check_embeddings, to_space


def place_items(codes: Codes, new_embeddings: np.ndarray) -> Codes:
    """Codes with the new items after the present ones.

    new_embeddings: (m, d); items that want the same node take its free codes in input order
    returns Codes of n_items + m items, its first rows those of ``codes``; ``widths[-1]`` may have grown

    Raises ValueError on embeddings that are not finite or of another d than the fit's.
    """
    new_embeddings = np.asarray(new_embeddings)
    columns = codes.centres[0].shape[1] if codes.centres else None
    check_embeddings(new_embeddings, "new_embeddings", columns)
    if not len(new_embeddings):
        return codes
    space = to_space(new_embeddings, codes.normalize)
    residual = codes.method == "residual"
    prefixes = _encode(codes, space) if residual else _open_nodes(codes, _walk(codes, space))
    last, width = _free_codes(codes, prefixes)
    grown = np.concatenate([codes.codes, np.column_stack([prefixes, last])])
    widths = (*codes.widths[:-1], width)
    centres = codes.centres if residual else _extend_centres(codes, grown, widths, space)
    return Codes(grown, widths, codes.method, codes.normalize, centres, codes.settings)


def _encode(codes: Codes, space: np.ndarray) -> np.ndarray:
    """Residual codes of the new items, (m, depth - 1)."""
    rest = torch.from_numpy(space.copy())
    columns = []
    for codebook in codes.centres:
        book = torch.from_numpy(codebook.copy())
        labels, _ = nearest_centre(rest, book)
        rest = rest - book[labels]
        columns.append(labels.numpy())
    return np.stack(columns, axis=1)


def _walk(codes: Codes, space: np.ndarray) -> np.ndarray:
    """Code prefix of the node that each new item arrives at, (m, depth - 1)."""
    m = len(space)
    prefixes = np.zeros((m, codes.depth - 1), dtype=np.int64)
    node = np.zeros(m, dtype=np.int64)
    for level in range(1, codes.depth):
        parents = codes.nodes.parents(level)  # sorted
        arrived = np.empty(m, dtype=np.int64)
        order = np.argsort(node, kind="stable")
        starts = np.flatnonzero(np.diff(node[order], prepend=-1))
        for items in np.split(order, starts[1:]):  # one group a node that anybody is at
            first, end = np.searchsorted(parents, [node[items[0]], node[items[0]] + 1])
            centres = codes.centres[level - 1][first:end]
            middle = centres.mean(axis=0)  # distances lose less to rounding around the middle
            near, _ = nearest_centre(torch.from_numpy(space[items] - middle), torch.from_numpy(centres - middle))
            arrived[items] = first + near.numpy()
        node = arrived
        prefixes[:, level - 1] = codes.nodes.keys[level - 1][node] % codes.widths[level - 1]
    return prefixes


def _ranks(group: np.ndarray) -> np.ndarray:
    """Place of each entry among the equal entries before it, from 0.

    group: (m,) integers; returns (m,) int64
    """
    order = np.argsort(group, kind="stable")
    sizes = np.unique(group, return_counts=True)[1]
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ranks


def _open_nodes(codes: Codes, prefixes: np.ndarray) -> np.ndarray:
    """Send those beyond a full node's room to new siblings of that node, while its parent has children to
    spare.

    prefixes: (m, depth - 1) the nodes that items arrived at; returns the same with the last column changed
              for some
    """
    if codes.depth < 2:
        return prefixes
    width, spare_width = codes.widths[-1], codes.widths[-2]
    node = codes.nodes.find(prefixes)  # (m, depth - 1)
    leaves = np.bincount(codes.item_nodes[:, -2], minlength=len(codes.nodes.keys[-2]))
    beyond = _ranks(node[:, -1]) - (width - leaves[node[:, -1]])  # at least 0 where the node is full by then
    over = np.flatnonzero(beyond >= 0)
    if not len(over):
        return prefixes
    prefixes = prefixes.copy()
    parent = node[over, -2] if codes.depth > 2 else np.zeros(len(over), dtype=np.int64)
    wanted = np.stack([parent, node[over, -1], beyond[over] // width], axis=1)  # a new node for every ``width`` items
    asked, which = np.unique(wanted, axis=0, return_inverse=True)
    turn = _ranks(asked[:, 0])  # of a parent's new nodes
    keys = codes.nodes.keys[-2]
    for at in np.unique(asked[:, 0]):
        first, end = np.searchsorted(keys, [at * spare_width, (at + 1) * spare_width])
        absent = np.setdiff1d(np.arange(spare_width), keys[first:end] % spare_width)
        mine = (asked[:, 0] == at) & (turn < len(absent))
        chosen = np.full(len(asked), -1)
        chosen[mine] = absent[turn[mine]]
        moved = chosen[which.reshape(-1)]
        prefixes[over[moved >= 0], -1] = moved[moved >= 0]
    return prefixes


def _free_codes(codes: Codes, prefixes: np.ndarray) -> tuple[np.ndarray, int]:
    """First free codes of the last level, in input order within a prefix, and the width that holds them all.

    prefixes: (m, depth - 1); returns (m,) int64 and the width
    """
    width = codes.widths[-1]
    if codes.depth == 1:
        group = np.zeros(len(prefixes), dtype=np.int64)
        owner = np.zeros(codes.n_items, dtype=np.int64)
    else:
        distinct, group = np.unique(prefixes, axis=0, return_inverse=True)
        group = group.reshape(-1)
        node = codes.nodes.find(distinct)[:, -1]  # -1: a new one
        row = np.full(len(codes.nodes.keys[-2]), -1)
        row[node[node >= 0]] = np.flatnonzero(node >= 0)
        owner = row[codes.item_nodes[:, -2]]  # which distinct prefix a present item has, -1 for none
    taken = np.zeros((group.max() + 1, width), dtype=bool)
    held = owner >= 0
    taken[owner[held], codes.codes[held, -1]] = True
    free_first = np.argsort(taken, axis=1, kind="stable")  # (prefixes, width): free codes, then the taken ones
    room = width - taken.sum(axis=1)
    rank = _ranks(group)
    fits = rank < room[group]
    last = np.where(fits, free_first[group, np.minimum(rank, width - 1)], width + rank - room[group])
    return last, max(width, int(last.max()) + 1)


def _extend_centres(
    codes: Codes, grown: np.ndarray, widths: tuple[int, ...], space: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Centres of all nodes of the larger tree: the old ones, and the means of the new items in new nodes."""
    nodes = Nodes.of(grown, widths)
    item_nodes = nodes.find(grown)  # (n + m, depth)
    n = codes.n_items
    centres = []
    for level, old in enumerate(codes.centres):
        sums = np.zeros((len(nodes.keys[level]), old.shape[1]))
        np.add.at(sums, item_nodes[n:, level], space)
        count = np.bincount(item_nodes[n:, level], minlength=len(sums))
        means = (sums / np.maximum(count, 1)[:, None]).astype(np.float32)
        means[item_nodes[:n, level]] = old[codes.item_nodes[:, level]]
        centres.append(means)
    return tuple(centres)

"""What can be said about codes: balance, tightness, neighbours, agreement of two trees."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokenizer.agreement import adjusted_mutual_information, entropy
from tokenizer.codes import Codes
from tokenizer.kmeans import kmeans
from tokenizer.neighbors import nearest_neighbors
from tokenizer.prepare import check_embeddings, standardize, to_space

UNBALANCED_INITS = 3
"""Starts of the k-means without size limits that the first level is compared with."""


def code_report(
    behavior: Codes | None = None,
    semantic: Codes | None = None,
    *,
    behavior_embeddings: np.ndarray | None = None,
    semantic_embeddings: np.ndarray | None = None,
    neighbors: int = 10,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Figures about one or two code sets, ready for JSON.

    behavior, semantic: codes of the same items; either may be missing
    *_embeddings:       (n_items, d) what the codes were cut from
    neighbors:          how many nearest neighbours of an item are asked for its first code
    seed:               of the k-means and of the random tree that the codes are compared with

    returns ``{"behavior": ..., "semantic": ..., "agreement": ...}`` with what was given; see
    ``stream_report`` and ``agreement_report``. Raises ValueError when codes and embeddings, or the two codes,
    differ in items.
    """
    report: dict[str, Any] = {}
    pairs = (("behavior", behavior, behavior_embeddings), ("semantic", semantic, semantic_embeddings))
    for name, codes, embeddings in pairs:
        if codes is not None:
            if embeddings is None:
                raise ValueError(f"{name}_embeddings are needed for the report on the {name} codes")
            report[name] = stream_report(codes, embeddings, neighbors, seed, device)
    if behavior is not None and semantic is not None:
        report["agreement"] = agreement_report(behavior, semantic)
    return report


def stream_report(
    codes: Codes,
    embeddings: np.ndarray,
    neighbors: int = 10,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Figures about one code set.

    returns a dict: ``n_items``, ``depth``, ``widths``, ``method``; ``levels``, one dict a level
    (``level_report``); ``unbalanced_inertia``, of k-means with as many centres as the first level has nodes
    and no limit on sizes, the best of three starts (a local optimum, so an upper bound of the least);
    ``over_unbalanced``, the first level's inertia divided by it; and ``neighbors``, the share of an item's
    nearest neighbours that have its first code, beside what chance gives.
    """
    embeddings = np.asarray(embeddings)
    check_embeddings(embeddings)
    if len(embeddings) != codes.n_items:
        raise ValueError(f"embeddings have {len(embeddings)} rows, the codes {codes.n_items}; they must match")
    rng = np.random.default_rng(seed)
    points, _, scale = standardize(to_space(embeddings, codes.normalize))
    shuffled = rng.permutation(codes.n_items)
    levels = [level_report(codes, level, points, scale, shuffled) for level in range(1, codes.depth + 1)]
    nodes = levels[0]["nodes"]
    free = kmeans(points.to(device), nodes, rng, max_rounds=30, n_init=UNBALANCED_INITS)
    unbalanced = free.inertia * scale**2
    return {
        "n_items": codes.n_items,
        "depth": codes.depth,
        "widths": list(codes.widths),
        "method": codes.method,
        "levels": levels,
        "unbalanced_inertia": unbalanced,
        "over_unbalanced": _ratio(levels[0]["inertia"], unbalanced),
        "neighbors": neighbor_report(codes, points.numpy(), neighbors, device),
    }


def level_report(codes: Codes, level: int, points: torch.Tensor, scale: float, shuffled: np.ndarray) -> dict[str, Any]:
    """Balance and tightness of the nodes of one level (1..depth).

    ``smallest``, ``largest``, ``sizes`` (a histogram: size -> nodes); ``entropy`` in bits of the node of a
    random item, and ``balance``, that entropy over the most that as many nodes allow (1: all of one size);
    ``code_entropy`` and ``code_balance``, the same for the code alone, over the level's width; ``inertia``,
    the sum of squared distances to the mean of the own node, ``random_inertia``, the same when the items are
    dealt to the same nodes by chance.

    points: (n, d) as ``standardize`` makes them, with their ``scale``; shuffled: (n,) a permutation
    """
    node = codes.item_nodes[:, level - 1]
    sizes = np.bincount(node)
    histogram = dict(zip(*(part.tolist() for part in np.unique(sizes, return_counts=True)), strict=True))
    bits = entropy(sizes) / np.log(2)
    code_bits = entropy(np.bincount(codes.codes[:, level - 1])) / np.log(2)
    width = codes.widths[level - 1]
    return {
        "level": level,
        "nodes": len(sizes),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        "sizes": {str(size): count for size, count in histogram.items()},
        "entropy": bits,
        "balance": bits / np.log2(len(sizes)) if len(sizes) > 1 else 1.0,
        "code_entropy": code_bits,
        "code_balance": code_bits / np.log2(width) if width > 1 else 1.0,
        "inertia": group_inertia(points.numpy(), node) * scale**2,
        "random_inertia": group_inertia(points.numpy(), node[shuffled]) * scale**2,
    }


def group_inertia(points: np.ndarray, group: np.ndarray) -> float:
    """Sum of squared distances of the points to the mean of their group.

    points: (n, d); group: (n,) integers 0..g-1, every one of them used
    """
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    total = 0.0
    for columns in range(0, points.shape[1], 32):  # a few columns at a time, in float64
        held = points[order, columns : columns + 32].astype(np.float64)
        means = np.add.reduceat(held, starts, axis=0) / sizes[:, None]
        total += float(np.square(held - np.repeat(means, sizes, axis=0)).sum())
    return total


def neighbor_report(
    codes: Codes, points: np.ndarray, neighbors: int, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """How often an item's nearest neighbours have its first code, its first two codes, and so on.

    ``k`` neighbours were asked; ``share`` by prefix length 1..depth-1 (at least one), and ``chance``, the
    share of all pairs of different items that have the prefix in common.
    """
    found = nearest_neighbors(points, neighbors, device)  # (n, k)
    n = codes.n_items
    share, chance = [], []
    for level in range(max(1, codes.depth - 1)):
        node = codes.item_nodes[:, level]
        share.append(float((node[found] == node[:, None]).mean()) if found.size else 0.0)
        sizes = np.bincount(node).astype(np.float64)
        chance.append(float((sizes * (sizes - 1)).sum() / (n * (n - 1))) if n > 1 else 0.0)
    return {"k": found.shape[1], "share": share, "chance": chance}


def agreement_report(behavior: Codes, semantic: Codes) -> dict[str, float]:
    """Adjusted mutual information of the first codes of two code sets: 0 unrelated, 1 equal.

    Raises ValueError when they have different numbers of items.
    """
    if behavior.n_items != semantic.n_items:
        raise ValueError(f"the codes are of {behavior.n_items} and {semantic.n_items} items; they must match")
    value = adjusted_mutual_information(behavior.codes[:, 0], semantic.codes[:, 0])
    return {"adjusted_mutual_information": value}


def save_report(report: dict[str, Any], path: str | Path) -> None:
    """Write the report as JSON, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
            file.write("\n")
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else 1.0

"""Embeddings in, codes out: the one function that the other rooms call."""

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from tokenizer.codes import Codes
from tokenizer.config import TokenizerConfig
from tokenizer.hierarchical import fit_tree
from tokenizer.nodes import Nodes
from tokenizer.prepare import check_embeddings, standardize, to_space
from tokenizer.residual import fit_residual


def fit_codes(embeddings: np.ndarray, config: TokenizerConfig, seed: int, device: str | torch.device = "cpu") -> Codes:
    """Give every item a code sequence cut from its embedding.

    embeddings: (n_items, d) finite numbers, n_items and d at least 1; row i is item i
    seed:       of everything that is drawn; the same seed gives the same codes
    device:     where the matrix products run

    Raises ValueError on embeddings that are empty or not finite (naming the row), and on settings that make
    fewer leaves than there are items.
    """
    embeddings = np.asarray(embeddings)
    check_embeddings(embeddings)
    if not len(embeddings):
        raise ValueError("embeddings have no rows; codes need at least one item")
    rng = np.random.default_rng(seed)
    points, mean, scale = standardize(to_space(embeddings, config.normalize))
    points = points.to(device)
    settings = asdict(config) | {"seed": seed}
    if config.method == "residual":
        codes, widths, codebooks = fit_residual(points, config, rng)
        # The first codebook carries the mean; the others hold differences.
        centres = [book * scale for book in codebooks]
        centres[0] = centres[0] + mean
    else:
        codes, widths = fit_tree(points, config, rng), config.tree_widths(len(embeddings))
        centres = [level * scale + mean for level in node_means(points, codes, widths)]
    return Codes(codes, widths, config.method, config.normalize, tuple(centres), settings)


def node_means(points: Tensor, codes: np.ndarray, widths: tuple[int, ...]) -> list[np.ndarray]:
    """Mean of the points of every node of levels 1..depth-1, nodes in the order of their code prefixes.

    points: (n, d); codes: (n, depth)
    returns depth - 1 arrays (nodes, d) float32
    """
    nodes = Nodes.of(codes, widths).find(codes)  # (n, depth)
    held = points.cpu().numpy()
    by_code = np.argsort(nodes[:, -1], kind="stable")
    means: list[np.ndarray] = []
    for level in range(codes.shape[1] - 1):
        sizes = np.bincount(nodes[:, level])
        sums = np.empty((len(sizes), held.shape[1]), dtype=np.float32)
        ends = np.cumsum(sizes)
        step = max(1, (1 << 16) // int(sizes.max()))
        for start in range(0, len(sizes), step):
            part = slice(start, start + step)
            first = ends[start] - sizes[start]
            rows = held[by_code[first : ends[part][-1]]]
            sums[part] = np.add.reduceat(rows, ends[part] - sizes[part] - first, axis=0)
        means.append(sums / sizes[:, None])
    return means

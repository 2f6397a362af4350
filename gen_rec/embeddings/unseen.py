"""Embeddings for items that training never saw, which so have no behaviour of their own."""

import logging

import numpy as np

from gen_rec.embeddings.config import DINConfig

logger = logging.getLogger(__name__)


def fill_unseen(
    table: np.ndarray, seen: np.ndarray, config: DINConfig, semantic: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """Replace the rows of items that training never saw.

    table:    (n_items, dim)
    seen:     (n_items,) True where training saw the item, at least once
    semantic: (n_items, any), or None
    returns   (n_items, dim) float32, a copy; and "mean" or "from_text", by which the rows were filled.
    """
    table = table.astype(np.float32, copy=True)
    if seen.all():
        return table, config.unseen
    if config.unseen == "from_text" and semantic is not None:
        table[~seen] = ridge(semantic[seen], table[seen], semantic[~seen], config.ridge)
        return table, "from_text"
    if config.unseen == "from_text":
        logger.warning(
            "embeddings.behavior.unseen is from_text but there are no semantic embeddings: the %d items that "
            "training never saw get the mean of the trained rows",
            (~seen).sum(),
        )
    table[~seen] = table[seen].mean(axis=0, dtype=np.float64)
    return table, "mean"


def ridge(inputs: np.ndarray, outputs: np.ndarray, queries: np.ndarray, strength: float) -> np.ndarray:
    """Ridge regression with an unpenalised intercept, solved in float64.

    inputs:   (n, p)
    outputs:  (n, q)
    queries:  (m, p)
    strength: the penalty, in units of n / 100 times the mean variance of an input dimension
    returns   (m, q)
    """
    x, y = inputs.astype(np.float64), outputs.astype(np.float64)
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x  # (p, p)
    penalty = strength * max(np.trace(gram) / len(gram), 1e-12) / 100
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), x.T @ y)  # (p, q)
    return (queries - x_mean) @ weights + y_mean

"""Embeddings made ready for k-means: checked, optionally of length one, centred, of about unit size."""

import numpy as np
import torch
from torch import Tensor

ROWS_AT_ONCE = 1 << 16


def check_embeddings(embeddings: np.ndarray, name: str = "embeddings", columns: int | None = None) -> None:
    """Raise ValueError, naming the row, unless ``embeddings`` are (n, d) finite numbers with d at least 1.

    ``columns``: the d that is expected, where one is.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise ValueError(f"{name} must have shape (items, dimensions), got {embeddings.shape}")
    if columns is not None and embeddings.shape[1] != columns:
        raise ValueError(
            f"{name} have {embeddings.shape[1]} columns, the codes were fitted on {columns}; "
            "use embeddings of the same model"
        )
    if not (np.issubdtype(embeddings.dtype, np.floating) or np.issubdtype(embeddings.dtype, np.integer)):
        raise ValueError(f"{name} must be numbers, got dtype {embeddings.dtype}")
    for start in range(0, len(embeddings), ROWS_AT_ONCE):
        bad = ~np.isfinite(embeddings[start : start + ROWS_AT_ONCE])
        if bad.any():
            row, column = np.argwhere(bad)[0]
            value = embeddings[start + row, column]
            raise ValueError(
                f"{name}, row {start + row}: column {column} is {value}, expected a finite number; "
                "give the item an embedding (its text, or the mean of all) or leave it out"
            )


def to_space(embeddings: np.ndarray, normalize: bool) -> np.ndarray:
    """Embeddings as a new float32 array, each row of length one where ``normalize``; a zero row stays zero.

    This is the space in which nodes have their centres and new items look for the nearest one.
    """
    out = np.empty(embeddings.shape, dtype=np.float32)
    for start in range(0, len(embeddings), ROWS_AT_ONCE):
        rows = np.asarray(embeddings[start : start + ROWS_AT_ONCE], dtype=np.float64)
        if normalize:
            largest = np.abs(rows).max(axis=1, keepdims=True)
            rows = rows / np.where(largest > 0, largest, 1.0)  # no overflow in the squares
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(length > 0, length, 1.0)
        out[start : start + ROWS_AT_ONCE] = rows
    return out


def standardize(space: np.ndarray) -> tuple[Tensor, np.ndarray, float]:
    """Centre and scale, in place, so that float32 distances neither overflow nor cancel; k-means does not
    notice.

    space: (n, d) float32, overwritten
    returns points (n, d) that share the memory of ``space``, mean (d,) float64 and scale: space = points *
            scale + mean
    """
    mean = space.mean(axis=0, dtype=np.float64)
    largest = 0.0
    for start in range(0, len(space), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        largest = max(largest, float(np.abs(space[part] - mean).max()))
    scale = largest if largest > 0 else 1.0
    for start in range(0, len(space), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        space[part] = (space[part] - mean) / scale
    return torch.from_numpy(space), mean, scale

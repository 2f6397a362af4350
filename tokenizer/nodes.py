"""Numbers for the nodes of a code tree: level by level, in the order of their code prefixes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Nodes:
    """Every code prefix that occurs, numbered within its level in lexicographic order.

    ``keys[l]`` (nodes at level l + 1,) int64, sorted: number of the parent times ``widths[l]`` plus the code.
    Codes of any depth fit, since only one level is packed into a key at a time.
    """

    widths: tuple[int, ...]
    keys: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, codes: np.ndarray, widths: tuple[int, ...]) -> "Nodes":
        """codes: (n, depth) with entries below the widths"""
        parent = np.zeros(len(codes), dtype=np.int64)
        keys = []
        for level, width in enumerate(widths):
            unique, parent = np.unique(parent * width + codes[:, level], return_inverse=True)
            keys.append(unique)
        return cls(widths, tuple(keys))

    def find(self, codes: np.ndarray) -> np.ndarray:
        """Number of the node of every prefix, -1 where there is none.

        codes: (m, up to depth) integers, any values
        returns (m, the same) int64
        """
        codes = np.asarray(codes)
        found = np.empty(codes.shape, dtype=np.int64)
        parent = np.zeros(len(codes), dtype=np.int64)
        for level in range(codes.shape[1]):
            code, width, keys = codes[:, level].astype(np.int64), self.widths[level], self.keys[level]
            real = (parent >= 0) & (code >= 0) & (code < width)
            key = np.where(real, parent * width + code, -1)
            place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            parent = np.where(keys[place] == key, place, -1)
            found[:, level] = parent
        return found

    def parents(self, level: int) -> np.ndarray:
        """Number of the parent of every node of ``level`` (1..depth), (nodes,) int64."""
        return self.keys[level - 1] // self.widths[level - 1]

"""Two other ways to know which codes may follow a prefix: a dictionary of prefixes, and a look at every row."""

import sys

import numpy as np
import torch
from torch import Tensor


class DictionaryTrie:
    """Prefix -> the codes that follow it, as hand-written constraint functions keep it."""

    def __init__(self, codes: np.ndarray, width: int) -> None:
        self.width = width
        self.follow: dict[tuple[int, ...], list[int]] = {}
        for row in np.unique(codes, axis=0).tolist():  # in order, so that each list is sorted and new codes come last
            for level in range(len(row)):
                after = self.follow.setdefault(tuple(row[:level]), [])
                if not after or after[-1] != row[level]:
                    after.append(row[level])

    def mask(self, prefixes: list[tuple[int, ...]]) -> Tensor:
        """(n, width) bool, True where a code may follow."""
        mask = torch.zeros(len(prefixes), self.width, dtype=torch.bool)
        for i, prefix in enumerate(prefixes):
            mask[i, self.follow[prefix]] = True
        return mask

    @property
    def nbytes(self) -> int:
        """Bytes of the table, its keys and its lists; small integers are shared and not counted."""
        parts = sum(sys.getsizeof(prefix) + sys.getsizeof(after) for prefix, after in self.follow.items())
        return sys.getsizeof(self.follow) + parts


class EveryRow:
    """The whole matrix of codes, compared with each prefix."""

    def __init__(self, codes: np.ndarray, width: int) -> None:
        self.width = width
        self.columns = [torch.from_numpy(np.ascontiguousarray(column)) for column in codes.T.astype(np.uint8)]

    def mask(self, prefixes: Tensor) -> Tensor:
        """prefixes: (n, level) int64; returns (n, width) bool, True where a code may follow."""
        mask = torch.zeros(len(prefixes), self.width, dtype=torch.bool)
        for i, prefix in enumerate(prefixes.to(torch.uint8)):
            same = self.columns[0] == prefix[0]
            for column, code in zip(self.columns[1:], prefix[1:], strict=False):
                same &= column == code
            mask[i, self.columns[len(prefix)][same].long()] = True
        return mask

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        return sum(column.numel() for column in self.columns)

"""EASE, embarrassingly shallow autoencoders (arXiv 1905.03375): a linear map from a history to items, in closed form.

It is ours and not a library's because none of those that are kept up fits: implicit has no EASE; RecTools asks for
NumPy below 2 and pandas below 3, which would set back everything measured beside it; cornac scores the users it was
fitted on only, while here the validation item joins the history at test time, and it holds four dense matrices at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.rivals.method import Fitted, Job, Rival
from gen_rec.data.interactions import Sequences
from gen_rec.extras import require


@dataclass
class EaseSettings:
    """EASE has one."""

    regularization: float = 250.0
    """Lambda, which is added to the diagonal of the Gram matrix."""

    def __post_init__(self) -> None:
        if self.regularization <= 0:
            raise ValueError(f"regularization must be positive, got {self.regularization}")


class Ease:
    """B = I - P diag(1 / diag(P)), P = (X^T X + lambda I)^-1: equation 8 of the article. The diagonal of B is zero.

    X is who took what in training, without counts. The inverse is that of a positive definite matrix, by Cholesky in
    float32 (its condition is the largest eigenvalue of X^T X over lambda, a few hundred on sets like these).

    weights: B, (n_items, n_items) float32
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    @classmethod
    def solve(cls, histories: Sequences, n_items: int, regularization: float) -> "Ease":
        """Fit on training histories."""
        taken = binary(histories, n_items)
        gram = torch.from_numpy((taken.T @ taken).toarray())  # (n_items, n_items)
        gram.diagonal().add_(regularization)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram, out=gram)).T.contiguous()  # it is symmetric
        weights = inverse.div_(-inverse.diagonal().clone())  # column j over its diagonal
        weights.fill_diagonal_(0.0)
        return cls(weights)

    def scores(self, histories: Sequences) -> Tensor:
        """(rows, n_items): the sum of the rows of B that belong to the items of the history."""
        return torch.from_numpy(binary(histories, len(self.weights)) @ self.weights.numpy())


def binary(histories: Sequences, n_items: int) -> Any:
    """(rows, n_items) sparse float32: 1 where the item is in the history, however often."""
    sparse = require("scipy.sparse", extra="bench", purpose="EASE")
    row = np.repeat(np.arange(len(histories)), histories.lengths)
    ones = np.ones(len(row), dtype=np.float32)
    matrix = sparse.csr_array((ones, (row, histories.items)), shape=(len(histories), n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def fit(job: Job, settings: EaseSettings, folder: Path, key: str) -> Fitted:
    """Solve anew: reading the matrix back would hardly be faster."""
    dataset = job.dataset
    return Fitted(Ease.solve(dataset.train_sequences(), dataset.n_items, settings.regularization), {})


EASE = Rival("ease", EaseSettings, fit)

"""Histories and lists for the evaluation tests: small ones known by heart, larger ones by seed."""

from collections.abc import Callable

import numpy as np
import pytest

from gen_rec.data.interactions import Cases


@pytest.fixture(scope="session")
def make_cases() -> Callable[..., Cases]:
    def make(histories: list[list[int]], target: list[int] | np.ndarray) -> Cases:
        return Cases(
            offsets=np.cumsum([0, *map(len, histories)], dtype=np.int64),
            items=np.array([item for history in histories for item in history], dtype=np.int32),
            user=np.arange(len(histories), dtype=np.int32),
            target=np.asarray(target, dtype=np.int32),
        )

    return make


@pytest.fixture(scope="session")
def random_cases(make_cases: Callable[..., Cases]) -> Callable[..., Cases]:
    def make(n: int, n_items: int, seed: int) -> Cases:
        rng = np.random.default_rng(seed)
        histories = [rng.integers(0, n_items, rng.integers(0, 15)).tolist() for _ in range(n)]
        return make_cases(histories, rng.integers(0, n_items, n))

    return make


@pytest.fixture(scope="session")
def random_lists() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Lists of different items with different, falling scores: (n, k) items and scores."""

    def make(n: int, n_items: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        scores = rng.random((n, n_items))
        items = np.argsort(-scores, axis=1)[:, :k]
        return items, np.take_along_axis(scores, items, 1)

    return make

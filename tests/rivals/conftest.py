"""What the tests of the rivals share: a small data set in memory, and the smallest sequence models."""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import pytest
import torch

from gen_rec.data.interactions import Dataset, Sequences, offsets_of
from gen_rec.data.splits import leave_one_out


def as_sequences(lists: list[list[int]]) -> Sequences:
    offsets = offsets_of(np.array([len(each) for each in lists], dtype=np.int64))
    items = np.array([item for each in lists for item in each], dtype=np.int32)
    return Sequences(offsets, items, np.arange(len(lists), dtype=np.int32))


@pytest.fixture(scope="session")
def sequences() -> Callable[[list[list[int]]], Sequences]:
    """Lists of items as ``Sequences``."""
    return as_sequences


@pytest.fixture(scope="session")
def small() -> Dataset:
    """60 users who walk along a ring of 15 items, some items popular; the last two of each user are held out."""
    rng = np.random.default_rng(5)
    lists = []
    for _ in range(60):
        start, steps = rng.integers(15), rng.choice([1, 1, 2, 5], rng.integers(4, 9))
        lists.append(((start + np.cumsum(steps)) % 15).tolist())
    found = as_sequences(lists)
    return Dataset(
        items=pl.DataFrame({"item_id": [f"i{i}" for i in range(15)], "title": [""] * 15, "text": [""] * 15}),
        user_ids=np.array([f"u{i}" for i in range(60)], dtype=object),
        offsets=found.offsets,
        item_index=found.items,
        timestamps=np.arange(len(found.items), dtype=np.int64),
        split=leave_one_out(found.offsets),
    )


@pytest.fixture
def doubles() -> Iterator[None]:
    """Modules made within the test are float64, so that two ways of one sum agree to 1e-11."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)

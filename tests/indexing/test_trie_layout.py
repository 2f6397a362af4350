"""The layout benchmark still runs, and measures the codes that it says; no figure is asserted."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "trie_layout.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("trie_layout", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_balanced_codes_are_distinct_and_nodes_equal_sized(benchmark):
    codes = benchmark.balanced_codes(70_001)
    assert codes.shape == (70_001, 3)
    assert len(np.unique(codes, axis=0)) == 70_001
    for level in (1, 2):
        sizes = np.unique(codes[:, :level], axis=0, return_counts=True)[1]
        assert len(sizes) == 256**level
        assert sizes.max() - sizes.min() <= 1


def test_random_codes_are_distinct(benchmark):
    assert len(np.unique(benchmark.random_codes(5_000), axis=0)) == 5_000


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_every_figure_is_measured(benchmark, layout):
    row = benchmark.measure(benchmark.random_codes(300), layout, repetitions=1)
    assert row["items"] == 300
    assert {"build_s", "trie_mb", "mask_ms", "children_ms", "child_ms"} <= row.keys()

"""The scaling benchmark still runs and says what it measured; no time is asserted."""

import importlib.util
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "benchmarks" / "tokenizer_scaling.py"


def test_every_figure_is_measured() -> None:
    spec = importlib.util.spec_from_file_location("tokenizer_scaling", PATH)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    row = benchmark.measure(300, 4, 8, threads=torch.get_num_threads(), with_kmeans=True)
    assert (row["items"], row["depth"], row["smallest"], row["largest"]) == (300, 3, 37, 38)
    assert row["inertia_over_kmeans"] == pytest.approx(1.1, abs=0.2)  # equal sizes cost some inertia, not much
    assert row["seconds"] >= 0
    assert row["peak_mb"] > 0

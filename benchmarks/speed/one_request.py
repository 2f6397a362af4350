"""Row 6: one user, one request, in this process, everything warm, on one core.

Ours is the call that a service makes: external ids in, ``Recommender.recommend`` with the items of the history left
out, a frame of 20 items with titles and scores out, once with the model that configs/beauty.yaml trains and once at the
published size. ``more`` has the bare search beside it. SASRec gets rows of items and gives rows of items; nothing is
parsed or named there.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.speed.rivals.sasrec import SASRec
from benchmarks.speed.timing import Row, Seconds, compared
from benchmarks.speed.workload import Size, Workload, balanced_codes, beauty, published_shape
from gen_rec.cli import parse_config
from gen_rec.memory import keep_freed_memory
from gen_rec.models.config import ModelConfig
from gen_rec.recommender import Recommender
from gen_rec.retrieval import SearchConfig, search
from tokenizer import Codes

REQUESTS, WARM_UPS, K = 600, 30, 20
METHODS = ("beam", "exact")
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "beauty.yaml"


def measure(size: Size) -> list[Row]:
    """Two rows: the whole call with the default search, against SASRec, for each shape; other ways in ``more``."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as a service does
    shapes = {"the model of configs/beauty.yaml": configured_shape(), "the published size": published_shape()}
    return [row_of(name, shape, size) for name, shape in shapes.items()]


def row_of(name: str, shape: ModelConfig, size: Size) -> Row:
    """One shape against a SASRec of its width."""
    small = size == "smoke"
    requests, warm_ups, k = (10, 2, 3) if small else (REQUESTS, WARM_UPS, K)
    work = beauty(size)
    recommender = recommender_of(work, 10 if small else 128, shape)
    rows = np.random.default_rng(0).permutation(len(work.cases))[: warm_ups + requests]
    named = [[f"item {item}" for item in work.cases[row]] for row in rows]
    recent = [torch.from_numpy(work.cases[row][-shape.max_history :].astype(np.int64))[None] for row in rows]
    rival = SASRec(work.n_items, shape.hidden_size, shape.max_history).eval()

    def bare(method: str) -> Callable[[int], object]:
        config = SearchConfig(method)  # type: ignore[arg-type]
        lengths = [torch.tensor([history.shape[1]]) for history in recent]
        return lambda i: search(recommender.model, recent[i], lengths[i], k, [recent[i]], config)

    sides: dict[str, Callable[[int], object]] = {
        "ours": lambda i: recommender.recommend([named[i]], k),
        "SASRec": lambda i: rival.top(recent[i], k),
        **{f"bare search, {method}": bare(method) for method in METHODS},
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for i in range(warm_ups + requests):  # in turns, a request at a time
        for side, call in sides.items():
            seconds[side].append(timed(call, i))
    seconds = {side: values[warm_ups:] for side, values in seconds.items()}
    both = Seconds(*(in_parts(seconds[side]) for side in ("ours", "SASRec")))
    found = {side: quantiles(values) for side, values in seconds.items()}
    return compared(
        6, f"one request on one core ({name}), against SASRec of its width", both, "ms",
        requests=requests, items=work.n_items, k=k, threads=1, real_histories=work.real, width=shape.hidden_size,
        method=recommender.search.method, p99_ms=found["ours"]["p99"], milliseconds=found,
    )  # fmt: skip


def configured_shape() -> ModelConfig:
    """The model of configs/beauty.yaml; its content vectors, which are worked out before, are left out."""
    return replace(parse_config(["--config", str(CONFIG)]).model, item_content=False, code_content=False)


def recommender_of(work: Workload, branching: int, config: ModelConfig) -> Recommender:
    """A recommender with random weights and codes, and the default search."""
    codes = {}
    for seed, stream in enumerate(config.streams):
        array = balanced_codes(work.n_items, branching, seed)
        codes[stream] = Codes(array, (branching,) * array.shape[1])
    items = pl.DataFrame({
        "item_id": [f"item {i}" for i in range(work.n_items)],
        "title": [f"The name of item {i}" for i in range(work.n_items)],
        "train_count": np.bincount(work.train.items, minlength=work.n_items),
    })  # fmt: skip
    torch.manual_seed(0)
    return Recommender.build(config, codes, None, items, SearchConfig())


def timed(call: Callable[[int], object], i: int) -> float:
    """Seconds of one request; garbage is collected when Python does, as in a service."""
    start = time.perf_counter()
    call(i)
    return time.perf_counter() - start


def in_parts(seconds: list[float], parts: int = 5) -> list[float]:
    """The median of each of a few runs of consecutive requests: the spread is of these."""
    return [statistics.median(part.tolist()) for part in np.array_split(np.array(seconds), parts)]


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and largest, in milliseconds."""
    values = 1e3 * np.array(seconds)
    return {
        "median": round(float(np.median(values)), 2), "p99": round(float(np.quantile(values, 0.99)), 2),
        "most": round(float(values.max()), 2),
    }  # fmt: skip

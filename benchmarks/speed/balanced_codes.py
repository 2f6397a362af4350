"""Row 8: balanced codes, against k-means of equal sizes by min-cost flow and against k-means that leaves sizes free.

Embeddings are drawn: points about many centres, one for some 200 items. Rivals split once, so one level of ours stands
beside them (``balanced_kmeans``, in the way that a fit of as many items takes); ``all codes`` is the whole tree. A
rival that leaves sizes free solves an easier problem: both inertias are stated.

Settings: k-means-constrained with one start, as ours has (its ``n_jobs`` shares out starts, so one is enough), and its
defaults otherwise. faiss ``Kmeans`` as it comes: 25 rounds on at most 256 points a centre; the search that gives all
items their centre is part of it. scikit-learn ``KMeans`` with one k-means++ start; from a million items on
``MiniBatchKMeans``, which its guide recommends there.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.speed.machine import peak_mb
from benchmarks.speed.rivals.exact_assignment import exact_assignment
from benchmarks.speed.timing import Point, Row, Seconds, alone, alternate, compared, once, repeat
from benchmarks.speed.workload import Size
from tokenizer import TokenizerConfig, fit_codes
from tokenizer.assignment import balanced_assign
from tokenizer.balanced import FINE, balanced_kmeans
from tokenizer.hierarchical import QUICK_FROM
from tokenizer.kmeans import squared_distances
from tokenizer.prepare import standardize, to_space
from tokenizer.report import group_inertia

ROW = 8
ITEMS_A_CENTRE = 200
ROWS_AT_ONCE = 1 << 16
MINI_BATCHES_FROM = 1_000_000
"""Items from which scikit-learn's guide has mini-batches."""


@dataclass(frozen=True)
class Shape:
    """One size: how many embeddings of how many dimensions, cut into how many codes a level, measured how often."""

    n_items: int
    dimensions: int
    branching: int = 256
    repetitions: int = 5

    def __str__(self) -> str:
        return f"{self.n_items:,} × {self.dimensions}"


SHAPES = {
    "full": [Shape(12_101, 768), Shape(100_000, 384, repetitions=3), Shape(1_000_000, 384, repetitions=1)],
    "smoke": [Shape(301, 12, 8, 1), Shape(600, 8, 8, 1)],
}
GROWTH = {"full": (1_000, 10_000, 100_000, 1_000_000), "smoke": (100, 200, 400, 800)}
GROWTH_DIMENSIONS = {"full": (64, 128, 256, 384, 768), "smoke": (2, 4, 8, 16)}
DIMENSIONS, ITEMS = {"full": 128, "smoke": 8}, {"full": 20_000, "smoke": 200}  # of the other axis


def measure(size: Size) -> list[Row]:
    """All lines: k-means of equal sizes at the first size, k-means of free sizes at each, and the whole codes
    (without a rival, three repetitions at most).
    """
    first, *_ = SHAPES[size]
    rows = [against_constrained(first)]
    for shape in SHAPES[size]:
        rows += against_free_sizes(shape)
    return rows + [whole_codes(replace(shape, repetitions=min(3, shape.repetitions))) for shape in SHAPES[size]]


def growth(size: Size) -> list[Point]:
    """Seconds of ``fit_codes`` over catalogue sizes and over dimensions."""
    branching = 256 if size == "full" else 8
    points = []
    for n_items in GROWTH[size]:
        shape = Shape(n_items, DIMENSIONS[size], branching, 1 if n_items > 200_000 else 3)
        seconds = statistics.median(fit_seconds(shape)["seconds"])
        points.append(Point(ROW, "catalogue (items)", "ours", n_items, seconds))
    for dimensions in GROWTH_DIMENSIONS[size]:
        seconds = statistics.median(fit_seconds(Shape(ITEMS[size], dimensions, branching, 3))["seconds"])
        points.append(Point(ROW, "embedding (dimensions)", "ours", dimensions, seconds))
    return points


def clustered(n_items: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """(n_items, dimensions) float32: points of unit variance about centres of 1.5 times that spread."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n_items // ITEMS_A_CENTRE), dimensions), dtype=np.float32)
    out = np.empty((n_items, dimensions), dtype=np.float32)
    for start in range(0, n_items, ROWS_AT_ONCE):
        part = out[start : start + ROWS_AT_ONCE]
        rng.standard_normal(out=part, dtype=np.float32)
        part += 1.5 * centres[rng.integers(len(centres), size=len(part))]
    return out


def one_level(embeddings: np.ndarray, branching: int, quick: bool | None = None) -> np.ndarray:
    """(n_items,) int64: our equal-sized clusters, straight from the embeddings.

    quick: the way of ``balanced_kmeans``; None is the one that a fit of as many items takes
    """
    quick = len(embeddings) >= QUICK_FROM if quick is None else quick
    points = standardize(to_space(embeddings, normalize=False))[0]
    config = TokenizerConfig(branching=branching)
    rng = np.random.default_rng(0)
    return balanced_kmeans(points[None], branching, rng, config.max_rounds, config.n_init, quick).labels[0].numpy()


def against_constrained(shape: Shape) -> Row:
    """One level against k-means-constrained, and its assignment against the exact one for the same centres."""
    embeddings = clustered(shape.n_items, shape.dimensions)
    seconds, labels = in_turns(
        partial(one_level, embeddings, shape.branching), partial(constrained, embeddings, shape.branching), shape
    )
    careful_or_quick = {}
    for name, quick in (("careful", False), ("quick", True)):
        found: list[np.ndarray] = []
        took = repeat(lambda quick=quick, found=found: found.append(one_level(embeddings, shape.branching, quick)), 3)
        careful_or_quick[f"{name}_seconds"] = statistics.median(took)
        careful_or_quick[f"{name}_inertia"] = group_inertia(embeddings, found[-1])
    return compared(
        ROW, f"one level, {shape}, against k-means-constrained", seconds,
        **about(shape), **inertias(embeddings, *labels), sizes=sizes(labels[0]), rival_sizes=sizes(labels[1]),
        **careful_or_quick, **over_exact(embeddings, labels[0]),
    )  # fmt: skip


def against_free_sizes(shape: Shape) -> list[Row]:
    """One level against faiss and scikit-learn, whose clusters may have any size."""
    embeddings = clustered(shape.n_items, shape.dimensions)
    sklearn = "MiniBatchKMeans" if shape.n_items >= MINI_BATCHES_FROM else "KMeans"
    rows = []
    for name, rival in (("faiss Kmeans", faiss_kmeans), (f"scikit-learn {sklearn}", sklearn_kmeans)):
        seconds, labels = in_turns(
            partial(one_level, embeddings, shape.branching), partial(rival, embeddings, shape.branching), shape
        )
        rows.append(compared(
            ROW, f"one level, {shape}, against {name} (free sizes)", seconds,
            **about(shape), **inertias(embeddings, *labels), sizes=sizes(labels[0]), rival_sizes=sizes(labels[1]),
        ))  # fmt: skip
    return rows


def whole_codes(shape: Shape) -> Row:
    """The whole tree, in a process of its own: seconds, and the most memory it held, embeddings included."""
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        fitted = pool.apply(fit_seconds, (shape,))
    seconds = fitted.pop("seconds")
    return alone(ROW, f"all codes, {shape}", seconds, **about(shape), **fitted)


def fit_seconds(shape: Shape) -> dict[str, Any]:
    """Fit codes; without a warm-up where one fit is all there is. Peak memory is that of this process so far."""
    embeddings = clustered(shape.n_items, shape.dimensions)
    config = TokenizerConfig(branching=shape.branching)
    fits = []

    def fit() -> None:
        fits[:] = [fit_codes(embeddings, config, seed=0)]

    cpu = time.process_time()
    seconds = repeat(fit, shape.repetitions, warmups=min(1, shape.repetitions - 1))
    cpu = (time.process_time() - cpu) / (shape.repetitions + min(1, shape.repetitions - 1))
    codes = fits[0].codes
    first = group_inertia(embeddings, codes[:, 0]) if codes.shape[1] > 1 else None
    return {
        "seconds": seconds, "cpu_seconds": cpu, "peak_mb": round(peak_mb()), "depth": codes.shape[1],
        "sizes": sizes(codes[:, 0]), "first_level_inertia": first,
    }  # fmt: skip


def in_turns(
    ours: Callable[[], np.ndarray], rival: Callable[[], np.ndarray], shape: Shape
) -> tuple[Seconds, tuple[np.ndarray, np.ndarray]]:
    """Time both in turns, and keep the clusters that each found last; no warm-up where one turn is all there is."""
    found = {}

    def keep(side: str, work: Callable[[], np.ndarray]) -> None:
        found[side] = work()

    seconds = alternate(
        partial(keep, "ours", ours), partial(keep, "rival", rival), shape.repetitions, min(1, shape.repetitions - 1)
    )
    return seconds, (found["ours"], found["rival"])


def constrained(embeddings: np.ndarray, branching: int) -> np.ndarray:
    """Labels of k-means-constrained with the least and largest size that equal sizes need."""
    from k_means_constrained import KMeansConstrained

    n = len(embeddings)
    model = KMeansConstrained(branching, size_min=n // branching, size_max=-(-n // branching), n_init=1, random_state=0)
    return model.fit(embeddings).labels_


def faiss_kmeans(embeddings: np.ndarray, branching: int) -> np.ndarray:
    """Labels of faiss's k-means."""
    import faiss

    model = faiss.Kmeans(embeddings.shape[1], branching, seed=0)
    model.train(embeddings)
    return model.index.search(embeddings, 1)[1][:, 0]


def sklearn_kmeans(embeddings: np.ndarray, branching: int) -> np.ndarray:
    """Labels of scikit-learn's k-means, in mini-batches from a million items on."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = MiniBatchKMeans if len(embeddings) >= MINI_BATCHES_FROM else KMeans
    return kind(branching, n_init=1, random_state=0).fit(embeddings).labels_


def over_exact(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Total cost of our assignment to the means of some clusters, over the least possible one of equal sizes."""
    points = standardize(to_space(embeddings, normalize=False))[0]
    order = np.argsort(labels, kind="stable")
    centres = torch.stack([points[part].mean(dim=0) for part in np.split(order, np.cumsum(np.bincount(labels))[:-1])])
    cost = squared_distances(points, centres)
    tolerance = FINE * cost.amin(dim=1).mean()
    own = balanced_assign(cost[None], tolerance[None], quick=len(points) >= QUICK_FROM)[0][0].numpy()
    exact: list[np.ndarray] = []
    seconds = once(lambda: exact.append(exact_assignment(cost.double().numpy())))
    each = np.arange(len(points))
    total, least = (float(cost.double().numpy()[each, which].sum()) for which in (own, exact[0]))
    return {"assignment_over_exact": total / least, "exact_assignment_seconds": seconds}


def about(shape: Shape) -> dict[str, Any]:
    return {"items": shape.n_items, "dimensions": shape.dimensions, "branching": shape.branching}


def inertias(embeddings: np.ndarray, ours: np.ndarray, rival: np.ndarray) -> dict[str, float]:
    """Sums of squared distances to the own mean, in the units of the embeddings."""
    own, other = group_inertia(embeddings, ours), group_inertia(embeddings, rival)
    return {"inertia": own, "rival_inertia": other, "inertia_over_rival": own / other}


def sizes(labels: np.ndarray) -> list[int]:
    """Smallest and largest cluster."""
    counts = np.bincount(labels)
    return [int(counts.min()), int(counts.max())]

"""How long balanced codes take as the catalogue grows, how much memory, and what equal sizes cost in inertia.

    python benchmarks/tokenizer_scaling.py --sizes 12000 100000 --dimensions 128 --out scaling.json

Embeddings are points about many centres, one centre for some 200 items. Each size runs in a process of its own,
so that its peak memory is its own: that of the whole process, embeddings included. ``inertia_over_kmeans`` is the
inertia of the first code level over that of plain k-means (``tokenizer.kmeans``) with as many centres, which
need not keep sizes equal; it is left out with --no-kmeans.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import time
from pathlib import Path

import numpy as np
import torch

from tokenizer import TokenizerConfig, fit_codes
from tokenizer.kmeans import kmeans
from tokenizer.prepare import standardize, to_space
from tokenizer.report import group_inertia

ITEMS_A_CENTRE = 200
ROWS_AT_ONCE = 1 << 16


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


def measure(n_items: int, dimensions: int, branching: int, threads: int, with_kmeans: bool) -> dict[str, object]:
    """Fit once; peak memory is that of this process so far."""
    torch.set_num_threads(threads)
    embeddings = clustered(n_items, dimensions)
    wall, cpu = time.perf_counter(), time.process_time()
    codes = fit_codes(embeddings, TokenizerConfig(branching=branching), seed=0)
    result: dict[str, object] = {"items": n_items, "dimensions": dimensions, "branching": branching}
    result |= {"threads": threads, "depth": codes.depth}
    result["seconds"] = round(time.perf_counter() - wall, 2)
    result["cpu_seconds"] = round(time.process_time() - cpu, 2)
    result["peak_mb"] = round(peak_bytes() / 1e6)
    first = codes.codes[:, 0]
    sizes = np.bincount(first)
    result |= {"smallest": int(sizes.min()), "largest": int(sizes.max())}
    if with_kmeans:
        points, _, scale = standardize(to_space(embeddings, normalize=False))
        plain = kmeans(points, branching, np.random.default_rng(0)).inertia * scale**2
        result["inertia_over_kmeans"] = round(float(group_inertia(embeddings, first)) / plain, 4) if plain > 0 else None
    return result


def peak_bytes() -> int:
    """Most memory that this process has held; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def main(arguments: list[str] | None = None) -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[12_000, 30_000, 100_000])
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--branching", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-kmeans", action="store_true", help="leave out plain k-means, the most of a small run")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)
    rows = []
    spawn = multiprocessing.get_context("spawn")
    for size in options.sizes:
        task = (size, options.dimensions, options.branching, options.threads, not options.no_kmeans)
        with spawn.Pool(1) as pool:
            rows.append(pool.apply(measure, task))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.out:
        machine = {"cpu": platform.processor() or platform.machine(), "torch": torch.__version__}
        options.out.write_text(json.dumps({"hardware": machine, "results": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

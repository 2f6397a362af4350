"""Which layout of the trie pays at which size: dense table of children against CSR, time and memory.

    python -m benchmarks.trie_layout --sizes 12000 100000 1000000

Random codes of 4 levels of 256 (mostly only children), or codes of an equal-sized tree as the tokenizer
makes them; a step of 2,560 beams at the last inner level (the largest, and the one whose layout is in
question). Each figure is the median of interleaved repetitions on one thread. ``DENSE_CELLS`` and
``DENSE_PER_CHILD`` in indexing/trie.py were set from this table; --out writes it as JSON.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.workload import balanced_codes
from indexing import Trie

BEAMS = 2560
WIDTH = 256
DEPTH = 4


def random_codes(n_items: int, seed: int = 0) -> np.ndarray:
    """(n_items, 4) distinct random codes of 4 levels of 256."""
    rng = np.random.default_rng(seed)
    cells = np.empty(0, dtype=np.int64)
    while len(cells) < n_items:  # few collisions: one or two rounds
        cells = np.unique(np.concatenate([cells, rng.integers(0, WIDTH**DEPTH, n_items)]))
    cells = rng.permutation(cells)[:n_items]
    return np.stack([cells >> 24, cells >> 16 & 255, cells >> 8 & 255, cells & 255], 1).astype(np.int32)


def interleaved(work: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median milliseconds of each, one repetition of every one after the other, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for repetition in range(repetitions + 2):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            if repetition >= 2:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(codes: np.ndarray, layout: str, repetitions: int) -> dict[str, object]:
    """Build one trie and time its look-ups; the nodes are other random ones at every call."""
    start = time.perf_counter()
    trie = Trie.from_codes(codes, (WIDTH,) * codes.shape[1], layout)  # type: ignore[arg-type]
    build_s = time.perf_counter() - start
    level = trie.depth - 1
    generator = torch.Generator().manual_seed(0)

    def nodes() -> torch.Tensor:
        return torch.randint(0, trie.n_nodes[level], (BEAMS,), generator=generator)

    picked = torch.randint(0, WIDTH, (BEAMS,), generator=generator)
    result: dict[str, object] = {"items": len(codes), "layout": layout, "nodes": trie.n_nodes[level]}
    result |= {"build_s": round(build_s, 2), "trie_mb": round(trie.nbytes / 1e6, 1)}
    work: dict[str, Callable[[], object]] = {
        "mask_ms": lambda: trie.mask(level, nodes()),
        "children_ms": lambda: trie.children(level, nodes()),
        "child_ms": lambda: trie.child(level, nodes(), picked),
    }
    return result | {name: round(value, 3) for name, value in interleaved(work, repetitions).items()}


def main() -> None:
    """Print one line a size and layout."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[12_000, 100_000, 1_000_000])
    parser.add_argument("--codes", choices=["random", "balanced"], default="random")
    parser.add_argument("--dense-up-to", type=int, default=1_000_000, help="no dense table for more items")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make = random_codes if arguments.codes == "random" else balanced_codes
    rows = []
    for size in arguments.sizes:
        codes = make(size)
        for layout in ("dense", "auto", "csr"):
            if layout != "dense" or size <= arguments.dense_up_to:
                rows.append(measure(codes, layout, arguments.repetitions))
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if arguments.out:
        machine = {"cpu": platform.processor() or platform.machine(), "torch": torch.__version__}
        document = {"hardware": machine, "codes": arguments.codes, "beams": BEAMS, "results": rows}
        arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Row 7: which codes may follow 2,560 beams, at 12 thousand, one million and ten million items.

Random codes of 4 levels of 256; the beams stand at random nodes of the last inner level, which has the most nodes (at
ten million items nearly as many as items). All sides answer with the same (beams, 256) mask. The dictionary is built
only up to a million items (0.2 GB by ``nbytes``); ten million would take ten times that, and as long to build. The
compare with every row is timed on fewer beams and scaled up: its time is proportional to them.
"""

import statistics
import time

import numpy as np
import torch

from benchmarks.speed.rivals.trie_rivals import DictionaryTrie, EveryRow
from benchmarks.speed.timing import Row, Seconds, alternate, compared
from benchmarks.speed.workload import Size
from benchmarks.trie_layout import BEAMS, DEPTH, WIDTH, random_codes
from indexing import Trie

SIZES = (12_000, 1_000_000, 10_000_000)
LARGEST_DICTIONARY = 1_000_000  # items
COMPARED_CELLS = 200_000_000  # rows x beams that one repetition of the compare looks at
CALLS = 20  # of ours in a repetition: one call takes less than a millisecond


def measure(size: Size) -> list[Row]:
    """A row for each size and rival; ``flat`` is our time over that at the smallest size."""
    sizes, cells = ((200, 500), 2_000) if size == "smoke" else (SIZES, COMPARED_CELLS)
    rows: list[Row] = []
    first: float | None = None
    for n_items in sizes:
        codes = random_codes(n_items)
        start = time.perf_counter()
        trie = Trie.from_codes(codes, (WIDTH,) * DEPTH)
        built = time.perf_counter() - start
        level = DEPTH - 1
        nodes = torch.from_numpy(np.random.default_rng(0).integers(0, trie.n_nodes[level], BEAMS))
        ids, prefixes = nodes, torch.empty(BEAMS, level, dtype=torch.int64)
        for above in range(level, 0, -1):
            prefixes[:, above - 1] = trie.codes_at(above, ids)
            ids = trie.parents_at(above, ids)
        named = [tuple(prefix) for prefix in prefixes.tolist()]
        truth = trie.mask(level, nodes)

        def ours(trie: Trie = trie, level: int = level, nodes: torch.Tensor = nodes) -> None:
            for _ in range(CALLS):
                trie.mask(level, nodes)

        few = max(1, min(BEAMS, cells // n_items))
        every = EveryRow(codes, WIDTH)
        assert torch.equal(every.mask(prefixes[:few]), truth[:few])
        sides = {"a compare with every row": (lambda every=every, p=prefixes[:few]: every.mask(p), few, every.nbytes)}
        if n_items <= LARGEST_DICTIONARY:
            dictionary = DictionaryTrie(codes, WIDTH)
            assert torch.equal(dictionary.mask(named), truth)
            sides["a dictionary"] = (lambda d=dictionary, names=named: d.mask(names), BEAMS, dictionary.nbytes)
        for name, (rival, beams, rival_bytes) in sides.items():
            seconds = alternate(ours, rival)
            step = statistics.median(seconds.ours) / CALLS
            first = step if first is None else first
            per_step = Seconds([s / CALLS for s in seconds.ours], [s * BEAMS / beams for s in seconds.rival])
            rows.append(
                compared(
                    7,
                    f"masks of {BEAMS:,} beams, {n_items:,} items, against {name}",
                    per_step,
                    "ms",
                    items=n_items,
                    nodes=trie.n_nodes[level],
                    trie_mb=round(trie.nbytes / 1e6, 1),
                    build_s=round(built, 2),
                    rival_mb=round(rival_bytes / 1e6, 1),
                    rival_beams=beams,
                    flat=round(step / first, 2),
                    masks_equal=True,
                )
            )
    return rows

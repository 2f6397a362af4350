"""Row 5: every item of the catalogue ranked for every user of Amazon Beauty, against the beam of row 4."""

import numpy as np

from benchmarks.speed.beam_search import BEAMS, K, OurSearch, fastest
from benchmarks.speed.timing import Point, Row, alternate, compared, once, repeat
from benchmarks.speed.workload import Size, beauty, drawn, fresh_model
from gen_rec.memory import keep_freed_memory
from gen_rec.retrieval import SearchConfig

BATCHES = (32, 64, 128, 256)
PROBE = 1024  # users by which each side's batch size is chosen


def measure(size: Size) -> list[Row]:
    """The exact ranking of all users against their beam search, each with its best batch size."""
    small = size == "smoke"
    beams, k, probe, batches = (5, 3, 16, (8,)) if small else (BEAMS, K, PROBE, BATCHES)
    work = beauty(size)
    model = fresh_model(work.n_items, 10 if small else 128).eval()

    keep_freed_memory()

    def side(method: str, users: int, batch: int) -> OurSearch:
        return OurSearch(model, work, users, SearchConfig(method, beams, batch_size=batch), k)  # type: ignore[arg-type]

    chosen = {
        method: fastest(batches, lambda batch, method=method: once(side(method, probe, batch)))  # type: ignore[misc]
        for method in ("exact", "beam")
    }
    users = len(work.cases)
    exact, beam = (side(method, users, chosen[method]) for method in ("exact", "beam"))
    seconds = alternate(exact, beam)
    return [
        compared(
            5, f"exact ranking of {work.n_items:,} items, 2 streams, against a beam of {beams}", seconds, "users/s",
            users,
            users=users, k=k, batch=chosen["exact"], rival_batch=chosen["beam"], real_histories=work.real,
            nodes=max(decoder.trie.n_nodes[-2] for decoder in model.streams.values()),
        )
    ]  # fmt: skip


def growth(size: Size) -> list[Point]:
    """Seconds of the exact ranking, and of the beam beside it, as the catalogue and the batch grow."""
    small = size == "smoke"
    catalogues = (60, 120, 240, 480) if small else (1_000, 10_000, 100_000, 1_000_000)
    batches = (2, 4, 8, 16) if small else (1, 8, 64, 512)
    branching, k = (20, 3) if small else (256, K)
    points = []
    for n_items in catalogues:
        users = 4 if small else 64 if n_items <= 10_000 else 1  # beyond, tens of thousands of prefixes for each user
        work, model = drawn(users, n_items), fresh_model(n_items, branching).eval()
        ours = OurSearch(model, work, users, SearchConfig("exact", batch_size=users), k)
        seconds = float(np.median(repeat(ours)))
        points.append(Point(5, "catalogue (items)", "ours", n_items, seconds * 64 / users))  # for 64 users each
    work, model = drawn(max(batches), 300 if small else 12_101), fresh_model(300 if small else 12_101, branching).eval()
    for n in batches:
        ours = OurSearch(model, work, n, SearchConfig("exact", batch_size=n), k)
        points.append(Point(5, "batch (users)", "ours", n, float(np.median(repeat(ours)))))
    return points

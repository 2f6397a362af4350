"""Row 4: constrained beam search of both streams, against ``generate`` of Hugging Face and against re-encoding.

Both sides start from histories as rows of items, include the encoder and end with the list of each stream; what ours
takes with the lists fused, and with products in bfloat16, is in ``more``. Histories are those of 1,024 users of Amazon
Beauty, and ours come in batches of like length, as ``search_cases`` makes them. Rivals do fewer of the same users in a
repetition, and are compared by users a second. Freed memory is kept, as in training: without that the system clears
pages for every batch anew.
"""

import statistics
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.rivals import re_encoding
from benchmarks.speed.rivals.hf_generate import GenerateSearch
from benchmarks.speed.timing import Point, Row, alternate, compared, once, repeat
from benchmarks.speed.workload import Size, Workload, beauty, drawn, fresh_model, published_shape
from gen_rec.memory import keep_freed_memory
from gen_rec.models.scoring import stream_scorers
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.precision import Precision, multiplies_bfloat16, product_type
from gen_rec.retrieval import SearchConfig, search, take
from indexing import Ranked, beam_search

USERS, BEAMS, K = 1024, 50, 20
OUR_BATCHES = (64, 128, 256, 512)
RIVAL_BATCHES = (4, 8, 16, 32, 64)
RIVAL_USERS = 64  # of the same histories, for each repetition of a rival


class OurSearch:
    """Ranked lists for some histories: both streams searched, and fused or not."""

    def __init__(
        self, model: TwoStreamModel, work: Workload, users: int, config: SearchConfig, k: int = K, fused: bool = True
    ) -> None:
        self.model, self.config, self.k, self.fused = model, config, k, fused
        rows = users_of(work, users)
        self.cases = take(work.cases, rows[np.argsort(work.cases.lengths[rows], kind="stable")])

    def __call__(self) -> None:
        for start in range(0, len(self.cases), self.config.batch_size):
            batch = np.arange(start, min(len(self.cases), start + self.config.batch_size))
            some = take(self.cases, batch)
            longest = max(1, min(int(some.lengths.max()), self.model.config.max_history))
            history, lengths = some.last(longest)
            self.search(torch.from_numpy(history), torch.from_numpy(lengths))

    @torch.no_grad()
    def search(self, history: Tensor, lengths: Tensor) -> dict[str, Ranked]:
        """The list of each stream for one batch."""
        if self.fused:
            return search(self.model, history, lengths, self.k, [None], self.config)[0].streams
        scorers = stream_scorers(self.model, history, lengths, product_type(self.config.precision, history.device))
        return {
            name: beam_search(scorer, self.model.streams[name].trie, self.config.beams, self.k)
            for name, scorer in scorers.items()
        }


def users_of(work: Workload, users: int) -> np.ndarray:
    """The same random users for every measurement."""
    return np.random.default_rng(0).permutation(len(work.cases))[:users]


def histories_of(work: Workload, users: int, max_history: int) -> tuple[Tensor, Tensor]:
    """The histories of the first of those users, padded to the longest that a model reads."""
    history, lengths = take(work.cases, users_of(work, users)).last(max_history)
    return torch.from_numpy(history), torch.from_numpy(lengths)


def in_batches(work: Callable[[Tensor, Tensor], object], histories: tuple[Tensor, Tensor], size: int) -> None:
    """Call with ``size`` histories after the other."""
    for history, lengths in zip(*(part.split(size) for part in histories), strict=True):
        work(history, lengths)


def fastest(sizes: tuple[int, ...], seconds: Callable[[int], float]) -> int:
    """The batch size with the least seconds, each tried once after a warm-up."""
    return min(sizes, key=lambda size: min(seconds(size) for _ in range(2)))


def measure(size: Size) -> list[Row]:
    """One row for each rival."""
    small = size == "smoke"
    users, rival_users, beams, k = (16, 4, 5, 3) if small else (USERS, RIVAL_USERS, BEAMS, K)
    our_batches, rival_batches = ((8,), (2,)) if small else (OUR_BATCHES, RIVAL_BATCHES)
    work = beauty(size)
    model = fresh_model(work.n_items, 10 if small else 128).eval()
    shape = model.config

    def ours_of(batch: int, fused: bool = False, precision: Precision = "float32") -> OurSearch:
        config = SearchConfig("beam", beams, batch_size=batch, precision=precision)
        return OurSearch(model, work, users, config, k, fused)

    keep_freed_memory()
    our_batch = fastest(our_batches, lambda batch: once(ours_of(batch)))
    ours = ours_of(our_batch)
    with_fusion = statistics.median(repeat(ours_of(our_batch, fused=True)))
    rounded = statistics.median(repeat(ours_of(our_batch, precision="bfloat16")))
    histories = histories_of(work, rival_users, shape.max_history)
    generators = [GenerateSearch(shape, decoder.trie) for decoder in model.streams.values()]
    rivals: dict[str, Callable[[Tensor, Tensor], object]] = {
        "Hugging Face generate": lambda history, lengths: [g.search(history, lengths, beams, k) for g in generators],
        "re-encoding every beam": lambda history, lengths: re_encoding.search(model, history, lengths, beams, k),
    }
    more = {
        "items": work.n_items, "beams": beams, "k": k, "users": users, "rival_users": rival_users,
        "batch": our_batch, "users_per_second_with_fusion": round(users / with_fusion), "real_histories": work.real,
        "users_per_second_bfloat16": round(users / rounded), "native_bfloat16": multiplies_bfloat16(),
        "agreement_with_re_encoding": agreement(ours, work, rival_users),
    }  # fmt: skip
    rows = []
    for name, rival in rivals.items():
        batch = fastest(rival_batches, lambda n, rival=rival: once(lambda: in_batches(rival, histories, n)))  # type: ignore[misc]
        seconds = alternate(ours, lambda rival=rival, batch=batch: in_batches(rival, histories, batch))  # type: ignore[misc]
        rows.append(
            compared(
                4,
                f"beam search, 2 streams x {beams} beams, against {name}",
                seconds,
                "users/s",
                users,
                rival_users,
                rival_batch=batch,
                **more,
            )
        )
    return rows


def agreement(ours: OurSearch, work: Workload, users: int) -> float:
    """Share of places of the streams' lists at which ours and re-encoding name the same item."""
    history, lengths = histories_of(work, users, ours.model.config.max_history)
    mine = ours.search(history, lengths)
    theirs = re_encoding.search(ours.model, history, lengths, ours.config.beams, ours.k)
    same = [float((mine[name].items == items).float().mean()) for name, (items, _) in theirs.items()]
    return round(sum(same) / len(same), 4)


def growth(size: Size) -> list[Point]:
    """Seconds of our search as the catalogue, the history, the batch and the beams grow."""
    small = size == "smoke"
    catalogues = (60, 120, 240, 480) if small else (1_000, 10_000, 100_000, 1_000_000)
    lengths = (5, 10, 20, 40) if small else (10, 25, 50, 100, 200)
    batches = (2, 4, 8, 16) if small else (1, 8, 64, 512)
    beams = (2, 4, 8, 16) if small else (10, 25, 50, 100, 200)
    users, k, branching, items = (8, 3, 20, 300) if small else (128, K, 256, 12_101)
    points = []
    for n_items in catalogues:
        model = fresh_model(n_items, branching).eval()
        points.append(_point("catalogue (items)", n_items, model, drawn(users, n_items), users, BEAMS, users, k))
    for n in lengths:
        model = fresh_model(items, branching, published_shape(max_history=n)).eval()
        full = drawn(users, items, mean_length=50 * n, max_length=n + 2)  # nearly every history fills its n places
        points.append(_point("history (items)", n, model, full, users, BEAMS, users, k))
    model = fresh_model(items, branching).eval()
    work = drawn(max(batches), items)
    points += [_point("batch (users)", n, model, work, n, BEAMS, n, k) for n in batches]
    points += [_point("beams", n, model, work, min(users, len(work.cases)), n, users, k) for n in beams]
    return points


def _point(
    axis: str, size: int, model: TwoStreamModel, work: Workload, users: int, beams: int, batch: int, k: int
) -> Point:
    """One search of ``users`` users, a batch at a time."""
    ours = OurSearch(model, work, users, SearchConfig("beam", beams, batch_size=batch), k, fused=False)
    return Point(4, axis, "ours", size, float(np.median(repeat(ours))))

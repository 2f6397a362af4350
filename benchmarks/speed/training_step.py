"""Rows 1 and 2: a training step at the published size, against its published arrangement and against its bound.

Both sides learn the generation loss of both streams, as the published code does by default (the auxiliary tasks are off
there), with the same dropout, gradient clipping and fused AdamW, on the training part of Amazon Beauty. The rival takes
what its authors take: 256 rows, one a target, every history padded to 19; ours 512 users. ``more`` tells what other
batch sizes do for either side, what histories padded only to the longest of a batch would do for the rival, and what
our whole objective costs.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from benchmarks.speed.products import products_of_step, rate_of_products
from benchmarks.speed.rivals.published_step import PublishedModel
from benchmarks.speed.timing import Point, Row, alternate, compared, repeat
from benchmarks.speed.workload import Size, Workload, beauty, drawn, fresh_model, published_shape
from gen_rec.data.batches import Int64Array, TrainingRows, causal_rows, epoch_batches, prefix_rows
from gen_rec.memory import keep_freed_memory
from gen_rec.models.config import ModelConfig
from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.objectives.eager import Batch, EagerObjective
from gen_rec.training.config import TrainingConfig
from gen_rec.training.schedule import make_optimizer

OUR_ROWS, PUBLISHED_ROWS = 512, 256  # of a batch: users on our side, targets on the other
N_GROWTH_ITEMS = 12_101
EMBEDDING = 96  # width of the frozen tables that the contrastive task reads
GENERATION_ONLY = ObjectiveConfig(contrastive="off", transfer=False)


class OurStep:
    """One optimiser step of ours on the next batch, as the trainer takes it."""

    def __init__(self, work: Workload, shape: ModelConfig, objective: ObjectiveConfig, rows: int) -> None:
        self.model = fresh_model(work.n_items, config=shape)
        tables = {name: torch.randn(work.n_items, EMBEDDING) for name in shape.streams}
        self.objective = EagerObjective(self.model, tables, objective).train()
        self.optimizer = make_optimizer(self.objective, TrainingConfig())
        self.rows = causal_rows(work.train, shape.max_history)
        self.batches = batches_of(self.rows, rows)

    def __call__(self, rows: Int64Array) -> int:
        """Learn from some rows; returns their targets."""
        batch = Batch(*(torch.from_numpy(array) for array in self.rows.batch(rows)))
        self.objective(batch)["loss"].backward()
        nn.utils.clip_grad_norm_(self.objective.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return int((batch.targets >= 0).sum())


class PublishedStep:
    """One optimiser step of the published arrangement."""

    def __init__(self, ours: OurStep, work: Workload, shape: ModelConfig, rows: int, padded: bool = True) -> None:
        tries = {name: decoder.trie for name, decoder in ours.model.streams.items()}
        self.model = PublishedModel(shape, tries).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.rows = prefix_rows(work.train, shape.max_history)
        self.width = shape.max_history if padded else 0
        self.batches = batches_of(self.rows, rows)

    def __call__(self, rows: Int64Array) -> int:
        """Learn from some rows; returns their targets."""
        batch = self.rows.batch(rows)
        missing = max(0, self.width - batch.history.shape[1])
        history = np.pad(batch.history, ((0, 0), (0, missing)), constant_values=-1)
        self.model(torch.from_numpy(history), torch.from_numpy(batch.targets[:, 0])).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return len(rows)


def batches_of(rows: TrainingRows, size: int) -> list[Int64Array]:
    """The batches of the first epoch; the one with the most padded positions comes first, so that memory is had."""
    batches = epoch_batches(rows.lengths, size, seed=0, epoch=0)
    largest = max(range(len(batches)), key=lambda i: int(rows.lengths[batches[i]].max()) * len(batches[i]))
    batches[0], batches[largest] = batches[largest], batches[0]
    return batches


def sample_of(step: OurStep | PublishedStep, batches: int) -> list[Int64Array]:
    """Some batches with histories as long as those of the whole epoch: every so many of them in order of length."""
    order = sorted(step.batches, key=lambda rows: float(step.rows.lengths[rows].mean()))
    places = (np.arange(batches) + 0.5) * len(order) / batches
    return [order[int(place)] for place in places]


def work_of(step: OurStep | PublishedStep, batches: int) -> tuple[Callable[[], None], int]:
    """Steps on that many sampled batches, and the targets that they learn in all."""
    sample = sample_of(step, min(batches, len(step.batches)))

    def work() -> None:
        for rows in sample:
            step(rows)

    return work, int(sum((step.rows.end - step.rows.first + 1)[rows].sum() for rows in sample))


def rate(step: OurStep | PublishedStep, batches: int, repetitions: int) -> float:
    """Targets a second of a side alone."""
    work, targets = work_of(step, batches)
    return targets / statistics.median(repeat(work, repetitions))


def measure(size: Size) -> list[Row]:
    """Rows 1 and 2."""
    keep_freed_memory()
    smoke = size == "smoke"
    work, shape = beauty(size), published_shape()
    our_rows, rows, batches, repetitions = (16, 16, 2, 2) if smoke else (OUR_ROWS, PUBLISHED_ROWS, 12, 7)
    ours = OurStep(work, shape, GENERATION_ONLY, our_rows)
    rival = PublishedStep(ours, work, shape, rows)
    (our_work, our_targets), (rival_work, rival_targets) = work_of(ours, batches), work_of(rival, batches)
    seconds = alternate(our_work, rival_work, repetitions)
    few = 2 if smoke else 4  # batches and repetitions of what only stands in ``more``

    def our_rate(rows: int, objective: ObjectiveConfig = GENERATION_ONLY) -> float:
        return round(rate(OurStep(work, shape, objective, rows), few, few))

    def rival_rate(rows: int, padded: bool = True) -> float:
        return round(rate(PublishedStep(ours, work, shape, rows, padded), few, few))

    step = compared(
        1, "training step, against an encoder-decoder a stream and one row a target", seconds, "targets/s",
        our_targets, rival_targets,
        sequences="Amazon Beauty" if work.real else "drawn", rows_a_batch=our_rows, rival_rows_a_batch=rows,
        our_targets_a_batch=round(our_targets / batches), rival_targets_a_batch=round(rival_targets / batches),
        our_other_batches={str(n): our_rate(n) for n in ((8,) if smoke else (64, 128, 256))},
        our_whole_objective=our_rate(our_rows, ObjectiveConfig()),
        rival_other_batches={str(n): rival_rate(n) for n in ((8,) if smoke else (64, 1024))},
        rival_padded_to_longest_of_batch={str(n): rival_rate(n, False) for n in ((8,) if smoke else (256, 1024))},
    )  # fmt: skip
    return [step, share_of_bound(ours, batches, repetitions, smoke)]


def share_of_bound(ours: OurStep, batches: int, repetitions: int, smoke: bool) -> Row:
    """Row 2: the time that the products alone would take, over the time of the step."""
    sample = sample_of(ours, min(batches, len(ours.batches)))
    operations = sum(products_of_step(ours.model, ours.rows, rows) for rows in sample)
    our_work, targets = work_of(ours, batches)
    bounds, shares, rates = [], [], []
    our_work()
    for _ in range(repetitions):
        speed = rate_of_products(1, 256 if smoke else 2048)
        bounds.append(operations / speed)
        rates.append(speed)
        shares.append(bounds[-1] / repeat(our_work, 1, 0)[0])
    bound = statistics.median(bounds)
    share = statistics.median(shares)
    return Row(
        2, "the same step, against the matrix products it must do", targets / (bound / share), targets / bound,
        "targets/s", share, (min(shares), max(shares)),
        {"repetitions": repetitions, "precision": "float32", "mflop_a_target": operations / targets / 1e6,
         "product_gflops": statistics.median(rates) / 1e9, "profile": profile_of(our_work)},
    )  # fmt: skip


def profile_of(work: Callable[[], None], operators: int = 12) -> dict[str, float]:
    """Share of the time that each operator takes itself, the largest of them; the rest is "other"."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        work()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shares = {event.key: round(event.self_cpu_time_total / total, 4) for event in events[:operators]}
    return {**shares, "other": round(1 - sum(shares.values()), 4)}


def growth(size: Size) -> list[Point]:
    """Seconds a step over the catalogue, the history and the batch."""
    smoke = size == "smoke"
    points = []
    keep_freed_memory()

    def point(axis: str, value: int, work: Workload, shape: ModelConfig, rows: int) -> None:
        step = OurStep(work, shape, GENERATION_ONLY, rows)
        sample, _ = work_of(step, 1)
        points.append(Point(1, axis, "ours", value, statistics.median(repeat(sample, 2 if smoke else 5))))

    shape = published_shape()
    for n_items in (50, 90, 150, 300) if smoke else (1_000, 10_000, 100_000, 1_000_000):
        point("catalogue (items)", n_items, drawn(300, n_items), shape, 8 if smoke else 128)
    for length in (4, 6, 8, 10) if smoke else (10, 20, 50, 100, 200):
        work = drawn(300, 90 if smoke else N_GROWTH_ITEMS, mean_length=length + 2, max_length=length + 3)
        point("history (items)", length, work, replace(shape, max_history=length), 4 if smoke else 64)
    for rows in (2, 4, 8, 16) if smoke else (32, 64, 128, 256, 512):
        point("batch (users)", rows, beauty(size), shape, rows)
    return points

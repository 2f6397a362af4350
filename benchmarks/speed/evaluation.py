"""Row 9: every figure of a test split, given the ranked lists, against a loop over users.

Both sides get the lists as the search makes them: three rankings, raw and filtered, 21 items each. Ours takes them in
batches, as it does when they come from a search, and also makes slices, coverage, novelty and popularity, which the
loop does not. The loop's bootstrap takes its means with NumPy, the faster of the two usual ways; ``more`` says what it
takes in plain Python.
"""

import numpy as np

from benchmarks.speed.rivals.user_loop import evaluate_users
from benchmarks.speed.timing import REPETITIONS, Row, alternate, compared, once
from benchmarks.speed.workload import Size, Workload, beauty
from gen_rec.evaluation import CUTS, Evaluation, EvaluationConfig, Evaluator, RankedLists
from gen_rec.evaluation.evaluator import MODES

METHODS = ("eager-behavior", "eager-semantic", "eager-fused")
HITS = 0.13
"""Share of the targets that stand in a list, about that of Beauty."""
BATCH = 1024
"""Users whose lists ours takes at once."""

Lists = dict[str, dict[str, RankedLists]]


def drawn_lists(work: Workload, k: int = max(CUTS) + 1, seed: int = 0) -> Lists:
    """mode -> method -> (n, k) different items with falling scores; the target among them for a share of the users."""
    rng = np.random.default_rng(seed)
    n = len(work.cases)
    lists: Lists = {mode: {} for mode in MODES}
    for mode in MODES:
        for method in METHODS:
            first = rng.integers(work.n_items, size=(n, 1))
            items = (first + np.arange(k) * (work.n_items // k)) % work.n_items  # (n, k) all different
            hit = np.flatnonzero(rng.random(n) < HITS)
            place = rng.integers(k, size=len(hit))
            there = items[hit] == work.cases.target[hit][:, None]
            items[hit] = np.where(there, items[hit, place][:, None], items[hit])  # what it replaces goes to its place
            items[hit, place] = work.cases.target[hit]
            scores = -np.sort(rng.random((n, k), dtype=np.float32), axis=1)
            lists[mode][method] = RankedLists(items, scores)
    return lists


def evaluate(work: Workload, lists: Lists, counts: np.ndarray, resamples: int, batch: int = BATCH) -> Evaluation:
    """Our side."""
    evaluator = Evaluator(work.cases, counts, EvaluationConfig(resamples=resamples))
    for start in range(0, len(work.cases), batch):
        part = slice(start, start + batch)
        rows = np.arange(len(work.cases))[part]
        raw, filtered = (
            {method: RankedLists(x.items[part], x.scores[part]) for method, x in lists[mode].items()} for mode in MODES
        )
        evaluator.add(rows, raw, filtered)
    return evaluator.finish()


def measure(size: Size) -> list[Row]:
    """One row: seconds for all figures and intervals."""
    work = beauty(size)
    resamples = EvaluationConfig().resamples if size == "full" else 50
    lists = drawn_lists(work)
    counts = np.bincount(work.train.items, minlength=work.n_items)
    target = work.cases.target
    seconds = alternate(
        lambda: evaluate(work, lists, counts, resamples),
        lambda: evaluate_users(lists, target, CUTS, resamples),
        repetitions=REPETITIONS if size == "full" else 1,
    )
    few = max(2, resamples // 400)  # plain Python takes minutes; its time is a constant and so much a resample
    figures_only = once(lambda: evaluate_users(lists, target, CUTS, 1, numpy=False))
    with_few = once(lambda: evaluate_users(lists, target, CUTS, 1 + few, numpy=False))
    plain = figures_only + (resamples - 1) * (with_few - figures_only) / few
    ours, theirs = evaluate(work, lists, counts, resamples), evaluate_users(lists, target, CUTS, resamples)
    difference, moved = disagreement(ours, theirs)
    median = sorted(seconds.ours)[len(seconds.ours) // 2]
    return [
        compared(
            9, "all figures of a test split, against a loop over users", seconds, "s",
            users=len(work.cases), rankings=len(METHODS), list_length=max(CUTS) + 1, resamples=resamples,
            batch=BATCH, real_data=work.real, rival_is="lists of Python; bootstrap means with NumPy",
            rival_without_bootstrap_s=round(figures_only, 3), rival_plain_python_bootstrap_s=round(plain, 1),
            rival_plain_python_bootstrap_measured_resamples=few,
            ratio_plain_python_bootstrap=round(plain / median, 1),
            largest_difference_of_a_figure=difference, largest_move_of_an_interval_end_in_its_widths=round(moved, 3),
        )
    ]  # fmt: skip


def disagreement(
    ours: Evaluation, theirs: dict[str, dict[str, tuple[dict[str, float], dict[str, list[float]]]]]
) -> tuple[float, float]:
    """Largest difference of a figure, and largest difference of an end of an interval over the interval's width."""
    differences, moves = [0.0], [0.0]
    for mode, methods in theirs.items():
        for method, (figures, intervals) in methods.items():
            found = ours.methods[method]
            for name, value in figures.items():
                differences.append(abs(value - found.metrics[mode][name]))
                low, high = found.intervals[mode][name]
                width = max(high - low, 1e-12)
                moves += [abs(a - b) / width for a, b in zip((low, high), intervals[name], strict=True)]
    return max(differences), max(moves)

"""Fitting the blend on validation users, and what honest figures need: no user is scored by a blend that saw him."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_rec.data.interactions import Cases
from gen_rec.errors import DataError
from gen_rec.evaluation.bootstrap import paired_bootstrap
from gen_rec.evaluation.metrics import MISS, retrieval_metrics, target_ranks
from gen_rec.ranking.blend import REPEAT, Blend, Kind, Lists
from gen_rec.ranking.config import RerankConfig
from gen_rec.ranking.features import Bools, Floats
from gen_rec.ranking.pool import Gatherer, stacked
from gen_rec.ranking.repeats import CUT

Ranks = dict[str, NDArray[np.int64]]
"""mode ("raw", "filtered") -> (n,) rank of each user's target, ``MISS`` where it is not listed."""


@dataclass(frozen=True)
class Lesson:
    """What there is to learn from: the users whose target is among their candidates, and the figures without a blend.

    lists:  of those users
    rows:   (n,) their places among all users that were searched
    before: ranks of every user that was searched, by the search alone
    width:  mean candidates a user
    """

    lists: Lists
    rows: NDArray[np.int64]
    before: Ranks
    width: float

    @property
    def n_users(self) -> int:
        return len(self.before["raw"])

    def spread(self, ranks: Ranks) -> Ranks:
        """Ranks of the users with a lesson as ranks of all; the others' targets are nowhere."""
        wide = {mode: np.full(self.n_users, MISS, dtype=np.int64) for mode in ranks}
        for mode, values in ranks.items():
            wide[mode][self.rows] = values
        return wide


def gather_lesson(gatherer: Gatherer, cases: Cases, limit: int, seed: int) -> Lesson:
    """Search for users who have a history, and keep those whose target was found.

    limit: users searched at most, drawn at random; 0 takes all
    raises DataError where there is no case.
    """
    users = np.flatnonzero(cases.lengths)
    if not len(users):
        raise DataError(
            "the valid split has no interaction of a user with a history, so no blend can be learnt; see data.split"
        )
    if limit and limit < len(users):
        users = np.sort(np.random.default_rng(seed).choice(users, limit, replace=False))
    before = {mode: np.full(len(users), MISS, dtype=np.int64) for mode in ("raw", "filtered")}
    kept: list[tuple[Floats, Bools, Bools, NDArray[np.int64]]] = []
    rows, total = [], 0
    for pool in gatherer.pools(cases, users):
        place = pool.places
        target = cases.target[users[place]].astype(np.int64)
        for mode, found in (("raw", pool.raw), ("filtered", pool.filtered)):
            before[mode][place] = target_ranks(found.items, found.scores, target)
        candidates = pool.candidates
        total += int(candidates.real.sum())
        is_target = candidates.items == target[:, None]
        hit = is_target.any(1)
        kept.append((pool.values[hit], candidates.real[hit], candidates.unseen[hit], is_target.argmax(1)[hit]))
        rows.append(place[hit])
    values, real, unseen, targets = zip(*kept, strict=True)
    lists = Lists.of(stacked(values, np.nan), stacked(real, False), stacked(unseen, False), np.concatenate(targets))
    return Lesson(lists, np.concatenate(rows), before, total / len(users))


def ranks_of(scores: Floats, lists: Lists) -> Ranks:
    """The target's rank by scores (n, c), behind every candidate with an equal score."""
    own = np.take_along_axis(scores, lists.target[:, None], 1)  # (n, 1)
    raw = ((scores >= own) & lists.real).sum(1)
    filtered = ((scores >= own) & lists.unseen).sum(1)
    return {"raw": raw, "filtered": np.where(lists.teaches(), filtered, MISS)}


def cross_fitted(names: list[str], lists: Lists, kind: Kind, config: RerankConfig, seed: int) -> Floats:
    """Scores (n, c) of every list by a blend that was fitted on the other folds of users."""
    folds = min(config.folds, len(lists.target))
    fold = np.random.default_rng(seed).permutation(len(lists.target)) % max(1, folds)
    scores = np.zeros(lists.real.shape, dtype=np.float32)
    for number in range(folds):
        out = np.flatnonzero(fold == number)
        inside = lists.pick(np.flatnonzero(fold != number))
        if not inside.teaches().any():
            continue  # too few users for folds: nothing was learnt, so all candidates tie
        part = lists.pick(out)
        blend = Blend.fit(names, inside, kind, config, seed)
        new = np.zeros(part.real.shape, dtype=np.float32)
        new[part.real] = blend.scores(part.values[part.real], part.inside[part.real])
        scores[out] = new
    return scores


def fit_blend(
    names: list[str], lesson: Lesson, config: RerankConfig, seed: int
) -> tuple[Blend, dict[str, Any], dict[str, float]]:
    """Fit, and measure by cross-fitting.

    returns the blend of all users with a lesson; what the report says of it; seconds of each part.
    """
    kinds: list[Kind] = ["linear", "boosted"] if config.blend == "auto" else [config.blend]
    seconds: dict[str, float] = {}
    tried: dict[Kind, Ranks] = {}
    for kind in kinds:
        start = time.perf_counter()
        scores = cross_fitted(names, lesson.lists, kind, config, seed)
        tried[kind] = lesson.spread(ranks_of(scores, lesson.lists))
        seconds[f"cross-fit {kind}"] = time.perf_counter() - start
    kind = max(kinds, key=lambda each: _figures(tried[each])["filtered"][CUT])
    after = tried[kind]
    start = time.perf_counter()
    blend = Blend.fit(names, lesson.lists, kind, config, seed)
    seconds["fit"] = time.perf_counter() - start
    report: dict[str, Any] = {
        "blend": kind,
        "features": names,
        "importance": blend.importance(),
        "repeat": blend.repeat,
        "validation": {
            "users": lesson.n_users,
            "users_with_target": len(lesson.rows),
            "candidates": round(lesson.width, 1),
            "before": _figures(lesson.before),
            "after": _figures(after),
            "tried": {name: _figures(ranks) for name, ranks in tried.items()},
            "gain": _compare(after, lesson.before),
        },
    }
    if config.worth:
        start = time.perf_counter()
        report["worth"] = {
            name: _compare(after, _without(name, names, lesson, kind, config, seed))
            for name in names
            if set(names) - {name, REPEAT}  # something is left to rank by
        }
        seconds["worth"] = time.perf_counter() - start
    return blend, report, seconds


def _without(left_out: str, names: list[str], lesson: Lesson, kind: Kind, config: RerankConfig, seed: int) -> Ranks:
    """Cross-fitted ranks of a blend that does not know a feature."""
    kept = [column for column, name in enumerate(names) if name != left_out]
    lists = lesson.lists.only(kept)
    scores = cross_fitted([names[column] for column in kept], lists, kind, config, seed)
    return lesson.spread(ranks_of(scores, lists))


def _figures(ranks: Ranks) -> dict[str, dict[str, float]]:
    return {mode: retrieval_metrics(values) for mode, values in ranks.items()}


def _compare(a: Ranks, b: Ranks) -> dict[str, dict[str, float]]:
    """NDCG@10 of a less that of b, with its interval over users and as a share of b's."""
    table = {}
    for mode in a:
        found = paired_bootstrap(a[mode], b[mode])[CUT]
        base = retrieval_metrics(b[mode])[CUT]
        table[mode] = {**found, "relative": found["difference"] / base if base else 0.0}
    return table

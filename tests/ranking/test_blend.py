"""The blend: what it sees, what it learns from, and that its parts are its score."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen_rec.errors import GenRecError
from gen_rec.ranking.blend import Blend, Kind, Lists, within_list
from gen_rec.ranking.config import RerankConfig
from gen_rec.ranking.fitting import Lesson, cross_fitted, fit_blend, ranks_of

KINDS: list[Kind] = ["linear", "boosted"]
NAMES = ["good", "noise", "rare"]


def lists(n: int = 300, c: int = 12, seed: int = 0, strength: float = 3.0) -> Lists:
    """Users whose target has a larger "good" than the others; "noise" says nothing, "rare" is mostly unknown."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, c, 3)).astype(np.float32)
    target = rng.integers(0, c, n)
    values[np.arange(n), target, 0] += strength
    values[..., 0] += 10 * rng.standard_normal((n, 1))  # each list has a level of its own
    values[rng.random((n, c)) < 0.8, 2] = np.nan
    real = np.arange(c) < rng.integers(c // 2, c + 1, n)[:, None]
    target = np.where(real[np.arange(n), target], target, -1)
    values[~real] = np.nan
    seen = rng.random((n, c)) < 0.1
    return Lists.of(values, real, real & ~seen, target)


def config(**settings: Any) -> RerankConfig:
    return RerankConfig(**{"negatives": 0, "rounds": 20, "learning_rate": 0.2, **settings})


def test_features_within_a_list_are_standardised_over_what_is_unseen() -> None:
    some = lists(n=5)
    found = within_list(some.values, some.unseen)
    for row in range(5):
        for feature in range(3):
            column = some.values[row, :, feature].astype(np.float64)
            known = column[some.unseen[row] & ~np.isnan(column)]
            spread = known.std() if len(known) else 0.0
            expected = (column - known.mean()) / spread if spread > 1e-6 else np.where(np.isnan(column), np.nan, 0.0)
            np.testing.assert_allclose(found[row, :, feature], expected, rtol=1e-3, atol=1e-4)
    flat = np.ones((1, 3, 1), dtype=np.float32)
    assert (within_list(flat, np.ones((1, 3), dtype=bool)) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_parts_add_up_to_the_score(kind: Kind) -> None:
    some = lists()
    blend = Blend.fit(NAMES, some, kind, config())
    scores = blend.scores(some.values, some.inside)
    parts = blend.parts(some.values[some.real], some.inside[some.real])
    assert parts.shape == (some.real.sum(), 3)
    np.testing.assert_allclose(parts.sum(1), scores[some.real], atol=1e-4)
    assert blend.parts(some.values[:0, 0], some.inside[:0, 0]).shape == (0, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("negatives", [0, 4])
def test_what_tells_the_target_is_learnt(kind: Kind, negatives: int) -> None:
    some = lists()
    blend = Blend.fit(NAMES, some, kind, config(negatives=negatives))
    other = lists(seed=1)
    teaches = other.teaches()
    ranks = ranks_of(blend.scores(other.values, other.inside), other)["filtered"][teaches]
    by_hand = ranks_of(other.values[..., 0], other)["filtered"][teaches]
    assert np.mean(1 / ranks) > 0.95 * np.mean(1 / by_hand)  # "good" alone is the best that can be known
    importance = blend.importance()
    assert importance["good"] > 4 * abs(importance["noise"])


@pytest.mark.parametrize("kind", KINDS)
def test_users_without_a_target_and_seen_items_teach_nothing(kind: Kind) -> None:
    some = lists()
    blend = Blend.fit(NAMES, some, kind, config())
    values = some.values.copy()
    values[~some.teaches()] = 1e3
    values[some.real & ~some.unseen] = 1e3
    other = Blend.fit(NAMES, Lists.of(values, some.real, some.unseen, some.target), kind, config())
    np.testing.assert_array_equal(blend.scores(some.values, some.inside), other.scores(some.values, some.inside))


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_is_scored_by_a_blend_that_did_not_see_him(kind: Kind) -> None:
    """Whatever his target is, his scores are the same; those of other users' folds are not."""
    some = lists(n=40)
    before = cross_fitted(NAMES, some, kind, config(), seed=3)
    user = int(np.flatnonzero(some.teaches())[0])
    target = some.target.copy()
    target[user] = next(i for i in np.flatnonzero(some.unseen[user]) if i != target[user])
    after = cross_fitted(NAMES, some._replace(target=target), kind, config(), seed=3)
    np.testing.assert_array_equal(before[user], after[user])
    assert (before != after).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_blend_is_the_same(kind: Kind, tmp_path: Path) -> None:
    some = lists(n=60)
    blend = Blend.fit(NAMES, some, kind, config())
    blend.save(tmp_path)
    loaded = Blend.load(tmp_path)
    assert (loaded.names, loaded.kind) == (NAMES, kind)
    np.testing.assert_allclose(
        loaded.scores(some.values, some.inside), blend.scores(some.values, some.inside), rtol=1e-6
    )
    (tmp_path / ("blend.json" if kind == "linear" else "blend.txt")).unlink()
    with pytest.raises(GenRecError, match=r"blend\.(json|txt): not a whole blend .* gen-rec rerank"):
        Blend.load(tmp_path)


def test_without_any_target_there_is_nothing_to_learn() -> None:
    some = lists(n=10)
    with pytest.raises(GenRecError, match="no user's validation item is among the candidates"):
        Blend.fit(NAMES, some._replace(target=np.full(10, -1)), "linear", config())


def test_lists_of_the_target_alone_teach_nothing() -> None:
    some = lists(n=10, c=1)
    alone = Lists.of(
        some.values, np.ones((10, 1), dtype=bool), np.ones((10, 1), dtype=bool), np.zeros(10, dtype=np.int64)
    )
    with pytest.raises(GenRecError, match=r"no list holds anything besides the target.*raise rerank\.candidates"):
        Blend.fit(NAMES, alone, "linear", config())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 0}, "rerank.candidates must be at least 1"),
        ({"blend": "trees"}, "rerank.blend must be one of"),
        ({"folds": 1}, "rerank.folds must be at least 2"),
        ({"features": []}, "rerank.features must be some of"),
        ({"features": ["graph", "graph"]}, "each once"),
        ({"text_decay": 0.0}, "rerank.text_decay must be above 0"),
    ],
)
def test_impossible_settings_of_the_ranking_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RerankConfig(**settings)


def near_nought(n: int, seed: int = 0) -> Lists:
    """Users whose target is the candidate with the smallest "noise" in absolute value, which no line can tell."""
    some = lists(n, seed=seed, strength=0.0)
    return some._replace(target=np.where(some.unseen, np.abs(some.values[..., 1]), np.inf).argmin(1))


@pytest.mark.parametrize(
    ("some", "kind"), [(lists(40, strength=2.0), "linear"), (near_nought(600), "boosted")], ids=["few", "many"]
)
def test_by_default_the_kind_is_the_one_that_ranks_unknown_users_better(some: Lists, kind: Kind) -> None:
    some = some.pick(np.flatnonzero(some.teaches()))
    before = ranks_of(np.where(some.real, 0.0, -np.inf).astype(np.float32), some)
    lesson = Lesson(some, np.arange(len(some.target)), before, 12.0)
    blend, report, _ = fit_blend(NAMES, lesson, config(worth=False), 0)
    tried = {each: figures["filtered"]["ndcg@10"] for each, figures in report["validation"]["tried"].items()}
    assert RerankConfig().blend == "auto"
    assert set(tried) == set(KINDS)
    assert blend.kind == report["blend"] == kind == max(KINDS, key=lambda each: tried[each])
    assert report["validation"]["after"]["filtered"]["ndcg@10"] == tried[kind]

"""What an item of the history gets on top, against all values tried one by one."""

import numpy as np
import pytest

from gen_rec.evaluation.metrics import retrieval_metrics
from gen_rec.ranking.blend import Blend, Kind, Lists
from gen_rec.ranking.config import RerankConfig
from gen_rec.ranking.fitting import ranks_of
from gen_rec.ranking.repeats import repeat_weight


def lists(n: int, again: float, seed: int = 0) -> Lists:
    """Five of twelve candidates are in the history; the target, which scores two higher, is so with rate ``again``."""
    rng = np.random.default_rng(seed)
    seen = np.zeros((n, 12), dtype=bool)
    seen[:, :5] = True
    target = np.where(rng.random(n) < again, rng.integers(0, 5, n), rng.integers(5, 12, n))
    values = rng.standard_normal((n, 12, 2)).astype(np.float32)
    values[np.arange(n), target, 0] += 2
    values[:, :5, 0] += 1  # what was taken looks near to what is wanted
    values[..., 1] = seen
    return Lists.of(values, np.ones((n, 12), dtype=bool), ~seen, target)


@pytest.mark.parametrize("again", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_no_other_value_ranks_better(again: float) -> None:
    some = lists(60, again)
    scores = some.values[..., 0]

    def figure(weight: float) -> float:
        shifted = scores + np.float32(weight) * (some.real & ~some.unseen)
        own = np.take_along_axis(shifted, some.target[:, None], 1)
        return retrieval_metrics((shifted >= own).sum(1))["ndcg@10"]

    found = repeat_weight(scores, some.real, some.unseen, some.target)
    best = max(figure(weight) for weight in np.linspace(-12, 12, 481))
    assert figure(found - 1e-4) >= best - 0.01  # quantiles of the differences, not all of them


@pytest.mark.parametrize("kind", ["linear", "boosted"])
def test_where_nobody_repeats_raw_lists_are_as_good_as_filtered_ones(kind: Kind) -> None:
    config = RerankConfig(negatives=0, rounds=20, learning_rate=0.2)
    blend = Blend.fit(["near", "repeat"], lists(400, again=0.0), kind, config)
    new = lists(300, again=0.0, seed=1)
    ranks = ranks_of(blend.scores(new.values, new.inside), new)
    assert blend.repeat < 0
    assert ranks["raw"].tolist() == ranks["filtered"].tolist()
    unaware = Blend.fit(["near"], lists(400, again=0.0).only([0]), kind, config)
    plain = ranks_of(unaware.scores(new.values[..., :1], new.inside[..., :1]), new)
    assert plain["filtered"].tolist() == ranks["filtered"].tolist()  # nothing changes for what is new
    assert plain["raw"].mean() > ranks["raw"].mean() + 1


@pytest.mark.parametrize("kind", ["linear", "boosted"])
def test_where_everybody_repeats_old_items_come_first_and_parts_say_why(kind: Kind) -> None:
    config = RerankConfig(negatives=0, rounds=20, learning_rate=0.2)
    blend = Blend.fit(["near", "repeat"], lists(400, again=0.95), kind, config)
    new = lists(50, again=1.0, seed=1)
    scores, parts = blend.scores(new.values, new.inside), blend.parts(new.values[0], new.inside[0])
    assert blend.repeat > 0
    np.testing.assert_allclose(parts.sum(1), scores[0], atol=1e-4)
    np.testing.assert_allclose(parts[:, 1], blend.repeat * new.values[0, :, 1], rtol=1e-6)


def test_without_seen_items_there_is_nothing_to_learn() -> None:
    scores, real = np.zeros((2, 3), dtype=np.float32), np.ones((2, 3), dtype=bool)
    assert repeat_weight(scores, real, real, np.array([0, 1])) == 0.0

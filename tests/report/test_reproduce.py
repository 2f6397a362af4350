"""Whether a result came out the same: tolerances by hand."""

import pytest

from benchmarks.accuracy.reproduce import FEW, LEAST, compared
from gen_rec.errors import DataError


def result(ndcg, filtered=None, **changes):
    metrics = {"raw": {"ndcg@10": ndcg}, "filtered": {"ndcg@10": ndcg if filtered is None else filtered}}
    same = {
        "set": "amazon-beauty",
        "method": "eager-fused",
        "split": "test",
        "text_encoder": "x",
        "ties": "input-order",
    }
    return {**same, "metrics": metrics, **changes}


def test_few_seeds_have_a_fixed_tolerance():
    rows = compared([result(0.0529, 0.0531)], [result(0.05), result(0.05, seed=1)])
    assert [(row.mode, row.tolerance, row.same) for row in rows] == [
        ("raw", FEW, True),
        ("filtered", FEW, False),
    ]


def test_three_seeds_have_the_tolerance_of_their_spread():
    committed = [result(0.049), result(0.050), result(0.051)]  # a standard deviation of .001
    (raw, filtered) = compared([result(0.0539, 0.0459)], committed)
    assert (raw.committed, raw.tolerance) == pytest.approx((0.05, 0.004))
    assert raw.same
    assert not filtered.same
    assert "NOT REPRODUCED" in str(filtered)


def test_seeds_that_lie_close_by_chance_do_not_make_it_strict():
    (raw, _) = compared([result(0.0513)], [result(0.05), result(0.05, seed=1), result(0.05, seed=2)])
    assert raw.tolerance == LEAST
    assert raw.same


@pytest.mark.parametrize("other", ["set", "method", "text_encoder", "ties"])
def test_only_like_is_compared_with_like(other):
    with pytest.raises(DataError, match="no committed result of eager-fused"):
        compared([result(0.05)], [result(0.05, **{other: "another"})])
    assert len(compared([result(0.05)], [result(0.05), result(0.9, **{other: "another"})])) == 2

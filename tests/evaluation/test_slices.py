"""Slices by hand: who is in which, and that the parts add up to the whole."""

import numpy as np
import pytest

from gen_rec.evaluation.metrics import MISS, retrieval_metrics
from gen_rec.evaluation.slices import length_slicing, popularity_slicing, slice_metrics


def test_popularity_groups_by_hand():
    counts = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 50])  # item i was seen counts[i] times
    slicing = popularity_slicing(np.array([0, 1, 5, 6, 9, 10]), counts, quantiles=(0.5, 0.9))
    # ten items were seen: lower median 5, lower 90 % quantile 9
    assert slicing.names == ["never seen", "tail", "middle", "head"]
    assert slicing.bounds == [(0, 0), (1, 5), (6, 9), (10, None)]
    assert slicing.group.tolist() == [0, 1, 1, 2, 2, 3]


def test_equal_counts_share_a_group():
    slicing = popularity_slicing(np.arange(5), np.array([3, 3, 3, 3, 0]))
    assert slicing.group.tolist() == [1, 1, 1, 1, 0]


def test_nothing_seen_in_training():
    slicing = popularity_slicing(np.arange(3), np.zeros(3, dtype=np.int64))
    assert slicing.group.tolist() == [0, 0, 0]


def test_length_groups_by_hand():
    slicing = length_slicing(np.array([0, 1, 4, 5, 9, 10, 49, 50, 900]))
    assert slicing.names == ["0", "1-4", "5-9", "10-19", "20-49", "50+"]
    assert [slicing.names[g] for g in slicing.group] == [
        "0",
        "1-4",
        "1-4",
        "5-9",
        "5-9",
        "10-19",
        "20-49",
        "50+",
        "50+",
    ]
    with pytest.raises(ValueError, match="ascend from 0"):
        length_slicing(np.array([1]), edges=[0, 5, 5])


def test_slices_equal_the_metrics_of_their_users_and_add_up():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 60, 400)
    ranks = {
        "raw": np.where(rng.random(400) < 0.5, rng.integers(1, 30, 400), MISS),
        "filtered": np.where(rng.random(400) < 0.5, rng.integers(1, 30, 400), MISS),
    }
    slicing = length_slicing(lengths)
    parts = slice_metrics(slicing, ranks)
    assert sum(part["n"] for part in parts) == 400
    for part in parts:
        members = slicing.group == slicing.names.index(part["slice"])
        assert part["by"] == "history_length"
        assert part["n"] == members.sum()
        for mode in ranks:
            assert part["metrics"][mode] == pytest.approx(retrieval_metrics(ranks[mode][members]))
    whole = sum(part["n"] * part["metrics"]["raw"]["ndcg@10"] for part in parts) / 400
    assert whole == pytest.approx(retrieval_metrics(ranks["raw"])["ndcg@10"])


def test_empty_slices_are_left_out():
    parts = slice_metrics(length_slicing(np.array([3, 3])), {"raw": np.array([1, MISS])})
    assert [(part["slice"], part["n"]) for part in parts] == [("1-4", 2)]

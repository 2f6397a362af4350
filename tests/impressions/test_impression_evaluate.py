"""Averages, intervals, comparisons, and the file for MIND's leaderboard."""

import json
import zipfile

import numpy as np
import pytest

from gen_rec.data.interactions import Sequences, offsets_of
from gen_rec.errors import DataError
from gen_rec.impressions.evaluate import compare_impressions, evaluate_impressions, write_prediction
from gen_rec.impressions.metrics import METRICS, impression_metrics
from gen_rec.impressions.table import Impressions


def make(labels):
    """Impressions with these lists of labels, all of one user without a history."""
    n = len(labels)
    flat = np.concatenate([np.array(some, np.int8) for some in labels])
    return Impressions(
        np.array([str(10 + i) for i in range(n)], dtype=object), np.array(["u"], dtype=object), np.zeros(n, np.int32),
        np.zeros(n, np.int64), Sequences(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(1, np.int32)),
        np.zeros(n, np.int64), offsets_of(np.array([len(some) for some in labels])),
        np.arange(len(flat), dtype=np.int32), flat,
    )  # fmt: skip


@pytest.fixture(scope="module")
def many():
    """300 impressions of 2 to 40 candidates with one click, and scores that know a little."""
    rng = np.random.default_rng(0)
    labels = []
    for length in rng.integers(2, 41, 300):
        some = np.zeros(length, int)
        some[rng.integers(length)] = 1
        labels.append(some)
    impressions = make(labels)
    return impressions, rng.standard_normal(len(impressions.labels)) + 0.5 * impressions.labels


def test_averages_and_what_is_left_out():
    impressions = make([[1, 0], [1, 1], [0, 1, 0], [-1, -1], [0, 0, 0]])
    found = evaluate_impressions(impressions, np.array([2.0, 1, 5, 4, 3, 2, 1, 7, 8, 1, 2, 3]))
    # the first is right; in the third the click is second of three
    assert found["metrics"] == pytest.approx(
        {"auc": 0.75, "mrr": 0.75, "ndcg@5": (1 + 1 / np.log2(3)) / 2, "ndcg@10": (1 + 1 / np.log2(3)) / 2}
    )
    assert found["n_impressions"] == 2
    assert found["left_out"] == {"one_label": 2, "unlabelled": 1}
    assert found["intervals"]["auc"] == [
        0.5,
        1.0,
    ]  # of two impressions, a resample holds one of them twice half the time
    json.dumps(found)


def test_nothing_to_evaluate():
    with pytest.raises(
        DataError, match=r"none of 2 impressions has both clicked and other candidates \(1 have no labels"
    ):
        evaluate_impressions(make([[-1, -1], [0, 0]]), np.zeros(4))


def test_interval_against_the_normal_one(many):
    impressions, scores = many
    found = evaluate_impressions(impressions, scores, resamples=2000)
    values = impression_metrics(impressions.offsets, impressions.labels, scores)
    for i, name in enumerate(METRICS):
        half = 1.96 * values[:, i].std() / np.sqrt(len(values))
        low, high = found["intervals"][name]
        # 2,000 resamples put an end of the interval within about 5 % of its half width
        assert low == pytest.approx(values[:, i].mean() - half, abs=0.15 * half)
        assert high == pytest.approx(values[:, i].mean() + half, abs=0.15 * half)
    assert found == evaluate_impressions(impressions, scores, resamples=2000)
    with pytest.raises(ValueError, match="between 0 and 1"):
        evaluate_impressions(impressions, scores, level=1.0)


def test_comparison(many):
    impressions, scores = many
    better = scores + 2 * impressions.labels
    found = compare_impressions(impressions, better, scores, resamples=500)
    both = [evaluate_impressions(impressions, some, resamples=10)["metrics"] for some in (better, scores)]
    for name in METRICS:
        assert found[name]["difference"] == pytest.approx(both[0][name] - both[1][name])
        assert 0 < found[name]["low"] < found[name]["difference"] < found[name]["high"]
    same = compare_impressions(impressions, scores, scores, resamples=10)
    assert same["auc"] == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_chance_is_a_half():
    """Scores that know nothing: AUC of one half, whatever the lists look like."""
    rng = np.random.default_rng(1)
    impressions = make([[0, 0, 0, 1, 1]] * 4000)
    auc = evaluate_impressions(impressions, rng.random(20_000), resamples=10)["metrics"]["auc"]
    assert auc == pytest.approx(0.5, abs=0.02)  # four standard errors


def test_prediction_file(many, tmp_path):
    impressions, scores = many
    write_prediction(tmp_path / "prediction.txt", impressions, scores)
    lines = (tmp_path / "prediction.txt").read_text().splitlines()
    assert len(lines) == len(impressions)
    again = []
    for line, name in zip(lines, impressions.ids, strict=True):
        found, ranks = line.split()  # how MIND's script takes a line apart
        assert found == name
        again += [1 / rank for rank in json.loads(ranks)]  # and what it makes of a rank
    values = impression_metrics(impressions.offsets, impressions.labels, np.array(again))
    np.testing.assert_array_equal(values, impression_metrics(impressions.offsets, impressions.labels, scores))
    write_prediction(tmp_path / "prediction.zip", impressions, scores)
    with zipfile.ZipFile(tmp_path / "prediction.zip") as archive:
        assert archive.namelist() == ["prediction.txt"]
        assert archive.read("prediction.txt").decode().splitlines() == lines


def test_prediction_of_hand_made_scores(tmp_path):
    write_prediction(tmp_path / "p.txt", make([[-1, -1, -1], [-1]]), np.array([0.2, 0.9, 0.2, 0.0]))
    assert (tmp_path / "p.txt").read_text() == "10 [3,1,2]\n11 [1]\n"

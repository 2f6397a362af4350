"""The result file: the protocol's keys, and everything that is refused with its reason."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from gen_rec.errors import DataError
from gen_rec.evaluation import (
    Evaluator,
    Meter,
    RankedLists,
    make_result,
    make_results,
    read_results,
    write_result,
)
from gen_rec.evaluation.metrics import metric_names, retrieval_metrics
from gen_rec.evaluation.result import REQUIRED, check_result, commit, hardware, versions

# the keys of rule 8 of the benchmark protocol, typed in by hand
PROTOCOL_KEYS = [
    "set", "method", "seed", "split", "n_users", "metrics", "config", "settings", "text_encoder", "ties",
    "commit", "hardware", "wall_s", "cpu_s", "peak_rss_mb", "versions",
]  # fmt: skip
FIGURES = ["recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20"]


@pytest.fixture
def result():
    metrics = retrieval_metrics(np.array([1, 7, 12, 300]))
    return make_result(
        set="amazon-beauty",
        method="eager-fused",
        seed=0,
        split="test",
        n_users=4,
        metrics={"raw": metrics, "filtered": metrics},
        config="configs/beauty.yaml",
        settings={"model": {"hidden_size": 64}},
        text_encoder="all-MiniLM-L6-v2",
    )


def test_keys_are_the_protocols(result, tmp_path):
    assert list(REQUIRED) == PROTOCOL_KEYS
    assert metric_names() == FIGURES
    written = json.loads(write_result(tmp_path / "r.json", result).read_text())
    assert list(written) == PROTOCOL_KEYS
    assert list(written["metrics"]) == ["raw", "filtered"]
    assert list(written["metrics"]["raw"]) == FIGURES
    assert written["ties"] == "input-order"


def test_one_result_and_a_list_read_back(result, tmp_path):
    assert read_results(write_result(tmp_path / "one.json", result)) == [result]
    assert read_results(write_result(tmp_path / "two.json", [result, result])) == [result, result]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": None}, "'seed' is None, expected a whole number"),
        ({"n_users": True}, "'n_users' is True, expected a whole number"),
        ({"wall_s": "3"}, "'wall_s' is '3', expected a number"),
        ({"split": "train"}, "'split' is 'train', expected one of valid, test"),
        ({"ties": "random"}, "'ties' is 'random'"),
        ({"metrics": {"raw": {}}}, "metrics.raw.recall@5 is None"),
    ],
)
def test_wrong_values_are_refused(result, change, message):
    with pytest.raises(DataError, match=r"some\.json") as error:
        check_result({**result, **change}, "some.json")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"recall@5": 50.0}, "not per cent"),
        ({"ndcg@10": float("nan")}, "expected a number"),
        ({"recall@5": 0.9, "recall@10": 0.5}, "recall falls as the cut grows"),
        ({"recall@5": 0.1, "ndcg@5": 0.2}, "ndcg@5 is larger than recall@5"),
    ],
)
def test_figures_that_cannot_be_are_refused(result, figures, message):
    table = {**result["metrics"]["raw"], **figures}
    with pytest.raises(DataError, match=message):
        check_result({**result, "metrics": {"raw": table, "filtered": table}}, "some.json")


def test_missing_keys_and_ways_are_named(result):
    with pytest.raises(DataError, match="keys seed, wall_s missing"):
        check_result({k: v for k, v in result.items() if k not in ("seed", "wall_s")}, "some.json")
    with pytest.raises(DataError, match="no 'filtered'"):
        check_result({**result, "metrics": {"raw": result["metrics"]["raw"]}}, "some.json")
    with pytest.raises(DataError, match="found int, expected a JSON object"):
        check_result(3, "some.json")


def test_a_file_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(DataError, match=r"broken\.json: not JSON"):
        read_results(path)


def test_a_bad_result_leaves_the_old_file(result, tmp_path):
    path = write_result(tmp_path / "r.json", result)
    with pytest.raises(DataError):
        write_result(path, {**result, "split": "all"})
    assert read_results(path) == [result]


def test_meter_measures():
    with Meter() as meter:
        start = time.process_time()
        block = np.ones(20_000_000)  # 160 MB, touched
        while time.process_time() - start < 0.2:
            block[::1000] += 1
    assert 0.15 < meter.cpu_s < 5
    assert meter.wall_s >= 0.15
    assert 160 < meter.peak_rss_mb < 100_000  # in MB: not bytes, not KB


def test_meter_counts_children():
    with Meter() as meter:
        subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)
    assert meter.cpu_s > 0.02


def test_machine_and_versions():
    assert " x " in hardware()
    assert {"python", "numpy", "polars"} <= set(versions())
    assert commit() == "" or set(commit().removesuffix("-dirty")) <= set("0123456789abcdef")


def test_one_result_a_method(make_cases):
    cases = make_cases([[0], [1]], target=[1, 2])
    lists = {m: RankedLists(np.array([[1, 2], [2, 0]]), np.array([[0.9, 0.1]] * 2)) for m in ("b", "a")}
    evaluator = Evaluator(cases, np.array([1, 1, 1]))
    evaluator.add(np.arange(2), lists, lists)
    results = make_results(
        evaluator.finish(), set="toy", seed=1, split="valid", config="", settings={}, text_encoder=""
    )
    assert [r["method"] for r in results] == ["b", "a"]
    assert all(r["n_users"] == 2 and r["metrics"]["raw"]["ndcg@5"] == 1.0 for r in results)
    assert list(results[0])[-3:] == ["intervals", "beyond", "slices"]
    json.dumps(results, allow_nan=False)  # plain numbers only

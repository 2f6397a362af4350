"""The report: figures against values computed by hand and against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from tokenizer import Codes, TokenizerConfig, code_report, fit_codes, plot_report, save_report
from tokenizer.agreement import adjusted_mutual_information
from tokenizer.neighbors import nearest_neighbors

VALUES = np.array([[0.0], [2.0], [10.0], [14.0]])
CODES = Codes(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (2, 2))


def test_figures_by_hand() -> None:
    report = code_report(CODES, behavior_embeddings=VALUES, neighbors=1)["behavior"]
    first, second = report["levels"]
    assert (first["nodes"], first["smallest"], first["largest"], first["sizes"]) == (2, 2, 2, {"2": 2})
    assert first["inertia"] == pytest.approx(1 + 1 + 4 + 4)
    assert report["unbalanced_inertia"] == pytest.approx(10)  # the same two clusters are the best ones
    assert report["over_unbalanced"] == pytest.approx(1)
    assert first["entropy"] == pytest.approx(1)
    assert second["entropy"] == pytest.approx(2)
    assert second["code_entropy"] == pytest.approx(1)
    assert (first["balance"], second["balance"], second["inertia"]) == pytest.approx((1, 1, 0))
    assert report["neighbors"] == {"k": 1, "share": [1.0], "chance": [pytest.approx(1 / 3)]}


def test_sizes_that_differ_lower_the_entropy() -> None:
    codes = Codes(np.array([[0, 0], [0, 1], [0, 2], [1, 0]]), (4, 3))
    first = code_report(codes, behavior_embeddings=VALUES)["behavior"]["levels"][0]
    bits = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert first["entropy"] == pytest.approx(bits)
    assert first["balance"] == pytest.approx(bits)  # two nodes allow one bit
    assert first["code_balance"] == pytest.approx(bits / 2)  # four codes allow two
    assert first["sizes"] == {"1": 1, "3": 1}


@pytest.mark.parametrize(("groups_a", "groups_b"), [(1, 1), (1, 4), (4, 4), (7, 3), (60, 60), (60, 5)])
def test_agreement_is_that_of_scikit_learn(groups_a: int, groups_b: int) -> None:
    rng = np.random.default_rng(groups_a * 100 + groups_b)
    a = rng.permutation(np.arange(60) % groups_a)
    b = np.where(rng.random(60) < 0.5, a, rng.integers(groups_b, size=60)) % groups_b
    assert adjusted_mutual_information(a, b) == pytest.approx(adjusted_mutual_info_score(a, b), abs=1e-9)
    assert adjusted_mutual_information(a, a) == pytest.approx(1)


def test_neighbours_are_those_of_scikit_learn() -> None:
    points = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32)
    oracle = NearestNeighbors(n_neighbors=8).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    assert np.array_equal(nearest_neighbors(points, 7), oracle)


def test_a_point_is_not_its_own_neighbour_among_duplicates() -> None:
    found = nearest_neighbors(np.ones((9, 2)), 3)
    assert found.shape == (9, 3)
    assert (found != np.arange(9)[:, None]).all()
    assert nearest_neighbors(np.ones((2, 2)), 10).tolist() == [[1], [0]]
    assert nearest_neighbors(np.ones((1, 2)), 10).shape == (1, 0)


def test_a_gpu_without_its_package_is_one_clear_sentence(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install 'gen_rec\[gpu\]'"):
        nearest_neighbors(np.ones((5, 2)), 2, device="cuda")


def test_both_streams_as_json_and_png(tmp_path) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((300, 8)).astype(np.float32)
    behavior = fit_codes(values, TokenizerConfig(branching=8), 0)
    semantic = fit_codes(values, TokenizerConfig(method="random", branching=8), 0)
    report = code_report(behavior, semantic, behavior_embeddings=values, semantic_embeddings=values)
    assert abs(report["agreement"]["adjusted_mutual_information"]) < 0.1  # a random tree agrees with nothing
    ours, chance = report["behavior"], report["semantic"]
    assert 1 <= ours["over_unbalanced"] < chance["over_unbalanced"]
    assert ours["neighbors"]["share"][0] > 2 * chance["neighbors"]["share"][0]
    save_report(report, tmp_path / "codes" / "report.json")
    assert json.loads((tmp_path / "codes" / "report.json").read_text()) == report
    plot_report(report, tmp_path / "codes" / "report.png")
    assert (tmp_path / "codes" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_one_item_has_a_report() -> None:
    values = np.ones((1, 2))
    report = code_report(fit_codes(values, TokenizerConfig(), 0), behavior_embeddings=values)["behavior"]
    assert report["levels"][0]["largest"] == 1
    assert report["over_unbalanced"] == 1.0


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'gen_rec\[plots\]'"):
        plot_report(code_report(CODES, behavior_embeddings=VALUES), tmp_path / "x.png")


def test_what_does_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="embeddings have 3 rows, the codes 4"):
        code_report(CODES, behavior_embeddings=VALUES[:3])
    with pytest.raises(ValueError, match="behavior_embeddings are needed"):
        code_report(CODES)

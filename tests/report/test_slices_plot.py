"""The picture of NDCG@10 by groups of users, from files made for the test."""

import pytest
from PIL import Image

from benchmarks.slices_plot import chosen, lines, main
from gen_rec.evaluation.metrics import metric_names
from gen_rec.evaluation.result import make_result, write_result


def save(folder, name, figures, **changes):
    """figures: group -> filtered NDCG@10, the same groups for both ways to divide the users"""

    def table(value):
        return dict.fromkeys(metric_names(), value)

    slices = [
        {
            "by": by,
            "slice": group,
            "low": 0,
            "high": 1,
            "n": 7,
            "metrics": {"raw": table(0.9), "filtered": table(value)},
        }
        for by in ("target_popularity", "history_length")
        for group, value in figures.items()
    ]
    result = make_result(
        **{
            "set": "amazon-beauty", "method": "eager-fused", "seed": 0, "split": "test", "n_users": 7,
            "metrics": {"raw": table(0.1), "filtered": table(0.1)}, "config": "", "settings": {}, "text_encoder": "x",
            "slices": slices, **changes,
        }
    )  # fmt: skip
    write_result(folder / name, result)


def test_a_line_is_the_mean_of_the_seeds(tmp_path):
    save(tmp_path, "a.json", {"tail": 0.02, "head": 0.06})
    save(tmp_path, "b.json", {"tail": 0.04, "head": 0.08}, seed=1)
    save(tmp_path, "c.json", {"tail": 0.5, "head": 0.5}, method="sasrec-ce")
    save(tmp_path, "d.json", {"tail": 0.9, "head": 0.9}, seed=2, ties="shuffled")
    save(tmp_path, "e.json", {"tail": 0.9, "head": 0.9}, seed=2, set="amazon-toys")
    found = chosen(tmp_path, "amazon-beauty", ["sasrec-ce", "eager-fused", "bsarec"])
    assert list(found) == ["sasrec-ce", "eager-fused"]
    for by in ("target_popularity", "history_length"):
        assert lines(found["eager-fused"], by) == [("tail", 7, pytest.approx(0.03)), ("head", 7, pytest.approx(0.07))]


def test_text_encoders_are_lines_of_their_own(tmp_path):
    save(tmp_path, "a.json", {"tail": 0.02})
    save(tmp_path, "b.json", {"tail": 0.04}, text_encoder="y")
    found = chosen(tmp_path, "amazon-beauty", ["eager-fused"])
    assert {name: lines(results, "history_length")[0][2] for name, results in found.items()} == {
        "eager-fused, x": pytest.approx(0.02),
        "eager-fused, y": pytest.approx(0.04),
    }


def test_the_picture_is_written(tmp_path):
    save(tmp_path, "a.json", {"tail": 0.02, "head": 0.06})
    out = tmp_path / "images" / "slices.png"
    assert main(["--set", "amazon-beauty", "--results", str(tmp_path), "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_a_set_without_results_is_named(tmp_path, capsys):
    assert main(["--set", "yelp", "--results", str(tmp_path), "--out", str(tmp_path / "a.png")]) == 2
    assert "no test result of eager-reranked" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()

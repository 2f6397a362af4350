"""The training log: what is read, what a resumed or killed run leaves behind, and thinning."""

import json

import numpy as np
import pytest

from gen_rec.report.training_log import TrainingLog, draw_curves, read_log, thin


def write(path, records):
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records))
    return path


def test_series_over_steps(tmp_path):
    log = read_log(
        write(
            tmp_path / "log.jsonl",
            [
                {"step": 1, "epoch": 0, "loss": 3.0, "note": "text"},
                {"step": 2, "loss": 2.0, "recognition": 0.5},
                {"step": 2, "valid/selected": 0.03},
                {"step": 4, "valid/selected": 0.05},
                {"step": 6, "valid/selected": 0.04},
            ],
        )
    )
    assert {name: (s.tolist(), v.tolist()) for name, (s, v) in log.series.items()} == {
        "epoch": ([1], [0.0]),
        "loss": ([1, 2], [3.0, 2.0]),
        "recognition": ([2], [0.5]),
        "valid/selected": ([2, 4, 6], [0.03, 0.05, 0.04]),
    }
    assert log.best() == (4, 0.05)
    assert log.best("valid/recall@10") is None


def test_a_resumed_and_killed_run(tmp_path):
    log = read_log(
        write(
            tmp_path / "log.jsonl",
            [
                {"step": 1, "loss": 3.0},
                {"step": 3, "loss": 9.0},
                {"step": 2, "loss": 2.5},  # resumed from step 1: steps 2 and 3 come again
                {"step": 3, "loss": 2.0},
                {"step": 4, "loss": float("nan")},
                {"loss": 1.0},
                "[1, 2]\n",
                '{"step": 5, "lo',
            ],
        )
    )
    steps, losses = log.series["loss"]
    assert steps.tolist() == [1, 2, 3]
    assert losses.tolist() == [3.0, 2.5, 2.0]
    assert log.skipped == 2


def test_thinning_keeps_means_and_order():
    steps, values = np.arange(1000), np.arange(1000) * 2.0
    thin_steps, thin_values = thin(steps, values, points=10)
    np.testing.assert_allclose(thin_values, thin_steps * 2)
    assert thin_steps.tolist() == [49.5 + 100 * i for i in range(10)]
    assert thin(steps[:5], values[:5], points=10)[0] is not None
    assert len(thin(np.arange(1003), np.ones(1003), points=10)[0]) == 10


def test_pictures_are_drawn_of_what_is_there():
    steps = np.arange(1, 50)
    full = TrainingLog(
        {
            "loss": (steps, 5.0 / steps),
            "generation": (steps, 4.0 / steps),
            "learning_rate": (steps, 1e-3 / steps),
            "valid/selected": (np.array([10, 20]), np.array([0.02, 0.03])),
        }
    )
    picture = draw_curves(full)
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    only_loss = draw_curves(TrainingLog({"loss": (steps, 5.0 / steps)}))
    assert only_loss is not None

    def width(png: bytes) -> int:
        return int.from_bytes(png[16:20], "big")

    assert width(only_loss) < width(picture) / 2  # one panel of three


@pytest.mark.parametrize("series", [{}, {"epoch": (np.array([1]), np.array([1.0]))}])
def test_nothing_to_draw(series):
    assert draw_curves(TrainingLog(series)) is None

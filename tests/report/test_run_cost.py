"""What a benchmark run took: its parts add up, and a part that failed counts. And where its figures go."""

import json

import pytest

from benchmarks.accuracy.run import metered, set_label
from gen_rec.config import Config
from gen_rec.data.config import DataConfig


def test_parts_add_up_and_memory_is_the_largest(tmp_path):
    path = tmp_path / "cost.json"
    with metered(path) as first:
        assert not first  # known when the part is over
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == first
    path.write_text(json.dumps({"wall_s": 100.0, "cpu_s": 50.0, "peak_rss_mb": 1e9}), encoding="utf-8")
    with metered(path) as second:
        pass
    assert second["wall_s"] >= 100.0
    assert second["cpu_s"] >= 50.0
    assert second["peak_rss_mb"] == 1e9
    assert json.loads(path.read_text(encoding="utf-8")) == second


def test_a_part_that_fails_counts(tmp_path):
    path = tmp_path / "cost.json"
    with pytest.raises(RuntimeError, match="stopped"), metered(path):
        raise RuntimeError("stopped")
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {"wall_s", "cpu_s", "peak_rss_mb"}


def test_shuffled_ties_do_not_write_over_a_plain_run():
    plain, shuffled = (Config(data=DataConfig(set="amazon-beauty", tie_order=order)) for order in ("input", "shuffled"))
    assert set_label("amazon-beauty", plain) == "amazon-beauty"
    assert set_label("amazon-beauty", shuffled) == "amazon-beauty-shuffled"

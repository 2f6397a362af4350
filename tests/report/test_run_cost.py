"""What a benchmark run took: its parts add up, and a part that failed counts."""

import json

import pytest

from benchmarks.accuracy.run import metered


def test_parts_add_up_and_memory_is_the_largest(tmp_path):
    path = tmp_path / "cost.json"
    with metered(path, "key") as first:
        assert not first  # known when the part is over
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == {"key": "key", **first}
    path.write_text(json.dumps({"key": "key", "wall_s": 100.0, "cpu_s": 50.0, "peak_rss_mb": 1e9}), encoding="utf-8")
    with metered(path, "key") as second:
        pass
    assert second["wall_s"] >= 100.0
    assert second["cpu_s"] >= 50.0
    assert second["peak_rss_mb"] == 1e9
    assert json.loads(path.read_text(encoding="utf-8")) == {"key": "key", **second}


def test_a_part_that_fails_counts(tmp_path):
    path = tmp_path / "cost.json"
    with pytest.raises(RuntimeError, match="stopped"), metered(path, "key"):
        raise RuntimeError("stopped")
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {"key", "wall_s", "cpu_s", "peak_rss_mb"}


def test_another_run_in_the_same_folder_starts_anew(tmp_path):
    path = tmp_path / "cost.json"
    path.write_text(json.dumps({"key": "seed 0", "wall_s": 100.0, "cpu_s": 50.0, "peak_rss_mb": 1e9}), encoding="utf-8")
    with metered(path, "seed 1") as cost:
        pass
    assert cost["wall_s"] < 100.0
    assert cost["peak_rss_mb"] < 1e9

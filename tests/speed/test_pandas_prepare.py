"""Both sides of row 10 write the same tables."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.speed.prepare_rows import SIDES, run_side, write_csv
from gen_rec.data.config import DataConfig
from gen_rec.data.prepare import prepare


def rows_with_ties(path: Path) -> None:
    """Users and items that a 3-core drops in several rounds, repeats, equal times, users of one or two rows."""
    rng = np.random.default_rng(0)
    user, item = (rng.geometric(0.04, 800) for _ in range(2))
    frame = {"user_id": user, "item_id": item, "timestamp": rng.integers(0, 30, 800)}
    path.parent.mkdir(parents=True)
    pl.DataFrame(frame).select(pl.format("u{}", "user_id").alias("user_id"), "item_id", "timestamp").write_csv(path)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_same_tables(tmp_path: Path, k: int) -> None:
    pytest.importorskip("pandas")
    from benchmarks.speed.rivals.pandas_prepare import prepare_with_pandas

    csv = tmp_path / "big" / "interactions.csv"
    rows_with_ties(csv)
    summary = prepare(DataConfig(set="big", root=str(tmp_path), k_core=k, deduplicate=True), tmp_path / "ours")
    left = prepare_with_pandas(csv, tmp_path / "rival", k)
    assert left == {name: summary[name] for name in left}
    assert summary["dropped_duplicates"] > 0
    assert (summary["k_core_rounds"] > 1) == (k > 1)
    for name in ("interactions", "users", "items"):
        ours, theirs = (pl.read_parquet(tmp_path / side / f"{name}.parquet") for side in ("ours", "rival"))
        assert_frame_equal(ours, theirs)


def test_a_process_measures_itself(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    write_csv(tmp_path / "big" / "interactions.csv", 3000)
    for side in SIDES:
        found = run_side(side, tmp_path, tmp_path / side)
        assert found["seconds"] > 0
        assert 30 < found["peak_mb"] < 2000  # its own: neither nothing nor that of the process that tests
        assert (tmp_path / side / "interactions.parquet").is_file()

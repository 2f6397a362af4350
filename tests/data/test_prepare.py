"""The whole stage on tables small enough to follow by hand, its policies, what a failure leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gen_rec.data.config import DataConfig, TableConfig
from gen_rec.data.interactions import Dataset
from gen_rec.data.prepare import encode, prepare
from gen_rec.errors import DataError

INTERACTIONS = """user_id,item_id,timestamp
ann,007,30
bob,c,5
ann,7,10
ann,c,10
bob,007,1
cat,x,9
ann,007,40
bob,7,6
"""
ITEMS = """item_id,title,brand
never,Never bought,Acme
c,Cup,Acme
7,Seven,Unknown
007,Bond,
x,Ex,Acme
"""


def write(folder: Path, interactions: str = INTERACTIONS, items: str | None = ITEMS) -> Path:
    (folder / "shop").mkdir(exist_ok=True)
    (folder / "shop" / "interactions.csv").write_text(interactions)
    if items is not None:
        (folder / "shop" / "items.csv").write_text(items)
    return folder


def run(folder: Path, **settings) -> tuple[Dataset, dict]:
    summary = prepare(DataConfig(set="shop", root=str(folder), **settings), folder / "out")
    return Dataset.load(folder / "out"), summary


def histories(dataset: Dataset) -> dict[str, list[str]]:
    ids = dataset.item_ids[dataset.item_index].tolist()
    bounds = dataset.offsets.tolist()
    return {user: ids[bounds[u] : bounds[u + 1]] for u, user in enumerate(dataset.user_ids)}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_by_hand(tmp_path):
    dataset, summary = run(write(tmp_path))
    assert histories(dataset) == {"ann": ["7", "c", "007", "007"], "bob": ["007", "c", "7"], "cat": ["x"]}
    assert dataset.item_ids.tolist() == ["c", "7", "007", "x"]  # the order of items.csv, unused ones left out
    assert dataset.titles == ["Cup", "Seven", "Bond", "Ex"]
    assert dataset.texts == ["Cup. Brand: Acme", "Seven", "Bond", "Ex. Brand: Acme"]
    assert dataset.split.tolist() == [0, 0, 1, 2, 0, 1, 2, 0]
    assert dataset.timestamps.tolist() == [10, 10, 30, 40, 1, 5, 6, 9]
    assert dataset.train_counts().tolist() == [1, 1, 1, 1]
    counts = {"users": 3, "items": 4, "interactions": 8, "interactions_read": 8, "density": 8 / 12}
    assert counts.items() <= summary.items()
    assert summary["splits"] == {"train": 4, "valid": 2, "test": 2}
    assert summary["share_of_ties"] == 1 / 8
    assert summary["share_of_users_with_ties"] == 1 / 3
    assert summary["settings"]["set"] == "shop"


def test_two_core_and_deduplication(tmp_path):
    dataset, summary = run(write(tmp_path), k_core=2)
    assert histories(dataset) == {"ann": ["7", "c", "007", "007"], "bob": ["007", "c", "7"]}
    assert dataset.item_ids.tolist() == ["c", "7", "007"]
    assert summary["k_core_rounds"] == 1
    dataset, summary = run(write(tmp_path), deduplicate=True)
    assert histories(dataset)["ann"] == ["7", "c", "007"]
    assert dataset.timestamps.tolist()[:3] == [10, 10, 30]  # the first in time stays
    assert summary["dropped_duplicates"] == 1


def test_without_items_the_order_is_first_appearance(tmp_path):
    dataset, summary = run(write(tmp_path, items=None))
    assert dataset.item_ids.tolist() == ["007", "c", "7", "x"]
    assert dataset.texts == dataset.titles == [""] * 4
    assert summary["share_with_text"] == 0


@pytest.mark.parametrize("hashes", [None, [7, 7, 7, 9, 7]])  # the second: texts that share a hash
def test_ids_are_numbered_in_order_of_first_appearance(monkeypatch, hashes):
    if hashes:
        monkeypatch.setattr(pl.Series, "hash", lambda self: pl.Series(hashes, dtype=pl.UInt64))
    codes, unique = encode(pl.Series(["b", "a", "b", "c", "a"]))
    assert codes.tolist() == [0, 1, 0, 2, 1]
    assert codes.dtype == np.int32
    assert unique.to_list() == ["b", "a", "c"]


def test_shuffled_ties(tmp_path):
    write(tmp_path)
    seen = set()
    for seed in range(20):
        dataset, _ = run(tmp_path, tie_order="shuffled", tie_seed=seed)
        rows = histories(dataset)
        seen.add(tuple(rows["ann"]))
        assert rows["bob"] == ["007", "c", "7"]
        again, _ = run(tmp_path, tie_order="shuffled", tie_seed=seed)
        assert histories(again) == rows
    assert seen == {("7", "c", "007", "007"), ("c", "7", "007", "007")}


def test_leave_last_out_has_the_same_tests_and_no_validation(tmp_path):
    dataset, summary = run(write(tmp_path), split="leave-last-out")
    assert dataset.split.tolist() == [0, 0, 0, 2, 0, 0, 2, 0]
    assert summary["splits"] == {"train": 6, "valid": 0, "test": 2}


def test_date_window_and_temporal_split(tmp_path):
    dataset, summary = run(write(tmp_path), date_from="1970-01-01T00:00:05", date_to="1970-01-01T00:00:40")
    assert histories(dataset) == {"ann": ["7", "c", "007"], "bob": ["c", "7"], "cat": ["x"]}
    assert summary["dropped_by_date"] == 2
    dates = {"valid_from": "1970-01-01T00:00:09", "test_from": "1970-01-01T00:00:30"}
    dataset, summary = run(tmp_path, split="temporal", **dates)
    assert dataset.split.tolist() == [1, 1, 2, 2, 0, 0, 0, 1]
    assert dataset.cases("valid").user.tolist() == [0, 2]
    assert dataset.cases("valid").lengths.tolist() == [0, 0]  # both are new
    assert dataset.cases("test").target.tolist() == [2]
    assert summary["split_cuts"] == (9, 30)
    with pytest.raises(DataError, match=r"no interaction lies in the window from 2000-01-01 to None \(timestamps run"):
        run(tmp_path, date_from="2000-01-01")


def test_windows_need_a_clock(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "sequences.txt").write_text("1 1 2 3\n")
    for settings in ({"split": "temporal"}, {"date_from": "2019-01-01"}):
        with pytest.raises(DataError, match=r"Unix timestamps, but .*sequences\.txt only has the order"):
            run(tmp_path, **settings)


def test_title_column_and_template(tmp_path):
    dataset, _ = run(write(tmp_path), title_column="brand", text="By {brand}: {title}.")
    assert dataset.titles == ["Acme", "Unknown", "", "Acme"]
    assert dataset.texts == ["By Acme: Cup.", "Seven.", "Bond.", "By Acme: Ex."]
    with pytest.raises(DataError, match=r"items\.csv: no column 'name' \(found item_id, title, brand\)"):
        run(tmp_path, title_column="name")
    with pytest.raises(DataError, match=r"items\.csv: the template data\.text names the column 'genre'"):
        run(tmp_path, text="{genre}")


def test_duplicate_item_rows(tmp_path):
    write(tmp_path, items=ITEMS + "c,Mug,Other\n")
    with pytest.raises(DataError) as error:
        run(tmp_path)
    items = tmp_path / "shop" / "items.csv"
    assert str(error.value) == (
        f"{items}, line 7: item_id 'c' occurs twice (first: {items}, line 3); ids must be unique "
        "(drop one, or pass --data.on_duplicate keep_first or keep_last)"
    )
    first, _ = run(tmp_path, on_duplicate="keep_first")
    last, _ = run(tmp_path, on_duplicate="keep_last")
    assert first.titles == ["Cup", "Seven", "Bond", "Ex"]
    assert last.titles == ["Mug", "Seven", "Bond", "Ex"]  # in the same place


def test_interaction_whose_item_has_no_row(tmp_path):
    write(tmp_path, items=ITEMS.replace("c,Cup,Acme\n", ""))
    with pytest.raises(DataError) as error:
        run(tmp_path)
    shop = tmp_path / "shop"
    assert str(error.value) == (
        f"{shop}/interactions.csv, line 3: item 'c' has no row in {shop}/items.csv "
        "(1 such items, 2 interactions); add the rows, or pass --data.on_unknown_item drop or keep"
    )
    dataset, summary = run(tmp_path, on_unknown_item="drop")
    assert histories(dataset) == {"ann": ["7", "007", "007"], "bob": ["007", "7"], "cat": ["x"]}
    assert summary["dropped_unknown_items"] == 2
    dataset, _ = run(tmp_path, on_unknown_item="keep")
    assert dataset.item_ids.tolist() == ["7", "007", "x", "c"]
    assert dataset.texts[-1] == dataset.titles[-1] == ""
    assert histories(dataset)["ann"] == ["7", "c", "007", "007"]


def test_no_item_is_known(tmp_path):
    write(tmp_path, items="item_id,title\nz,Zed\n")
    with pytest.raises(DataError, match=r"shop: no interaction is left .* data\.on_unknown_item"):
        run(tmp_path, on_unknown_item="drop")


def test_the_k_core_is_empty(tmp_path):
    with pytest.raises(DataError) as error:
        run(write(tmp_path), k_core=5)
    assert str(error.value) == (
        "shop: the 5-core is empty: of 8 interactions, 3 users and 4 items none is left after 1 rounds; "
        "lower data.k_core"
    )


def test_no_interactions(tmp_path):
    with pytest.raises(DataError, match=r"interactions\.csv: there is not one interaction in it"):
        run(write(tmp_path, interactions="user_id,item_id,timestamp\n"))


def test_nobody_can_be_tested(tmp_path, caplog):
    dataset, _ = run(write(tmp_path, interactions="user_id,item_id,timestamp\na,c,1\na,7,2\n"))
    assert dataset.split.tolist() == [0, 0]
    assert "nothing is left for validation and test" in caplog.text


def test_parquet_and_csv_give_the_same(tmp_path):
    run(write(tmp_path))
    csv = snapshot(tmp_path / "out")
    shop = tmp_path / "shop"
    frame = pl.read_csv(shop / "interactions.csv", schema_overrides={"item_id": pl.String})
    frame.write_parquet(tmp_path / "other.parquet")
    table = TableConfig(interactions=str(tmp_path / "other.parquet"), items=str(shop / "items.csv"))
    prepare(DataConfig(table=table), tmp_path / "out")
    parquet = snapshot(tmp_path / "out")
    assert {name: parquet[name] for name in csv if name.endswith(".parquet")} == {
        name: content for name, content in csv.items() if name.endswith(".parquet")
    }


def test_a_failed_run_leaves_the_last_good_output(tmp_path, monkeypatch):
    run(write(tmp_path))
    before = snapshot(tmp_path / "out")
    with pytest.raises(DataError):
        run(tmp_path, k_core=9)
    assert snapshot(tmp_path / "out") == before

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("gen_rec.data.prepare.write_json", fail)  # the last file of the folder
    with pytest.raises(OSError, match="no space left"):
        run(tmp_path, k_core=2)
    assert snapshot(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shop"]
    monkeypatch.undo()
    assert run(tmp_path, k_core=2)[0].n_users == 2


KILLED = """
import sys, time
import gen_rec.data.prepare as stage
write = stage.write_dataset
def slow(dataset, folder):
    write(dataset, folder)
    print("written", flush=True)
    time.sleep(60)
stage.write_dataset = slow
stage.prepare(stage.DataConfig(set="shop", root=sys.argv[1], k_core=2), sys.argv[1] + "/out")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_leaves_the_last_good_output(tmp_path):
    run(write(tmp_path))
    before = snapshot(tmp_path / "out")
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "written\n"
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(timeout=30) == -signal.SIGKILL
    child.stdout.close()
    assert snapshot(tmp_path / "out") == before
    assert Dataset.load(tmp_path / "out").n_users == 3
    assert run(tmp_path, k_core=2)[0].n_users == 2  # and the next run cleans up and succeeds
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shop"]


def test_summary_file(tmp_path):
    _, summary = run(write(tmp_path), split="temporal", valid_from=0.5, test_from=0.8)
    read = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert read == json.loads(json.dumps(summary))

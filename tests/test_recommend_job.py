"""Ranked lists as a batch job: the lists that ``Recommender`` gives, whole files, and what a kill leaves."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gen_rec import recommend_job as module
from gen_rec.cli import main
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.engine import Engine
from gen_rec.errors import GenRecError
from gen_rec.evaluation.lists import LIST_SCHEMA
from gen_rec.histories import Histories, cut
from gen_rec.inference import load_recommender, run_recommend
from gen_rec.recommend_job import Request, write_recommendations
from gen_rec.recommender import Recommender
from gen_rec.run import Run

USERS = [("a", ["i1"]), ("b", ["i2", "i3"]), ("c", []), ("d", ["i4", "i1", "i7"]), ("e", ["nothing", "i9"])]
ENGINE = Engine()
READERS: dict[str, Callable[..., pl.DataFrame]] = {
    ".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson,
}  # fmt: skip


@pytest.fixture
def histories(tmp_path: Path) -> Histories:
    return cut(USERS, tmp_path / "cut", 2)


@pytest.fixture
def request_of(trained: tuple[Config, Path]) -> Callable[..., Request]:
    def make(k: int = 4, partition_rows: int = 2, model: Path = trained[1] / "model") -> Request:
        return Request(model, trained[0].search, k, True, partition_rows)

    return make


@pytest.fixture
def expected(trained: tuple[Config, Path]) -> pl.DataFrame:
    recommender = load_recommender(trained[0], Run(trained[1]))
    return recommender.recommend([history for _, history in USERS], 4, user_ids=[user for user, _ in USERS])


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """The same lists. Batches of other users are padded otherwise, which moves the last bits of a score."""
    names = [name for name in found.columns if "score" not in name]
    assert found.select(names).cast({"rank": pl.Int32}).equals(expected.select(names))
    for name in ("score", "behavior_score", "semantic_score"):
        np.testing.assert_allclose(
            found[name].cast(pl.Float64).to_numpy(), expected[name].cast(pl.Float64).to_numpy(), rtol=1e-5
        )


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("partition_rows", [1, 2, 99])
def test_lists_in_a_file(
    request_of: Callable[..., Request], histories: Histories, expected: pl.DataFrame, tmp_path: Path,
    suffix: str, partition_rows: int,
) -> None:  # fmt: skip
    out = tmp_path / "out" / f"recs{suffix}"
    assert write_recommendations(request_of(4, partition_rows), histories, str(out), ENGINE) == 20
    found = READERS[suffix](out)
    same(found, expected)
    assert found.columns == (LIST_SCHEMA.names if suffix == ".parquet" else module.TITLED_SCHEMA.names)
    assert list(out.parent.iterdir()) == [out]
    if suffix == ".parquet":
        schema = pq.read_schema(out)
        assert schema.equals(LIST_SCHEMA, check_metadata=False)  # with what may be null
        assert not schema.metadata  # the key is the partitions'


def test_lists_in_a_folder(
    request_of: Callable[..., Request], histories: Histories, expected: pl.DataFrame, tmp_path: Path
) -> None:
    for out in (tmp_path / "recs", f"{tmp_path}/recs.v1/"):
        assert write_recommendations(request_of(), histories, str(out), ENGINE) == 20
        names = sorted(path.name for path in Path(out).iterdir())
        assert names == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
        same(pl.read_parquet(f"{out}/*.parquet"), expected)
        assert [len(pl.read_parquet(Path(out) / name)) for name in names] == [8, 8, 4]


def test_the_lists_do_not_depend_on_how_a_partition_was_reached(
    request_of: Callable[..., Request], histories: Histories, tmp_path: Path
) -> None:
    write_recommendations(request_of(), histories, str(tmp_path / "once"), ENGINE)
    shutil.copytree(tmp_path / "once", tmp_path / "resumed")
    (tmp_path / "resumed" / "part-00001.parquet").unlink()
    write_recommendations(request_of(), histories, str(tmp_path / "resumed"), ENGINE)
    for path in (tmp_path / "once").iterdir():
        assert path.read_bytes() == (tmp_path / "resumed" / path.name).read_bytes()


@pytest.mark.parametrize("name", ["recs.tsv", "recs.json", "recs.parquet.gz"])
def test_lists_of_an_unknown_kind(
    request_of: Callable[..., Request], histories: Histories, tmp_path: Path, name: str
) -> None:
    with pytest.raises(GenRecError, match=rf"{name}: ranked lists are written as \.parquet, \.csv or \.jsonl, got"):
        write_recommendations(request_of(), histories, str(tmp_path / name), ENGINE)
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]


@pytest.fixture
def break_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[list[str]]]:
    """``break_after(2)``: the third partition breaks. Returns the users of every partition that was begun."""
    whole = Recommender.recommend_batches

    def make(partitions: int) -> list[list[str]]:
        begun: list[list[str]] = []

        def broken(
            self: Recommender, histories: object, k: int, seen: bool, users: list[str]
        ) -> Iterator[pl.DataFrame]:
            begun.append(users)
            yield from whole(self, histories, k, seen, users)  # type: ignore[arg-type]
            if len(begun) > partitions:
                raise KeyboardInterrupt

        monkeypatch.setattr(Recommender, "recommend_batches", broken)
        return begun

    return make


@pytest.mark.parametrize("out", ["recs.parquet", "recs.csv", "recs"])
def test_interrupted_and_resumed(
    request_of: Callable[..., Request], histories: Histories, expected: pl.DataFrame, tmp_path: Path, out: str,
    break_after: Callable[[int], list[list[str]]], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    place = tmp_path / "out" / out
    break_after(1)
    with pytest.raises(KeyboardInterrupt):
        write_recommendations(request_of(), histories, str(place), ENGINE)
    folder = place if out == "recs" else place.with_name(f"{out}.parts")
    assert list(place.parent.iterdir()) == [folder]  # an unfinished list is not there under its name
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]
    begun = break_after(99)
    with caplog.at_level("INFO"):
        assert write_recommendations(request_of(), histories, str(place), ENGINE) == 20
    assert f"1 of 3 partitions are there, in {folder}" in caplog.text
    assert begun == [["c", "d"], ["e"]]
    same(pl.read_parquet(f"{place}/*.parquet") if out == "recs" else READERS[place.suffix](place), expected)
    assert list(place.parent.iterdir()) == [place]
    begun.clear()
    write_recommendations(request_of(), histories, str(place), ENGINE)
    assert len(begun) == (0 if out == "recs" else 3)  # a folder of partitions is what was asked for; a file is new


@pytest.mark.parametrize("change", ["k", "history", "partition_rows", "search", "model"])
def test_a_change_starts_over(
    request_of: Callable[..., Request], histories: Histories, tmp_path: Path, trained: tuple[Config, Path], change: str
) -> None:
    out = tmp_path / "recs"
    request = request_of()
    write_recommendations(request, histories, str(out), ENGINE)
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    write_recommendations(request, histories, str(out), ENGINE)
    assert {path.name: path.stat().st_ino for path in out.iterdir()} == before
    match change:
        case "k":
            request = replace(request, k=3)
        case "history":
            histories = cut([*USERS[:4], ("e", ["i9", "i9"])], tmp_path / "cut", 2)
        case "partition_rows":
            request = replace(request, partition_rows=3)
        case "search":
            request = replace(request, search=replace(request.search, behavior_weight=0.25))
        case "model":
            model = Path(shutil.copytree(request.model, tmp_path / "model"))
            write_recommendations(replace(request, model=model), histories, str(out), ENGINE)
            assert {path.name: path.stat().st_ino for path in out.iterdir()} == before  # the same, elsewhere
            recommender = Recommender.from_pretrained(model)
            recommender.items = recommender.items.with_columns(train_count=pl.col("train_count") + 1)
            recommender.save(model)
            request = replace(request, model=model)
    write_recommendations(request, histories, str(out), ENGINE)
    after = {path.name: path.stat().st_ino for path in out.iterdir()}
    assert len(after) == (2 if change == "partition_rows" else 3)
    assert all(path.read_bytes().endswith(b"PAR1") for path in out.iterdir())
    metadata = [pq.read_schema(path).metadata for path in out.iterdir()]
    key = request.job(histories, titles=False).key
    assert {found[b"gen_rec.key"].decode() for found in metadata} == {key}


def test_a_file_takes_its_place_as_a_whole(
    request_of: Callable[..., Request], histories: Histories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "recs.parquet"
    write_recommendations(request_of(), histories, str(out), ENGINE)
    before = out.read_bytes()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(module, "_join", broken)
        with pytest.raises(ZeroDivisionError):
            write_recommendations(request_of(3), histories, str(out), ENGINE)
    assert out.read_bytes() == before
    parts = out.with_name("recs.parquet.parts")
    assert sorted(out.parent.iterdir()) == [out, parts]
    inodes = [path.stat().st_ino for path in sorted(parts.iterdir())]
    assert len(inodes) == 3
    assert write_recommendations(request_of(3), histories, str(out), ENGINE) == 15
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_of_something_else_is_left_alone(
    request_of: Callable[..., Request], histories: Histories, tmp_path: Path
) -> None:
    with pytest.raises(GenRecError, match=r"00000\.parquet: is not a partition that gen_rec wrote"):
        write_recommendations(request_of(), histories, str(tmp_path / "cut"), ENGINE)
    assert len(list((tmp_path / "cut").iterdir())) == 3


def test_a_split_and_its_users(trained: tuple[Config, Path], tmp_path: Path) -> None:
    config, run = trained
    dataset = Dataset.load(run / "data")
    cases = dataset.cases("valid")
    histories = [list(dataset.item_ids[cases[i]]) for i in range(len(cases))]
    users = list(dataset.user_ids[cases.user])
    expected = load_recommender(config, Run(run)).recommend(histories, 3, user_ids=users)
    out = tmp_path / "recs.parquet"
    assert run_recommend(config, str(out), split="valid", k=3, partition_rows=32) == (360, 120)
    same(pl.read_parquet(out), expected)
    assert list(tmp_path.iterdir()) == [out]


def test_the_same_histories_in_every_form(trained: tuple[Config, Path], tmp_path: Path) -> None:
    """Text, one Parquet file and a folder of them give the same lists by the command line."""
    (tmp_path / "in").mkdir()
    lines = "".join(f'{{"user_id": "{user}", "history": {history}}}\n' for user, history in USERS).replace("'", '"')
    (tmp_path / "h.jsonl").write_text(lines)
    frame = pl.DataFrame(
        {"user_id": [user for user, _ in USERS], "history": [history for _, history in USERS]},
        schema={"user_id": pl.String, "history": pl.List(pl.String)},
    )
    frame.write_parquet(tmp_path / "h.parquet")
    frame[:3].write_parquet(tmp_path / "in" / "a.parquet")
    frame[3:].write_parquet(tmp_path / "in" / "b.parquet")
    out = tmp_path / "out"
    for i, source in enumerate(("h.jsonl", "h.parquet", "in")):
        options = ["--histories", str(tmp_path / source), "--k", "3", "--partition_rows", "2"]
        assert main(["recommend", "--run", str(trained[1]), *options, "--out", str(out / f"{i}.csv")]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0.csv", "1.csv", "2.csv"]
    assert len({path.read_bytes() for path in out.iterdir()}) == 1


def test_a_null_in_parquet_stops_the_command(
    trained: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.DataFrame({"history": [["i1"], ["i2"], None]}).write_parquet(tmp_path / "h.parquet")
    arguments = ["--run", str(trained[1]), "--histories", str(tmp_path / "h.parquet"), "--partition_rows", "2"]
    assert main(["recommend", *arguments, "--out", str(tmp_path / "recs.csv")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path / 'h.parquet'}, row 2 (from 0): ")
    assert not (tmp_path / "recs.csv").exists()


def test_killed_and_resumed(
    trained: tuple[Config, Path], tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """SIGKILL in the middle: the partitions that are there stay as they are, the others are made, and no more."""
    n_users = 60_000
    table = pa.table(
        [[str(n) for n in range(n_users)], [[f"i{n % 40}"] for n in range(n_users)]], ["user_id", "history"]
    )
    pq.write_table(table, tmp_path / "h.parquet")
    out = tmp_path / "recs"
    options = ["-m", "gen_rec.cli", "recommend", "--run", trained[1], "--histories", tmp_path / "h.parquet",
               "--partition_rows", 1000, "--k", 2, "--out", out]  # fmt: skip
    process = start(*options)
    deadline = time.monotonic() + 120
    while len(list(out.glob("part-*.parquet"))) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    done = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("part-*.parquet")}
    assert 2 <= len(done) < 60
    process = start(*options)
    output, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    assert f"{len(done)} of 60 partitions are there" in log
    assert f"{2 * n_users} rows for {n_users} histories" in output
    after = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.iterdir()}
    assert len(after) == 60
    assert {name: after[name] for name in done} == done
    found = pl.read_parquet(out / "*.parquet")
    assert found["user_id"].unique(maintain_order=True).to_list() == [str(n) for n in range(n_users)]

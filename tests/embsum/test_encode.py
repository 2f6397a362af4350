"""Poly-embeddings on disk: equal to those of the model, whoever computed them and however often they were stopped."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from gen_rec.cli import main
from gen_rec.data.interactions import Dataset
from gen_rec.embsum.catalogue import encode_cases, item_tokens, rank_catalogue
from gen_rec.embsum.encode import _Open, encoded_file, run_encode
from gen_rec.embsum.encoded import EncodedItems, EncodedPairs, compare_rankings, halved
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.poly import PairScore
from gen_rec.errors import GenRecError


def random_score(hidden: int, seed: int = 0) -> PairScore:
    score = PairScore(hidden, scale=1.0)
    torch.manual_seed(seed)
    with torch.no_grad():
        score.weight.copy_(torch.randn(hidden, hidden) * hidden**-0.5)
        score.log_scale.copy_(torch.tensor(0.3))
    return score.requires_grad_(False)


def arrays(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.stem}/{name}": value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()
    }


def test_offline_equals_online(ready: SimpleNamespace) -> None:
    run_encode(ready.config, ("valid",), partition_rows=50)
    pairs = EncodedPairs.load(ready.folder, "valid")
    model, dataset = EmbSum.load(ready.run / "embsum" / "model"), Dataset.load(ready.run / "data")
    tokens, cases = item_tokens(dataset, model), dataset.cases("valid")
    rows = np.array([3, 0, 119, 3])
    items = np.random.default_rng(0).integers(0, 40, (4, 7))
    items[1, 2:4] = -1
    found = pairs.scores(rows, items)
    assert found.dtype == np.float32
    for i, row in enumerate(rows):  # each user alone, with its candidates alone
        (user,) = encode_cases(model, tokens, cases, np.array([row]))
        for j, item in enumerate(items[i]):
            if item < 0:
                assert found[i, j] == -np.inf
                continue
            with torch.no_grad():
                vectors = model.encode_items(tokens.candidates(np.array([item])))
                online = model.score(user, vectors[None])
            assert found[i, j] == pytest.approx(online.item(), abs=2e-5)  # float32, other batches


def test_what_is_there_is_kept(ready: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    files = run_encode(ready.config, ("valid", "test"))
    assert [path.name for path in files] == ["items.safetensors", "users_valid.safetensors", "users_test.safetensors"]
    assert sorted(path.name for path in ready.folder.iterdir()) == sorted(path.name for path in files)  # no leftovers
    written = [path.stat().st_mtime_ns for path in files]
    caplog.set_level("INFO")
    run_encode(ready.config, ("valid", "test"))
    assert [path.stat().st_mtime_ns for path in files] == written
    assert caplog.text.count("have not changed, kept") == 3
    before = arrays(ready.folder)
    run_encode(ready.config, ("valid",), dtype="float16")
    assert [path.stat().st_mtime_ns > old for path, old in zip(files, written, strict=True)] == [True, True, False]
    after = arrays(ready.folder)
    assert after["items/vectors"].dtype == torch.float16
    assert torch.equal(after["items/vectors"], before["items/vectors"].half())
    pairs = EncodedPairs.load(ready.folder, "valid")
    assert pairs.scores(np.array([0]), np.array([[1, 2]])).dtype == np.float32


def test_killed_and_gone_on(ready: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    run_encode(ready.config, ("test",), partition_rows=32)
    whole = arrays(ready.folder)
    for path in ready.folder.iterdir():
        path.unlink()
    done: list[tuple[str, int]] = []
    original = _Open.__call__

    def counted(self: _Open, device: str) -> Callable[[int], Iterator[pa.Table]]:
        work = original(self, device)

        def again(number: int) -> Iterator[pa.Table]:
            done.append((self.what, number))
            if len(done) == 4:
                raise KeyboardInterrupt
            return iter(work(number))

        return again

    monkeypatch.setattr(_Open, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        run_encode(ready.config, ("test",), partition_rows=32)
    assert done == [("items", 0), ("items", 1), ("test", 0), ("test", 1)]
    assert not encoded_file(ready.folder, "test").exists()
    run_encode(ready.config, ("test",), partition_rows=32)
    assert done[4:] == [("test", 1), ("test", 2), ("test", 3)]  # no partition twice
    parts = arrays(ready.folder)
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_the_work_travels(ready: SimpleNamespace) -> None:
    """By pickle to an actor elsewhere, whose vectors are the same."""
    (path, _) = run_encode(ready.config, ("test",), partition_rows=64)
    model, data = (ready.run / name for name in ("embsum/model", "data"))
    there = pickle.loads(pickle.dumps(_Open(model.resolve(), data.resolve(), "items", 40, 64, "float32", False)))
    rows = pa.concat_tables(there("cpu")(0))["vectors"].to_pylist()
    assert b"".join(rows) == load_file(path)["vectors"].numpy().tobytes()


def test_users_of_other_data_are_refused(ready: SimpleNamespace) -> None:
    """Rows are cases of the split that was encoded: of another split they would be other people's."""
    run_encode(ready.config, ("valid",))
    data = ready.run / "data"
    EncodedPairs.load(ready.folder, "valid", data)
    users = pl.read_parquet(data / "users.parquet")
    users.reverse().write_parquet(data / "users.parquet")
    with pytest.raises(GenRecError, match=r"users_valid.* was encoded from other data than .*--rerank\.embsum off"):
        EncodedPairs.load(ready.folder, "valid", data)


def test_users_of_another_model_are_refused(ready: SimpleNamespace) -> None:
    run_encode(ready.config, ("valid", "test"))
    model = EmbSum.load(ready.run / "embsum" / "model")
    with torch.no_grad():
        model.score.log_scale.add_(1)
    model.save(ready.run / "embsum" / "model")
    run_encode(ready.config, ("test",))
    EncodedPairs.load(ready.folder, "test")
    with pytest.raises(GenRecError, match=r"users_valid.* is of another model than .*items"):
        EncodedPairs.load(ready.folder, "valid")
    encoded_file(ready.folder, "test").write_bytes(b"short")
    with pytest.raises(GenRecError, match="cannot be read"):
        EncodedPairs.load(ready.folder, "test")
    encoded_file(ready.folder, "test").unlink()
    with pytest.raises(GenRecError, match="gen-rec embsum encode"):
        EncodedPairs.load(ready.folder, "test")


def test_the_command(ready: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embsum", "encode", *ready.arguments, "--split=valid", "--dtype=float16"]) == 0
    assert capsys.readouterr().out.split() == [str(encoded_file(ready.folder, what)) for what in ("items", "valid")]
    assert main(["embsum", "encode", *ready.arguments, "--run", str(ready.run / "none")]) == 1
    assert "gen-rec embsum train" in capsys.readouterr().err


def test_the_ranking_of_the_whole_catalogue() -> None:
    """Blocks of users and items against one matrix of all scores; ties go to the smaller item."""
    torch.manual_seed(1)
    score, users, items = random_score(8), torch.randn(300, 3, 8), torch.randn(1100, 2, 8)
    items[700] = items[5]  # a tie of items in different blocks
    users[0] = 0  # ties of all items: an empty history
    seen = np.random.default_rng(0).integers(-1, 1100, (300, 4))
    every = score.all_pairs(users, items)
    for left_out in (None, seen):
        expected = every.clone()
        if left_out is not None:
            for row, some in enumerate(left_out):
                expected[row, some[some >= 0]] = -torch.inf
        order = expected.argsort(dim=1, descending=True, stable=True)[:, :21]
        found = rank_catalogue(score, users, items, 21, left_out)
        close = torch.isclose(expected.gather(1, found.items), expected.gather(1, order), atol=1e-5)
        assert bool(close.all())  # the same but for items whose scores differ in the last bits
        assert (found.items != order).float().mean() < 0.01
        assert found.items[0].tolist() == order[0].tolist()


def test_half_precision_is_compared() -> None:
    # By hand, cut 2: user 0 keeps items 7, 8 but swaps them; user 1 loses one of two; -1 is no item.
    items = np.array([[7, 8, 9], [4, 5, -1]])
    before = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 9.0]], dtype=np.float32)
    after = np.array([[2.0, 3.0, 1.0], [3.0, 2.0, 9.0]], dtype=np.float32)
    told = compare_rankings(before, after, items, np.array([7, 5]), cut=2)
    second = 1 / np.log2(3)
    assert told == {
        "same_top@2": 1.0, "same_order@2": 0.5, "ndcg@2_before": pytest.approx((1 + second) / 2),
        "ndcg@2_after": pytest.approx(second), "ndcg@2_change": pytest.approx((second - 1) / 2),
    }  # fmt: skip
    assert compare_rankings(before, np.flip(before, 1), items[:, ::-1], np.array([7, 5]), cut=1)["same_top@1"] < 1


def test_half_precision_changes_little() -> None:
    torch.manual_seed(0)
    pairs = EncodedPairs(torch.randn(60, 4, 32), EncodedItems(torch.randn(200, 3, 32), random_score(32)))
    rng = np.random.default_rng(0)
    items = np.stack([rng.permutation(200)[:50] for _ in range(60)])
    full, half = (each.scores(np.arange(60), items) for each in (pairs, halved(pairs)))
    assert 0 < np.abs(full - half).max() < 0.05
    told = compare_rankings(full, half, items, items[:, 0])
    assert told["same_top@10"] > 0.98
    assert abs(told["ndcg@10_change"]) < 0.01

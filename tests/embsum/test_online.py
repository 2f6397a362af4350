"""Histories as they come get the scores and the words that the split's users got offline."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from gen_rec.data.interactions import Dataset, Sequences
from gen_rec.embsum.encode import run_encode
from gen_rec.embsum.encoded import EncodedPairs
from gen_rec.embsum.generate import run_generate, summaries_file
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.online import OnlineEmbSum
from gen_rec.errors import GenRecError
from gen_rec.run import Run


def histories(*lists: list[int]) -> Sequences:
    return Sequences(
        np.cumsum([0, *map(len, lists)]), np.array([item for some in lists for item in some], dtype=np.int32),
        np.arange(len(lists), dtype=np.int32),
    )  # fmt: skip


def test_online_equals_offline(ready: SimpleNamespace) -> None:
    run_encode(ready.config, ("test",))
    run_generate(ready.config, "test")
    dataset = Dataset.load(ready.run / "data")
    cases = dataset.cases("test")
    online = OnlineEmbSum.load(ready.run / "embsum" / "model", ready.folder, dataset.items)
    rows = np.array([7, 0, 99])
    items = np.random.default_rng(0).integers(-1, 40, (3, 20))
    some = histories(*(cases[int(row)].tolist() for row in rows))
    offline = EncodedPairs.load(ready.folder, "test").scores(rows, items)
    np.testing.assert_allclose(online.scores(some, items), offline, atol=2e-5)  # float32, other batches
    written = pl.read_parquet(summaries_file(Run(ready.run), "test"))["summary"].to_list()
    assert online.summaries(some) == [written[row] for row in rows]


def test_an_empty_history(ready: SimpleNamespace) -> None:
    run_encode(ready.config, ())
    catalogue = Dataset.load(ready.run / "data").items
    online = OnlineEmbSum.load(ready.run / "embsum" / "model", ready.folder, catalogue)
    some = histories([1, 2], [], [3])
    scores = online.scores(some, np.array([[1, 2], [3, -1], [4, 5]]))
    assert scores[1].tolist() == [0.0, -np.inf]
    assert np.isfinite(scores[[0, 2]]).all()
    assert online.summaries(some)[1] == ""


def test_items_of_another_model(ready: SimpleNamespace) -> None:
    run_encode(ready.config, ())
    catalogue = Dataset.load(ready.run / "data").items
    folder = ready.run / "embsum" / "model"
    with pytest.raises(GenRecError, match="encode them again"):
        OnlineEmbSum.load(folder, ready.folder, catalogue[:39])
    model = EmbSum.load(folder)
    with torch.no_grad():
        model.score.log_scale.add_(1)
    model.save(folder)
    with pytest.raises(GenRecError, match="of another model"):
        OnlineEmbSum.load(folder, ready.folder, catalogue)

"""Generated summaries of a split's users: each its own, in order, whatever batch it was in, however often stopped."""

import json
import re
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from gen_rec.data.interactions import Dataset
from gen_rec.embsum import generate
from gen_rec.embsum.batches import case_tokens
from gen_rec.embsum.catalogue import item_tokens
from gen_rec.embsum.generate import run_generate, summaries_file
from gen_rec.embsum.model import EmbSum
from gen_rec.run import Run

WORD = re.compile(r"\w")  # what ROUGE-L compares: a text of commas has none


def alone(ready: SimpleNamespace, rows: Sequence[int]) -> list[str]:
    """Each user in a batch of one."""
    model, dataset = EmbSum.load(ready.run / "embsum" / "model"), Dataset.load(ready.run / "data")
    tokens, cases = item_tokens(dataset, model), dataset.cases("test")
    return [
        text for row in rows for text in model.summary_texts(model.write(case_tokens(tokens, cases, np.array([row]))))
    ]


def test_each_user_has_its_own(ready: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "BATCH_USERS", 7)
    told = run_generate(ready.config, "test", partition_rows=50)
    found = pl.read_parquet(summaries_file(Run(ready.run), "test"))
    assert found.columns == ["user_id", "summary"]
    dataset = Dataset.load(ready.run / "data")
    cases = dataset.cases("test")
    assert found["user_id"].to_list() == dataset.user_ids[cases.user].tolist()
    assert found["summary"].to_list() == alone(ready, range(len(cases)))
    assert told["users"] == len(cases)
    assert told["distinct"] == found["summary"].n_unique() > 10  # or the order would not be tested
    assert told == json.loads(summaries_file(Run(ready.run), "test").with_suffix(".json").read_text())
    assert not list((ready.run / "embsum").glob("*.parts"))


def test_some_users(ready: SimpleNamespace) -> None:
    assert run_generate(ready.config, "test", limit=5)["users"] == 5
    found = pl.read_parquet(summaries_file(Run(ready.run), "test"))
    rows = np.sort(np.random.default_rng(0).choice(120, 5, replace=False))
    assert found["summary"].to_list() == alone(ready, rows.tolist())


def test_stopped_and_gone_on(ready: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    run_generate(ready.config, "test", partition_rows=40)
    path = summaries_file(Run(ready.run), "test")
    whole = path.read_bytes()
    path.unlink()
    done: list[int] = []
    original = generate._Open.__call__

    def counted(self: generate._Open, device: str) -> object:
        work = original(self, device)

        def again(number: int) -> Iterator[pa.Table]:
            done.append(number)
            if len(done) == 2:
                raise KeyboardInterrupt
            return iter(work(number))

        return again

    monkeypatch.setattr(generate._Open, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        run_generate(ready.config, "test", partition_rows=40)
    assert not path.exists()
    run_generate(ready.config, "test", partition_rows=40)
    assert done == [0, 1, 1, 2]
    assert path.read_bytes() == whole


def test_against_the_teacher(ready: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher that wrote the same for every second user, and nothing for the others."""
    own = alone(ready, range(120))
    monkeypatch.setattr(
        generate, "teacher",
        lambda *_: lambda histories: [own[i] if i % 2 else None for i in range(len(histories))],
    )  # fmt: skip
    told = run_generate(ready.config, "test")
    assert (told["teacher"], told["with_teacher"]) == ("template", 60)
    assert told["rouge_l"] == pytest.approx(np.mean([bool(WORD.search(text)) for text in own[1::2]]), abs=1e-4)

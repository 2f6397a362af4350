"""The stage with its back ends: what a server does wrong is recorded, and nothing is asked twice."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from stub_server import SUMMARY, Reply, Stub, completion, serve

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.errors import GenRecError
from gen_rec.run import Run
from gen_rec.summaries.config import SummaryConfig
from gen_rec.summaries.prompt import Prompts
from gen_rec.summaries.stage import histories_of, run_summarize
from gen_rec.summaries.store import Answer, Keys, SummaryStore, load_summaries, summary_key
from gen_rec.summaries.teacher import answers, teacher

GOOD: Callable[[str, int], Reply] = lambda prompt, before: {}  # noqa: E731


@pytest.fixture
def run(prepared: Path, tmp_path: Path) -> Path:
    """A run that has data only."""
    shutil.copytree(prepared / "data", tmp_path / "run" / "data")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def settings(run: Path, url: str, **more: Any) -> Config:
    summaries = {"backend": "openai", "model": "stub", "base_url": url, "timeout_s": 5.0, "save_every": 4, **more}
    return Config(run=str(run), summaries=SummaryConfig(**summaries))


def table(run: Path, split: str = "train") -> pl.DataFrame:
    return pl.read_parquet(run / "summaries" / f"{split}.parquet")


def test_every_user_gets_a_row_and_costs_are_counted(run: Path) -> None:
    # each answer takes a while, so that requests meet whatever else the machine does
    with serve(lambda prompt, before: {**GOOD(prompt, before), "wait": 0.2}) as (url, stub):
        report = run_summarize(settings(run, url, price_in=2.0, price_out=10.0, concurrency=3), limit=10)
    assert len(stub.asked) == len(set(stub.asked))
    assert 1 < stub.most <= 3
    assert table(run)["summary"].to_list() == [SUMMARY] * 10
    n = len(stub.asked)
    assert report["cost"] == pytest.approx(n * (100 * 2.0 + 20 * 10.0) / 1e6)
    assert (report["tokens_in"], report["tokens_out"], report["failed"]) == (100 * n, 20 * n, 0)
    assert json.loads((run / "summaries" / "train.json").read_text()) == report
    assert "Thing" in stub.asked[0]
    assert stub.bodies[0]["temperature"] == 0.0
    assert set(load_summaries(run / "summaries" / "train.parquet").values()) == {SUMMARY}


def test_what_fails_once_is_asked_again_by_the_client(run: Path) -> None:
    script = {0: {"status": 500, "body": "{}"}, 1: {"status": 429, "body": "{}"}}
    with serve(lambda prompt, before: script.get(before, {})) as (url, stub):
        report = run_summarize(settings(run, url, retries=2), limit=3)
    assert report["failed"] == 0
    assert len(stub.asked) == 3 * len(set(stub.asked))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"status": 500, "body": "{}"}, "status 500"),
        ({"status": 429, "body": '{"error": {"message": "slow down"}}'}, "slow down"),
        ({"wait": 0.6}, "no answer within 0.2 s"),
        ({"body": "<html>not JSON"}, "JSON"),
        ({"body": "{}"}, "not a chat completion"),
        ({"body": '{"choices": []}'}, "not a chat completion"),
        ({"body": completion("")}, "empty answer"),
        ({"body": completion("Yes.")}, "has 1 words"),
        ({"body": completion("word " * 200)}, "200 words, more than summaries.max_words"),
        ({"body": completion("Sure: Write exactly three sentences about this person")}, "repeats the prompt"),
        ({"body": completion("They care for things that are", "length")}, "cut off at 120 tokens"),
    ],
)  # fmt: skip
def test_a_failure_is_recorded_with_its_reason_and_the_others_go_on(run: Path, reply: Reply, reason: str) -> None:
    victim = Dataset.load(run / "data")
    item = histories_of(victim, "train")[0][0]
    bad = victim.texts[item]
    with serve(lambda prompt, before: reply if f"- {bad}\n" in prompt else {}) as (url, _):
        report = run_summarize(settings(run, url, retries=0, timeout_s=0.2), limit=12)
    rows = table(run)
    assert len(rows) == 12
    assert 0 < report["failed"] < 12
    assert rows["error"].is_null().to_list() == rows["summary"].is_not_null().to_list()
    assert rows["error"][0] is not None
    assert reason in rows["error"][0]
    assert sum(report["failures"].values()) == report["failed"]


def test_a_named_item_is_no_summary() -> None:
    items = pl.DataFrame({"item_id": ["a"], "title": ["The Long Red Scarf"], "text": ["The Long Red Scarf. Wool"]})
    config = SummaryConfig(backend="openai", model="m")
    prompts = Prompts(items, config)
    assert prompts.check("They love the long red scarf and much else.", [0], config)[1].startswith("the answer names")
    assert prompts.check('"They love  long\nscarfs in warm colours."', [0], config) == (
        "They love long scarfs in warm colours.", "",
    )  # fmt: skip


def test_nothing_is_asked_twice_and_failures_only_on_demand(run: Path) -> None:
    with serve(lambda prompt, before: {"body": completion("")} if before == 0 else {}) as (url, stub):
        config = settings(run, url)
        first = run_summarize(config, limit=6)
        n = len(stub.asked)
        again = run_summarize(config, limit=6)
        assert (len(stub.asked), again["new"], again["cost"]) == (n, 0, 0)
        assert (first["failed"], again["failed"]) == (6, 6)
        mended = run_summarize(config, limit=6, retry_failed=True)
        assert (len(stub.asked), mended["new"], mended["failed"]) == (2 * n, n, 0)
        more = run_summarize(config, limit=8)
        assert more["new"] == len(set(table(run)["key"])) - n
    assert len(list((run / "summaries" / "answers").glob("*.parquet"))) == 1


def test_other_settings_are_other_summaries(run: Path) -> None:
    with serve(GOOD) as (url, stub):
        run_summarize(settings(run, url), limit=4)
        n = len(stub.asked)
        run_summarize(settings(run, url, concurrency=2, retries=1), limit=4)
        assert len(stub.asked) == n
        run_summarize(settings(run, url, temperature=0.5), limit=4)
        assert len(stub.asked) == 2 * n


def test_an_interrupted_run_keeps_what_had_arrived(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(prompt: str, before: int) -> Reply:
        if len(stub.asked) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return {"wait": 0.05 if len(stub.asked) >= 7 else 0}

    with serve(interrupt) as (url, stub):
        config = settings(run, url, concurrency=1, save_every=100)
        with pytest.raises(KeyboardInterrupt):
            run_summarize(config, limit=30)
        kept = SummaryStore(run / "summaries" / "answers").read()
        assert len(kept) == 6
        assert not (run / "summaries" / "train.parquet").exists()
        run_summarize(config, limit=30)
    assert len(table(run)) == 30
    assert len(stub.asked) == len(set(stub.asked)) + 1  # the one that was under way


def test_a_killed_run_goes_on(run: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    with serve(lambda prompt, before: {"wait": 0.02}) as (url, stub):
        code = (
            "import sys; from gen_rec.config import Config; from gen_rec.summaries.config import SummaryConfig;"
            "from gen_rec.summaries.stage import run_summarize;"
            "run_summarize(Config(run=sys.argv[1], summaries=SummaryConfig(backend='openai', model='stub', "
            "base_url=sys.argv[2], save_every=4, concurrency=2, timeout_s=5.0)))"
        )
        process = start("-c", code, run, url)
        folder = run / "summaries" / "answers"
        end = time.monotonic() + 60
        while time.monotonic() < end and len(list(folder.glob("[0-9]*.parquet"))) < 2 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept, asked = len(SummaryStore(folder).read()), len(stub.asked)
        assert 8 <= kept <= asked
        report = run_summarize(settings(run, url))
        assert report["new"] == len(set(table(run)["key"])) - kept
        assert len(stub.asked) - asked == report["new"]
    assert table(run)["summary"].null_count() == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_stops_the_run(run: Path, status: int) -> None:
    with (
        serve(lambda prompt, before: {"status": status, "body": '{"error": {"message": "no"}}'}) as (url, stub),
        pytest.raises(GenRecError, match=rf"refuses \(status {status}.*check summaries\.base_url"),
    ):
        run_summarize(settings(run, url, concurrency=1))
    assert len(stub.asked) == 1


def test_a_server_that_is_down_stops_the_run_and_what_failed_is_recorded(run: Path) -> None:
    with (
        serve(lambda prompt, before: {"status": 503, "body": "{}"}) as (url, stub),
        pytest.raises(GenRecError, match=r"5 histories in a row failed.*status 503.*--retry_failed"),
    ):
        run_summarize(settings(run, url, retries=0, stop_after=5, concurrency=1))
    assert len(stub.asked) == 5
    assert len(SummaryStore(run / "summaries" / "answers").read()) == 5


def test_no_connection_is_a_recorded_failure(run: Path) -> None:
    report = run_summarize(settings(run, "http://127.0.0.1:9/v1", retries=0), limit=2)
    assert report["failed"] == 2
    assert all("APIConnectionError" in reason for reason in report["failures"])


def test_the_key_comes_from_the_environment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GenRecError, match=r"MY_KEY is not set.*--summaries\.base_url"):
        run_summarize(settings(run, "", api_key_env="MY_KEY"))
    monkeypatch.setenv("MY_KEY", "secret-1")
    with serve(GOOD) as (url, stub):
        run_summarize(settings(run, url, api_key_env="MY_KEY"), limit=1)
    assert stub.headers[0]["authorization"] == "Bearer secret-1"
    assert not any(b"secret-1" in path.read_bytes() for path in run.rglob("summaries/**/*.*"))


def test_template_needs_no_store_and_histories_end_before_the_target(run: Path) -> None:
    report = run_summarize(Config(run=str(run)))
    dataset = Dataset.load(run / "data")
    whole, cut = dataset.train_sequences(), histories_of(dataset, "train")
    for row in range(len(cut)):
        np.testing.assert_array_equal(cut[row], whole[int(cut.user[row])][:-1])
    assert sorted(cut.user) == [user for user in range(len(whole)) if len(whole[user]) >= 2]
    assert report["failed"] == 0
    assert not (run / "summaries" / "answers").exists()
    teach = teacher(SummaryConfig(), dataset.items, Run(run))
    assert teach([cut[row] for row in range(len(cut))]) == table(run)["summary"].to_list()
    assert run_summarize(Config(run=str(run)), "test", limit=3)["users"] == 3


def test_the_teacher_looks_up_and_says_what_is_missing(run: Path) -> None:
    dataset = Dataset.load(run / "data")
    cut = histories_of(dataset, "train")
    with serve(GOOD) as (url, _):
        config = settings(run, url)
        with pytest.raises(GenRecError, match="gen-rec summarize"):
            teacher(config.summaries, dataset.items, Run(run))
        run_summarize(config, limit=2)
    teach = teacher(config.summaries, dataset.items, Run(run))
    assert teach([cut[0], cut[1], np.array([0, 0, 0, 0, 0])]) == [SUMMARY, SUMMARY, None]
    ids = [dataset.item_ids[item] for item in cut[0]]
    assert summary_key(ids, dataset.items, config.summaries) == table(run)["key"][0]


def test_keys_follow_the_content_and_not_the_place() -> None:
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"], "text": ["A", "B", "C"]})
    config = SummaryConfig(backend="openai", model="m", max_items=2)
    key = Keys(items, config).of([0, 1])
    assert Keys(items.reverse(), config).of([2, 1]) == key
    assert Keys(items, config).of([2, 0, 1]) == key  # only the last two are shown
    assert Keys(items, config).of([1, 0]) != key
    assert Keys(items.with_columns(text=pl.lit("new")), config).of([0, 1]) != key


def test_a_success_wins_over_a_failure_and_rubbish_files_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SummaryStore(tmp_path)
    good = Answer("k", "u", "train", "Text.", None, 5, 6)
    store.add([good])
    store.add([Answer("k", "u", "train", None, "late"), Answer("l", "v", "train", None, "first")])
    store.add([Answer("l", "v", "train", None, "second")])
    (tmp_path / "0.parquet").write_bytes(b"no parquet")
    found = {row["key"]: Answer(**row) for row in store.read().iter_rows(named=True)}
    assert found["k"] == good
    assert found["l"].error == "second"
    assert "unreadable part" in caplog.text
    store.compact()
    assert len(list(tmp_path.glob("[0-9]*-*.parquet"))) == 1
    assert SummaryStore(tmp_path).read().height == 2
    assert answers(Run(tmp_path)).read().is_empty()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"summaries\.backend openai needs a language model: set summaries\.model"):
        SummaryConfig(backend="openai")
    with pytest.raises(ValueError, match=r"summaries\.concurrency must be at least 1, got 0"):
        SummaryConfig(concurrency=0)
    with pytest.raises(ValueError, match=r"summaries\.timeout_s must be positive"):
        SummaryConfig(timeout_s=0)


def test_the_stub_counts_repeated_prompts() -> None:
    stub = Stub(lambda prompt, before: {"seen": before})
    body = {"messages": [{"content": "p"}]}
    assert [stub.reply(body, {})["seen"] for _ in range(3)] == [0, 1, 2]

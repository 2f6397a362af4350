"""Interactions alone, without a table of items: behaviour can be learnt, and what needs texts says so."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gen_rec import stages
from gen_rec.cli import main, parse_config
from gen_rec.recommender import Recommender
from gen_rec.stages import embedded_streams, uses_texts

WITHOUT = ("--model.streams", "[behavior]", "--model.item_content", "false", "--model.code_content", "false")
NEED_TEXTS = {
    "both streams": ("--model.item_content", "false", "--model.code_content", "false"),
    "the semantic stream": ("--model.streams", "[semantic]", *WITHOUT[2:]),
    "text in the history": (*WITHOUT, "--model.item_content", "true"),
    "text of nodes": (*WITHOUT, "--model.code_content", "true"),
}


@pytest.fixture
def interactions_only(tmp_path: Path, options: Callable[..., list[str]]) -> list[str]:
    """The command line of a run over the shop's interactions, with no table of items."""
    return options(tmp_path / "run", "--data.table.items=null", "--training.epochs=1")


def no_encoder(*_: object) -> None:
    pytest.fail("the text encoder was asked")


def test_a_csv_of_interactions_alone(
    interactions_only: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "encode_texts", no_encoder)
    run = tmp_path / "run"
    assert main(["train", *interactions_only, *WITHOUT]) == 0
    assert {path.name for path in (run / "embeddings").iterdir()} == {"behavior.safetensors", "behavior.json"}
    codes = {path.name for path in (run / "codes").iterdir()}
    assert {"behavior.safetensors", "behavior.json", "report.json"} <= codes
    assert not [name for name in codes if "semantic" in name]
    stages_done = json.loads((run / "stages.json").read_text())
    assert sorted(stages_done) == ["embed/behavior", "prepare", "tokenize/behavior", "train"]
    model = run / "model" / "model.safetensors"
    written = model.stat().st_mtime_ns
    assert main(["train", "--run", str(run)]) == 0  # all done
    assert model.stat().st_mtime_ns == written

    assert main(["evaluate", "--run", str(run)]) == 0
    (result,) = json.loads((run / "metrics.json").read_text())
    assert (result["method"], result["text_encoder"], result["n_users"]) == ("eager-behavior", "none", 120)
    assert main(["recommend", "--run", str(run), "--k", "3"]) == 0
    lists = pl.read_parquet(run / "recommendations.parquet")
    assert len(lists) == 360
    assert lists["semantic_score"].null_count() == 360
    assert lists["behavior_score"].equals(lists["score"], check_names=False)
    assert main(["report", "--run", str(run)]) == 0
    assert "Traceback" not in capsys.readouterr().err
    found = Recommender.from_pretrained(run).recommend([["i3", "i4"]], k=2)
    assert found["title"].to_list() == ["", ""]


@pytest.mark.parametrize("what", NEED_TEXTS)
def test_what_needs_texts_says_what_to_do(
    interactions_only: list[str], tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *interactions_only, *NEED_TEXTS[what]]) == 0
    assert main(["embed", *interactions_only, *NEED_TEXTS[what]]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{tmp_path / 'run' / 'data' / 'items.parquet'}: no item has a text; give items with texts" in error
    assert " ".join([WITHOUT[0], f"'{WITHOUT[1]}'", *WITHOUT[2:]]) in error  # the advice is the options used above
    assert not (tmp_path / "run" / "embeddings").exists()


def test_which_settings_use_texts() -> None:
    assert embedded_streams(parse_config([])) == ["behavior", "semantic"]
    assert embedded_streams(parse_config(list(WITHOUT))) == ["behavior"]
    assert not uses_texts(parse_config(list(WITHOUT)))
    no_nodes = [*NEED_TEXTS["text of nodes"], "--model.code_embedding", "level"]
    assert embedded_streams(parse_config(no_nodes)) == ["behavior"]
    for arguments in NEED_TEXTS.values():
        assert embedded_streams(parse_config(list(arguments))) == ["behavior", "semantic"]

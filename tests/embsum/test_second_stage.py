"""``recommend(..., rerank=True, explain=True)``: from a run, from a saved folder, and where parts are missing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_backbone import tiny_backbone

from gen_rec.cli import main, parse_config
from gen_rec.config import Config
from gen_rec.embsum.encode import run_encode
from gen_rec.embsum.model import EmbSum
from gen_rec.errors import GenRecError
from gen_rec.recommender import Recommender
from gen_rec.second_stage import FOLDER

HISTORIES = [["i1", "i2", "i3"], ["zz"], ["i30", "i31"], ["i7", "i8", "i9", "i10", "i12"]]


@pytest.fixture(scope="module")
def reranked_run(
    trained: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory, embsum_options: Callable[..., list[str]],
    item_texts: Callable[[int], list[str]],
) -> Path:  # fmt: skip
    """A trained run with EmbSum, whose weights are random, and the last ranking. Only read it."""
    run = Path(shutil.copytree(trained[1], tmp_path_factory.mktemp("reranked") / "run"))
    arguments = embsum_options(run)
    items = pl.read_parquet(run / "data" / "items.parquet")
    items.with_columns(text=pl.Series(item_texts(len(items)))).write_parquet(run / "data" / "items.parquet")
    config = parse_config(arguments)
    model = EmbSum(config.embsum, tiny_backbone("t5"))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.5)
    model.save(run / "embsum" / "model")
    run_encode(config)
    assert main(["rerank", *arguments, "--k=5", "--rerank.blend=linear", "--rerank.worth=false"]) == 0
    return run


def test_it_ranks_as_the_command_does(reranked_run: Path) -> None:
    written = pl.read_parquet(reranked_run / "reranked.parquet")
    recommender = Recommender.from_pretrained(reranked_run)
    interactions = pl.read_parquet(reranked_run / "data" / "interactions.parquet")
    users = written["user_id"].unique(maintain_order=True).to_list()[:20]
    histories = [
        interactions.filter((pl.col("user_id") == user) & (pl.col("split") != "test"))["item_id"].to_list()
        for user in users
    ]
    found = recommender.recommend(histories, k=5, user_ids=users, rerank=True, explain=True)
    expected = written.filter(pl.col("user_id").is_in(users))
    assert found["item_id"].to_list() == expected["item_id"].to_list()
    parts = [name for name in expected.columns if name.startswith(("value_", "part_"))]
    assert "part_embsum" in parts
    for name in ("score", "behavior_score", "semantic_score", *parts):
        # EmbSum's users were encoded in other batches, in float32.
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), atol=1e-3, err_msg=name)
    total = sum(found[name].fill_null(0.0).to_numpy() for name in parts if name.startswith("part_"))
    np.testing.assert_allclose(found["score"].to_numpy(), total, atol=1e-4)


def test_columns(reranked_run: Path) -> None:
    recommender = Recommender.from_pretrained(reranked_run)
    plain = recommender.recommend(HISTORIES, k=5)
    reranked = recommender.recommend(HISTORIES, k=5, rerank=True)
    assert reranked.schema == plain.schema
    assert reranked["item_id"].to_list() != plain["item_id"].to_list()
    for i, history in enumerate(HISTORIES):
        own = reranked.filter(pl.col("user_id") == str(i))
        assert own["rank"].to_list() == [1, 2, 3, 4, 5]
        assert own["score"].is_sorted(descending=True)
        assert not set(own["item_id"]) & set(history)
    told = recommender.recommend(HISTORIES, k=5, explain=True)
    assert told.drop("summary").equals(plain)
    assert told.group_by("user_id").agg(pl.col("summary").n_unique())["summary"].to_list() == [1] * 4
    words = dict(told.select("user_id", "summary").iter_rows())
    assert all(words.values())
    assert words["0"] != words["2"]
    why = recommender.recommend(HISTORIES, k=5, rerank=True, explain=True)
    assert why.select(reranked.columns).equals(reranked)
    assert dict(why.select("user_id", "summary").iter_rows()) == words
    # A history without a known item gets popular items, which no feature speaks for.
    empty = why.filter(pl.col("user_id") == "1")
    assert empty["item_id"].to_list() == plain.filter(pl.col("user_id") == "1")["item_id"].to_list()
    assert empty["part_graph"].null_count() == 5


def test_batches_do_not_matter(reranked_run: Path) -> None:
    recommender = Recommender.from_pretrained(reranked_run)
    whole = recommender.recommend(HISTORIES, k=5, rerank=True)
    recommender.search.batch_size = 1
    parts = recommender.recommend(HISTORIES, k=5, rerank=True)
    assert parts["item_id"].to_list() == whole["item_id"].to_list()
    np.testing.assert_allclose(parts["score"], whole["score"], atol=1e-3)


def test_saved_and_loaded(reranked_run: Path, tmp_path: Path) -> None:
    recommender = Recommender.from_pretrained(reranked_run)
    recommender.save_pretrained(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved" / FOLDER / "encoded").iterdir()) == ["items.safetensors"]
    again = Recommender.from_pretrained(tmp_path / "saved")
    for options in ({}, {"rerank": True}, {"rerank": True, "explain": True}):
        assert again.recommend(HISTORIES, k=5, **options).equals(recommender.recommend(HISTORIES, k=5, **options))
    again.save_pretrained(tmp_path / "twice")
    assert {path.relative_to(tmp_path / "twice") for path in (tmp_path / "twice").rglob("*")} == {
        path.relative_to(tmp_path / "saved") for path in (tmp_path / "saved").rglob("*")
    }


def test_a_ranking_of_another_model_is_refused(reranked_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(reranked_run, tmp_path / "run"))
    recommender = Recommender.from_pretrained(run)
    with torch.no_grad():
        next(recommender.model.parameters()).add_(0.1)
    recommender.save(run / "model")  # as a later training would
    with pytest.raises(GenRecError, match=r"was fitted on another model than .*model holds now"):
        Recommender.from_pretrained(run).recommend(HISTORIES, rerank=True)


def test_without_a_second_stage(trained: tuple[Config, Path], tmp_path: Path) -> None:
    recommender = Recommender.from_pretrained(trained[1])
    with pytest.raises(GenRecError, match="has no last ranking; fit one with gen-rec rerank"):
        recommender.recommend(HISTORIES, rerank=True)
    told = recommender.recommend(HISTORIES, k=2, explain=True)  # the template's words
    assert told["summary"].null_count() == 0
    assert min(map(len, told["summary"])) > 20
    recommender.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / FOLDER).exists()
    alone = Recommender.from_pretrained(tmp_path / "saved").recommend(HISTORIES, k=2, explain=True)
    assert min(map(len, alone["summary"])) > 20  # from titles alone


def test_embsum_that_is_gone(reranked_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(reranked_run, tmp_path / "run"))
    shutil.rmtree(run / "embsum" / "model")
    recommender = Recommender.from_pretrained(run)
    with pytest.raises(GenRecError, match="fitted with EmbSum's score and cannot rank without it"):
        recommender.recommend(HISTORIES, rerank=True)


def test_the_report_shows_both(reranked_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(reranked_run, tmp_path / "run"))
    assert main(["report", "--run", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert 5 < page.count("written by EmbSum") <= 10  # random weights may write nothing
    assert page.count("<h4>Reranked") == 10
    shutil.rmtree(run / "embsum" / "model")  # what is left does not fit together; the page is written all the same
    assert main(["report", "--run", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "written by EmbSum" not in page
    assert "<h4>Fused" in page

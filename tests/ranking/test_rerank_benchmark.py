"""The benchmark of the last ranking on a small run: its figures are those of the lists that the stage writes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_embsum import all_knowing

from benchmarks.accuracy import rerank
from benchmarks.accuracy.home import Home
from benchmarks.accuracy.ranks import read_ranks
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.evaluation import MISS, lists_to_arrays, read_ranked_lists, read_results, retrieval_metrics, target_ranks
from gen_rec.inference import run_evaluate
from gen_rec.ranking import stage
from gen_rec.ranking.config import RerankConfig
from gen_rec.ranking.stage import run_rerank
from gen_rec.run import Run


def test_results_agree_with_the_stages(trained: tuple[Config, Path], tmp_path: Path) -> None:
    here = Path(shutil.copytree(trained[1], tmp_path / "run"))
    settings = RerankConfig(candidates=21, graph_candidates=6, rounds=5, folds=2, worth=False, embsum="off")
    config = replace(trained[0], run=str(here), rerank=settings)
    rerank.run(config, ["configs/shop.yaml", "configs/ablations/no-transfer.yaml"], Home(tmp_path))
    (file,) = (tmp_path / "results").iterdir()
    found = {result["method"]: result["metrics"] for result in read_results(file)}
    assert set(found) == {"eager-reranked/no-transfer"}  # the search's own result is another file's
    assert file.stem == f"{config.data.name}-shop+no-transfer-rerank-seed{config.seed}"
    ranks = read_ranks(Home(tmp_path).ranks(file.stem))
    for mode in ("raw", "filtered"):
        assert retrieval_metrics(ranks.modes[mode]) == pytest.approx(found["eager-reranked/no-transfer"][mode])

    run_rerank(config, "test", k=21)
    dataset = Dataset.load(Run(here).data)
    cases = dataset.cases("test")
    lists = lists_to_arrays(read_ranked_lists(Run(here).reranked), dataset.user_ids[cases.user], dataset.item_ids, 21)
    mine = retrieval_metrics(target_ranks(*lists, cases.target.astype(np.int64)))
    assert found["eager-reranked/no-transfer"]["filtered"] == pytest.approx(mine)
    ranks = pl.read_parquet(Run(here).rerank / "users.parquet")["eager-reranked/filtered"].fill_null(MISS)
    assert retrieval_metrics(ranks.to_numpy().astype(np.int64)) == pytest.approx(mine)
    fused = next(result for result in run_evaluate(config, "test") if result["method"] == "eager-fused")

    evidence = json.loads((tmp_path / "evidence" / file.name).read_text())
    gain = evidence["test"]["eager-reranked - eager-fused"]["filtered"]["ndcg@10"]["difference"]
    assert gain == pytest.approx(mine["ndcg@10"] - fused["metrics"]["filtered"]["ndcg@10"])
    assert set(evidence["fits"]) == {"eager-reranked"}


def test_both_blends_and_embsum_alone(
    trained: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EmbSum is a fake that knows every target: alone it puts a candidate first, the blend without it is as ever."""
    settings = RerankConfig(candidates=21, graph_candidates=6, rounds=5, folds=2, worth=False, embsum="off")
    without = replace(trained[0], run=str(shutil.copytree(trained[1], tmp_path / "without")), rerank=settings)
    (plain,) = rerank.run(without, ["configs/shop.yaml"], Home(tmp_path / "a"))
    here = shutil.copytree(trained[1], tmp_path / "with")
    config = replace(without, run=str(here), rerank=replace(settings, embsum="auto"))
    dataset = Dataset.load(Run(here).data)

    for module in (stage, rerank):
        monkeypatch.setattr(module, "wants_embsum", lambda config, _: config.rerank.embsum != "off")
        monkeypatch.setattr(module, "embsum_scorer", all_knowing(dataset))
    monkeypatch.setattr(stage, "_encoded", lambda _: [])
    home = Home(tmp_path / "b")
    found = {result["method"]: result["metrics"] for result in rerank.run(config, ["configs/shop.yaml"], home)}
    assert set(found) == {"eager-reranked", "eager-reranked/embsum", "eager-reranked/embsum-alone"}
    assert found["eager-reranked"] == plain["metrics"]
    (file,) = (tmp_path / "b" / "results").iterdir()
    for mode in ("raw", "filtered"):
        ranks = read_ranks(f"{home.ranks(file.stem)}:eager-reranked/embsum-alone").modes[mode]
        assert set(ranks[ranks != MISS]) == {1}
        assert (ranks == 1).mean() > 0.5
        gain = found["eager-reranked/embsum"][mode]["ndcg@10"] - found["eager-reranked"][mode]["ndcg@10"]
        assert gain > 0
        evidence = json.loads(home.evidence(file.stem).read_text())["test"]
        told = evidence["eager-reranked/embsum - eager-reranked"][mode]["ndcg@10"]["difference"]
        assert told == pytest.approx(gain)

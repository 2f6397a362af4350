"""What the files of a benchmark run are called, and that no run writes over another's."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import run as benchmark
from benchmarks.accuracy.home import Home, method_name, run_name
from benchmarks.accuracy.ranks import read_ranks
from gen_rec.cli import parse_config
from gen_rec.config import Config, to_yaml
from gen_rec.data.config import DataConfig
from gen_rec.errors import DataError
from gen_rec.evaluation import read_results, retrieval_metrics
from gen_rec.recommender import Recommender
from gen_rec.training.config import TrainingConfig

TIGER = Path(__file__).resolve().parents[2] / "configs" / "tiger.yaml"
BASE, MINILM = "configs/beauty.yaml", "configs/minilm.yaml"


@pytest.mark.parametrize(
    ("names", "stage", "changes", "expected"),
    [
        ([BASE, MINILM], "", {}, "amazon-beauty-beauty+minilm-seed0"),
        ([BASE, MINILM], "rerank", {"seed": 2}, "amazon-beauty-beauty+minilm-rerank-seed2"),
        ([BASE, "configs/ablations/no-transfer.yaml"], "", {}, "amazon-beauty-beauty+no-transfer-seed0"),
        ([BASE], "", {"tie_order": "shuffled"}, "amazon-beauty-shuffled-beauty-seed0"),
    ],
)
def test_names_by_hand(names, stage, changes, expected):
    data = DataConfig(set="amazon-beauty", tie_order=changes.pop("tie_order", "input"))
    assert run_name(Config(data=data, **changes), names, stage) == expected


def test_methods_by_hand():
    assert method_name("eager-fused", [BASE, MINILM]) == "eager-fused"
    overlays = [BASE, MINILM, "configs/ablations/no-transfer.yaml", "configs/ablations/shared-encoder.yaml"]
    assert method_name("eager-fused", overlays) == "eager-fused/no-transfer/shared-encoder"
    assert method_name("eager-semantic", [BASE, "configs/tiger.yaml"]) == "tiger"


@pytest.fixture
def finished(trained, tmp_path):
    """The settings of a trained run, of which this is a copy."""
    return replace(trained[0], run=str(shutil.copytree(trained[1], tmp_path / "run")))


def test_what_a_run_leaves(finished, tmp_path):
    """An overlay gives other files and methods; figures, ranks and settings go together."""
    home, config = Home(tmp_path), finished
    names = ["configs/shop.yaml", "configs/ablations/no-transfer.yaml"]
    benchmark.run(config, names, home)
    name = f"{config.data.name}-shop+no-transfer-seed{config.seed}"
    results = {result["method"]: result for result in read_results(home.result(name))}
    assert set(results) == {f"eager-{part}/no-transfer" for part in ("behavior", "semantic", "fused")}
    for method, result in results.items():
        ranks = read_ranks(f"{home.ranks(name)}:{method}")
        for mode, figures in result["metrics"].items():
            assert retrieval_metrics(ranks.modes[mode]) == pytest.approx(figures)
    text = home.config(name).read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "runs/" in text
    assert to_yaml(config) != text  # the folder of this machine is not in it

    benchmark.run(config, names, home)  # again is not another
    other = replace(config, training=replace(config.training, epochs=config.training.epochs + 1))
    before = home.result(name).read_bytes()
    with pytest.raises(DataError, match=r"holds a result with other settings \(training\.epochs"):
        benchmark.run(other, names, home)
    assert home.result(name).read_bytes() == before


def test_settings_that_learn_nothing_are_no_other_settings(finished, tmp_path):
    benchmark.run(finished, ["configs/shop.yaml"], Home(tmp_path))
    calm = replace(finished.training, checkpoint_minutes=TrainingConfig().checkpoint_minutes + 1)
    benchmark.run(replace(finished, training=calm), ["configs/shop.yaml"], Home(tmp_path))


def test_tiger_is_a_run_of_ours(prepared, options, tmp_path):
    """The overlay on a small shop: residual codes with a level for collisions, one stream, a name of its own."""
    run = shutil.copytree(prepared, tmp_path / "run")
    names = ["configs/shop.yaml", str(TIGER)]
    more = ("--training.epochs=2", "--model.decoder_layers=1", "--search.beams=20")
    config = parse_config(["--config", str(TIGER), *options(run, *more)])
    (result,) = benchmark.run(config, names, Home(tmp_path))
    assert result["method"] == "tiger"
    assert read_ranks(Home(tmp_path).ranks(f"{config.data.name}-shop+tiger-seed0")).of["method"] == "tiger"
    codes = Recommender.from_pretrained(run).codes["semantic"].codes
    assert codes.shape[1] == config.tokenizer.residual_levels + 1
    assert len(np.unique(codes, axis=0)) == len(codes)
    assert len(np.unique(codes[:, :-1], axis=0)) < len(codes)  # so the last level is needed

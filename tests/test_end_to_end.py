"""The documented commands, from a CSV to ranked items, with the encoder that the demo uses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gen_rec.cli import main
from gen_rec.evaluation.result import read_results
from gen_rec.recommender import Recommender


def test_from_a_csv_to_ranked_items(
    tmp_path: Path, options: Callable[..., list[str]], start: Callable[..., subprocess.Popen[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = tmp_path / "run"
    arguments = options(run, "--embeddings.semantic.model=packaged:all-MiniLM-L6-v2", "--training.epochs=1")
    process = start("-m", "accelerate.commands.launch", "--cpu", "--num_processes", 1, "train_gen.py", *arguments)
    _, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert "Traceback" not in error
    made = ["config.yaml", "data/summary.json", "embeddings/behavior.safetensors", "embeddings/semantic.safetensors",
            "codes/report.json", "model/model.safetensors", "log.jsonl"]  # fmt: skip
    assert not [name for name in made if not (run / name).is_file()]
    assert list((run / "tensorboard").iterdir())

    assert main(["evaluate", "--run", str(run)]) == 0
    (fused,) = (r for r in read_results(run / "metrics.json") if r["method"] == "eager-fused")
    assert (fused["n_users"], fused["text_encoder"]) == (120, "all-MiniLM-L6-v2")
    assert main(["recommend", "--run", str(run), "--split", "test", "--k", "50"]) == 0
    lists = pl.read_parquet(run / "recommendations.parquet")
    assert lists.columns == ["user_id", "rank", "item_id", "score", "behavior_score", "semantic_score"]
    assert lists["user_id"].n_unique() == 120
    dataset = pl.read_parquet(run / "data" / "interactions.parquet")
    seen = dataset.filter(pl.col("split") != "test").select("user_id", "item_id")
    assert not len(lists.join(seen, on=["user_id", "item_id"]))  # unless asked for
    # k was cut to the catalogue: everything that the user has not had.
    assert len(lists) == 120 * 40 - len(seen.unique())
    assert main(["report", "--run", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "Thing " in page
    assert 'src="http' not in page
    assert len(Recommender.from_pretrained(run).recommend([["i3", "i4"]], k=2)) == 2
    summary = json.loads((run / "data" / "summary.json").read_text())
    assert summary["items"] == 40
    capsys.readouterr()
    assert main(["train", "--run", str(run)]) == 0  # everything is done
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns < (run / "report.html").stat().st_mtime_ns

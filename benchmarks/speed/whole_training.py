"""Row 3: the whole training of Amazon Beauty with the committed settings, and what it reaches on validation.

The stages before the training (prepare, embed, tokenize) run first and are reported, not counted; they are kept in
``runs/speed-beauty``, so that a second measurement trains only. The training is a process of its own, so that its peak
memory is its own. With nothing to read under ``$GEN_REC_DATA``, the row cannot be measured and says so.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from benchmarks.speed.timing import Row
from benchmarks.speed.workload import SET, Size
from gen_rec.run import Run

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [ROOT / "configs" / "beauty.yaml", ROOT / "configs" / "minilm.yaml"]
BEFORE = 0.0669
"""Validation filtered NDCG@10 of the fused ranking before the work on speed: same settings, same seed (epoch 6)."""
CHILD = """
import sys, time
started = time.perf_counter()
from gen_rec.cli import main
status = main(sys.argv[1:])
seconds = time.perf_counter() - started
from benchmarks.speed.machine import peak_mb
print(f"\\n@ {seconds} {peak_mb()}")
sys.exit(status)
"""


def command(arguments: list[str]) -> tuple[float, float]:
    """Run ``gen-rec`` in a process of its own; returns its wall seconds and its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    )
    _, seconds, megabytes = done.stdout.rstrip().rsplit("\n", 1)[1].split()
    return float(seconds), float(megabytes)


def train(
    options: list[str], run: Run, stages: Sequence[str] = ("prepare", "embed", "tokenize")
) -> tuple[dict[str, float], float, float, list[dict[str, Any]]]:
    """The stages, then a training from the start: seconds of each stage before, seconds and MB of the training, and its
    validations.
    """
    before = {}
    for stage in stages:
        before[stage] = round(command([stage, *options, "--run", str(run.folder)])[0], 1)
    for stale in (run.model, run.checkpoints, run.folder / "tensorboard"):
        shutil.rmtree(stale, ignore_errors=True)
    run.log.unlink(missing_ok=True)
    seconds, megabytes = command(["train", *options, "--run", str(run.folder)])
    events = [json.loads(line) for line in run.log.read_text(encoding="utf-8").splitlines()]
    return before, seconds, megabytes, [event for event in events if "valid/selected" in event]


def measure(size: Size) -> list[Row]:
    """Row 3."""
    if size == "smoke":
        with tempfile.TemporaryDirectory() as folder:
            return [row_of(*train(tiny(Path(folder)), Run(Path(folder) / "run"), ()), "a tiny drawn set", None)]
    root = os.environ.get("GEN_REC_DATA")
    if not root or not (Path(root) / SET).is_dir():
        raise FileNotFoundError(f"row 3 trains on {SET}: set GEN_REC_DATA to the folder that holds it")
    options = [argument for config in CONFIGS for argument in ("--config", str(config))]
    return [row_of(*train(options, Run(ROOT / "runs" / "speed-beauty")), "Amazon Beauty", BEFORE)]


def row_of(
    before: dict[str, float], seconds: float, megabytes: float, validations: list[dict[str, Any]], what: str,
    ndcg_before: float | None,
) -> Row:  # fmt: skip
    """The line of a training."""
    best = max(validations, key=lambda event: float(event["valid/selected"]))
    return Row(
        3, f"whole training of {what}", seconds, None, "s", None, (seconds, seconds),
        {"repetitions": 1, "seconds_to_best": round(best["wall_s"], 1), "best_epoch": best["epoch"],
         "epochs": len(validations), "seconds_before_training": before, "train_peak_mb": round(megabytes),
         "validation_filtered_ndcg@10": round(best["valid/selected"], 4),
         "validation_filtered_ndcg@10_before": ndcg_before, "config": [path.name for path in CONFIGS]},
    )  # fmt: skip


def tiny(folder: Path) -> list[str]:
    """Options of a run of seconds on interactions drawn into a file: one stream, no texts."""
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(40), 6), rng.integers(30, size=240)
    table = pl.DataFrame({"user_id": users.astype(str), "item_id": items.astype(str), "timestamp": np.arange(240)})
    table.write_csv(folder / "interactions.csv")
    settings = {
        "data": {"table": {"interactions": str(folder / "interactions.csv")}, "k_core": 1},
        "embeddings": {"behavior": {"dim": 8, "max_epochs": 1}},
        "tokenizer": {"branching": 8},
        "model": {"streams": ["behavior"], "item_content": False, "code_content": False, "hidden_size": 16,
                  "inner_size": 16, "num_heads": 2, "decoder_layers": 1},
        "training": {"epochs": 1, "batch_size": 16, "cpu": True},
    }  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return ["--config", str(folder / "tiny.yaml")]

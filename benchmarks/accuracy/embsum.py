"""What a finished EmbSum is, beyond its ranking: what it cost, how fast its score is, what half precision changes.

    python -m benchmarks.accuracy.embsum --config configs/beauty.yaml [--config OVERLAY.yaml ...] --run RUN

takes the options of ``gen-rec train``, needs ``gen-rec embsum train`` and ``encode`` (and has more to tell after
``generate``), and writes ``benchmarks/accuracy/evidence/<set>-<names of the configs>-embsum-seed<seed>.json``:

    training, states, summaries    what the stages themselves noted: users a second, peak memory, what was cut, which
                                   state of the decoder ranks better, ROUGE-L against the teacher
    online                         milliseconds of the score of one user's 50 candidates, on one core
    half_precision                 the fused search's 100 candidates of validation users, ranked by EmbSum's score in
                                   float32 and from float16 files
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.command import main
from benchmarks.accuracy.home import HOME, run_name
from gen_rec.config import Config
from gen_rec.embsum.encode import encoded_folder
from gen_rec.embsum.encoded import EncodedPairs, compare_rankings, halved
from gen_rec.evaluation.metrics import as_lists
from gen_rec.evaluation.result import hardware, versions
from gen_rec.files import write_json
from gen_rec.inference import load_with_data
from gen_rec.retrieval import search_cases
from gen_rec.run import Run

CANDIDATES, REQUESTS, WARM_UPS, USERS = 50, 1000, 50, 2000


def online(pairs: EncodedPairs) -> dict[str, float]:
    """Milliseconds of one user's candidates, users and candidates drawn at random, one at a time on one thread."""
    rng = np.random.default_rng(0)
    users = rng.integers(len(pairs.users), size=(WARM_UPS + REQUESTS, 1))
    items = rng.integers(len(pairs.items.vectors), size=(WARM_UPS + REQUESTS, 1, CANDIDATES))
    took = []
    for user, some in zip(users, items, strict=True):
        start = time.perf_counter()
        pairs.scores(user, some)
        took.append(1000 * (time.perf_counter() - start))
    took = took[WARM_UPS:]
    return {
        "candidates": CANDIDATES,
        "requests": REQUESTS,
        "median_ms": round(statistics.median(took), 3),
        "p99_ms": round(float(np.quantile(took, 0.99)), 3),
    }


def half_precision(config: Config, pairs: EncodedPairs) -> dict[str, float]:
    """``compare_rankings`` of the fused candidates of some validation users."""
    recommender, dataset = load_with_data(config, Run(config.run))
    cases = dataset.cases("valid")
    rows = np.sort(np.random.default_rng(0).permutation(len(cases))[:USERS])
    batches, items = [], []
    for batch, _, filtered in search_cases(recommender.model, cases, rows, 100, config.search):
        batches.append(batch)
        items.append(as_lists(filtered.fused or next(iter(filtered.streams.values()))).items)
    users, candidates = np.concatenate(batches), np.concatenate(items)
    found = [each.scores(users, candidates) for each in (pairs, halved(pairs))]
    return {"users": len(users), **compare_rankings(*found, candidates, cases.target[users])}


def noted(path: Path) -> Any:
    """What a stage wrote; None where it has not run."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def run(config: Config, names: list[str]) -> None:
    """Measure and write. names: the config files"""
    torch.set_num_threads(1)
    place = Run(config.run)
    pairs = EncodedPairs.load(encoded_folder(place), "valid")
    summary = json.loads((place.data / "summary.json").read_text(encoding="utf-8"))
    told = {
        "set": summary["set"],
        "seed": config.seed,
        "config": " + ".join(names),
        "backbone": config.embsum.backbone,
        "training": noted(place.embsum / "training.json"),
        "states": noted(place.embsum / "states.json"),
        "summaries": {split: noted(place.embsum / f"summaries_{split}.json") for split in ("valid", "test")},
        "online": online(pairs),
        "half_precision": half_precision(config, pairs),
        "hardware": hardware(),
        "versions": versions(),
    }
    path = HOME.evidence(run_name(config, names, "embsum"))
    write_json(path, told)
    print(json.dumps({name: told[name] for name in ("online", "half_precision")}, indent=2))
    print(path)


if __name__ == "__main__":
    sys.exit(main(run))

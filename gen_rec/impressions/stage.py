"""EmbSum alone on impression data, from the files to the figures: ``gen-rec impressions``.

<run>/embsum/           model/, training.json, log.jsonl and checkpoints/, as of any EmbSum
<run>/impressions.json  AUC, MRR and nDCG of the splits with their intervals, and what was read and learnt
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from gen_rec.config import Config, to_yaml
from gen_rec.embsum.encode import in_bfloat16, model_key, products
from gen_rec.embsum.fitting import model_folder
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.validation import METHOD
from gen_rec.engine import Partitions
from gen_rec.errors import DataError, GenRecError
from gen_rec.evaluation.result import commit, hardware, versions
from gen_rec.files import content_hash, write_json
from gen_rec.impressions.config import ImpressionConfig
from gen_rec.impressions.evaluate import evaluate_impressions, write_prediction
from gen_rec.impressions.examples import label_counts
from gen_rec.impressions.learning import is_learnt, item_tokens, learn, training_key
from gen_rec.impressions.scoring import ImpressionScorer
from gen_rec.impressions.sets import ImpressionSets, Kind
from gen_rec.impressions.table import ImpressionData, Impressions
from gen_rec.run import Run
from gen_rec.training.stage import make_accelerator

logger = logging.getLogger(__name__)

STAGE = "impressions"
PARTITION_HISTORIES = 2048
"""Distinct histories of a split that are scored before the scores are written; a kill loses at most as many."""
SCHEMA = pa.schema([pa.field("place", pa.int64()), pa.field("score", pa.float32())])


def run_impressions(
    config: Config,
    kind: Kind,
    train: str | Path,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    out: str | Path | None = None,
    predictions: str | Path | None = None,
    settings: ImpressionConfig | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Train EmbSum on impressions and score those of ``valid`` and ``test``; what is done already is not done again.

    train, valid, test: folders of MIND; of Goodreads ``train`` alone, which is cut into the three by time
    out:         the figures, as JSON; ``<run>/impressions.json`` when None
    predictions: where the ranks of the test split go, in MIND's format (``prediction.zip`` for its leaderboard)
    settings:    what is read and learnt against; ``config.impressions`` when None
    force:       train and score again, changed or not
    returns      what is in ``out``
    raises       Interrupted after a signal while it trains; the next call goes on.
    """
    settings = settings or config.impressions
    sets = ImpressionSets(kind, Path(train), Path(valid) if valid else None, Path(test) if test else None)
    if predictions and "test" not in sets.scored:
        raise DataError(f"{predictions}: there is no test split to write predictions of; give --test")
    run = Run(config.run)
    if run.data.exists():
        raise GenRecError(
            f"{run.data}: this run has a next-item set, and its EmbSum would be replaced; name another folder: --run"
        )
    out, predictions = Path(out or run.folder / "impressions.json"), Path(predictions) if predictions else None
    accelerator = make_accelerator(replace(config, training=config.embsum.training))
    if accelerator.is_main_process:
        run.remember(to_yaml(config))
    key, read = training_key(config, settings, sets, accelerator.num_processes), _Reader(sets, settings)
    if force or not is_learnt(config, key):
        learn(config, settings, read.learnt_from, accelerator, key, force)
    else:
        logger.info("embsum: settings and impressions have not changed, not trained again")
    if accelerator.is_main_process:
        _score(config, sets, settings, read, str(accelerator.device), out, predictions, force)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return dict(json.loads(out.read_text(encoding="utf-8")))


class _Reader:
    """The data of a run, read when first asked for."""

    def __init__(self, sets: ImpressionSets, settings: ImpressionConfig) -> None:
        self.sets, self.settings = sets, settings
        self._data: ImpressionData | None = None

    @property
    def learnt_from(self) -> ImpressionData:
        if self._data is None:
            self._data = self.sets.read(self.settings)
        return self._data

    def split(self, name: str) -> ImpressionData:
        """What holds the split ``name``."""
        if name == "test" and self.sets.test:
            return self.sets.read_test(self.settings)
        return self.learnt_from


def _score(
    config: Config,
    sets: ImpressionSets,
    settings: ImpressionConfig,
    read: _Reader,
    device: str,
    out: Path,
    predictions: Path | None,
    force: bool,
) -> None:
    """Score the splits, and write the figures and the predictions."""
    run = Run(config.run)
    keys = {
        split: content_hash(
            split,
            PARTITION_HISTORIES,
            model_key(model_folder(run)),
            asdict(settings),
            in_bfloat16(config),
            *sets.files_of(split, settings),
        )
        for split in sets.scored
    }
    key = content_hash(sets.kind, keys, asdict(config.evaluation), str(out), str(predictions))
    if not force and run.is_done(STAGE, key, [out, *([predictions] if predictions else [])]):
        logger.info("impressions: model, impressions and settings have not changed, skipped")
        return
    run.begin(STAGE)
    told: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    model = EmbSum.load(model_folder(run)).to(device)
    parts = []
    for split in sets.scored:
        started = time.perf_counter()
        data = read.split(split)
        impressions = data.splits[split]
        partitions = Partitions((run.embsum / f"impressions_{split}.parts").resolve(), keys[split])
        if force:
            shutil.rmtree(partitions.folder, ignore_errors=True)
        scorer = ImpressionScorer(
            model, item_tokens(data, model), impressions, lambda: products(in_bfloat16(config), device)
        )
        scores = stored_scores(scorer, partitions)
        parts.append(partitions.folder)
        told[split] = {
            **_figures(config, impressions, scores), "candidates": len(scores), "distinct_histories": len(scorer),
            "seconds": round(time.perf_counter() - started, 1),
        }  # fmt: skip
        counts |= data.counts
        if split == "test" and predictions:
            write_prediction(predictions, impressions, scores)
    training = json.loads((run.embsum / "training.json").read_text(encoding="utf-8"))
    write_json(
        out,
        {
            "method": METHOD, "kind": sets.kind, "splits": told, "read": counts, "training": training,
            "settings": {"embsum": asdict(config.embsum), "impressions": asdict(settings), "seed": config.seed},
            "hardware": hardware(), "versions": versions(), "commit": commit(),
        },
    )  # fmt: skip
    run.mark_done(STAGE, key)
    for folder in parts:
        shutil.rmtree(folder, ignore_errors=True)


def stored_scores(
    scorer: ImpressionScorer, partitions: Partitions, rows: int = PARTITION_HISTORIES
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Scores of all candidates, (total,), partition by partition; those that are there already are not made again.

    rows: distinct histories in a partition
    """
    partitions.clean()
    numbers = range(-(-len(scorer) // rows))

    def tables(number: int) -> Iterator[pa.Table]:
        places, scores = scorer.block(number * rows, (number + 1) * rows)
        yield pa.table([places, scores], schema=SCHEMA)

    for number in partitions.missing(len(numbers)):
        partitions.write(number, SCHEMA, tables(number))
        logger.info("scored %d of %d distinct histories", min((number + 1) * rows, len(scorer)), len(scorer))
    found = np.full(len(scorer.impressions.candidates), np.nan, dtype=np.float32)
    for number in numbers:
        frame = pl.read_parquet(partitions.path(number))
        found[frame["place"].to_numpy()] = frame["score"].to_numpy()
    return found


def _figures(config: Config, impressions: Impressions, scores: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, Any]:
    """Metrics with intervals; null for a split without labels, such as MIND's test set."""
    clicked, unclicked = label_counts(impressions)
    if not ((clicked > 0) & (unclicked > 0)).any():
        labelled = int((clicked + unclicked > 0).sum())
        unknown = int(len(impressions) - labelled)
        logger.warning("none of %d impressions has both labels; they have scores and no figures", len(impressions))
        left_out = {"one_label": labelled, "unlabelled": unknown}
        return {"n_impressions": 0, "left_out": left_out, "metrics": None, "intervals": None}
    evaluation = config.evaluation
    return evaluate_impressions(impressions, scores, evaluation.level, evaluation.resamples, evaluation.bootstrap_seed)

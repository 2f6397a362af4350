"""Fitting an EmbSum to whatever it learns from, with a note on what that cost."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from gen_rec.embsum.model import CONFIG_FILE, EmbSum
from gen_rec.embsum.objective import EmbSumObjective
from gen_rec.evaluation.result import Meter
from gen_rec.files import write_json
from gen_rec.run import Run
from gen_rec.training.progress import Progress
from gen_rec.training.source import TrainingSource
from gen_rec.training.trainer import Trainer

logger = logging.getLogger(__name__)

STAGE = "embsum"


def model_folder(run: Run) -> Path:
    """Where the best weights are."""
    return run.embsum / "model"


def fit_embsum(
    accelerator: Accelerator,
    model: EmbSum,
    source: TrainingSource,
    validation: Callable[[], dict[str, float]] | None,
    select: str,
    seed: int,
    run: Run,
    key: str,
    rows: str,
    more: Callable[[], dict[str, Any]],
    force: bool = False,
) -> Progress:
    """Train, or go on; the best weights are in ``model_folder`` as soon as there are any.

    source, validation, select, key: as ``Trainer`` takes them
    rows:    what a row of the source is called in the log and in ``<run>/embsum/training.json``, such as "users"
    more:    what else that file says; asked for at the end
    raises   Interrupted after a signal; the next call goes on.
    """
    folder, training = model_folder(run), model.config.training
    weights = sum(p.numel() for p in model.parameters())
    learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info(
        "embsum: training on %d %s, %.1f of %.1f million weights, %d process(es)",
        len(source), rows, learnt / 1e6, weights / 1e6, accelerator.num_processes,
    )  # fmt: skip
    if validation is None:
        logger.warning("there is nothing to validate on; the weights of the last epoch are kept")
    trainer = Trainer(
        accelerator, EmbSumObjective(model), source, validation, select, lambda: model.save(folder),
        (folder / CONFIG_FILE).is_file, training, seed, run.embsum, key,
    )  # fmt: skip
    with Meter() as meter:
        progress = trainer.fit(fresh=force)
    if accelerator.is_main_process:
        spent = _validation_seconds(run.embsum / "log.jsonl")
        speed = len(source) * progress.epoch / max(progress.wall_s - spent, 1e-9)
        told: dict[str, Any] = {
            "weights": weights, "learnt_weights": learnt, rows: len(source), "epochs": progress.epoch,
            "steps": progress.step, "best_epoch": progress.best_epoch,
            **({} if validation is None else {"best": {select: progress.best}}),
            "seconds": round(progress.wall_s, 1), "validation_seconds": round(spent, 1),
            f"{rows}_per_second": round(speed, 1), "peak_rss_mb": round(meter.peak_rss_mb, 1),
        }  # fmt: skip
        write_json(run.embsum / "training.json", told | more())
        logger.info(
            "embsum: trained %d epochs, %.0f s; the model of epoch %d is in %s",
            progress.epoch, progress.wall_s, progress.best_epoch, folder,
        )  # fmt: skip
    accelerator.wait_for_everyone()
    return progress


def _validation_seconds(log: Path) -> float:
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return sum(line.get("valid/seconds", 0.0) for line in lines)

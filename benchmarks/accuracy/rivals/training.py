"""Training SASRec and BSARec with the loop of the generative model: resumable to the bit, best epoch by validation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.accuracy.rivals.evaluate import evaluate
from benchmarks.accuracy.rivals.examples import NextItems, NextItemSource, right_aligned
from benchmarks.accuracy.rivals.loss import linear_cross_entropy
from benchmarks.accuracy.rivals.method import Fitted, Job, Rival
from benchmarks.accuracy.rivals.sequence import BSARecConfig, SASRecConfig, SequenceModel, bsarec, sasrec
from gen_rec.data.interactions import Sequences
from gen_rec.data.ties import Ties
from gen_rec.errors import GenRecError
from gen_rec.evaluation.evaluator import MODES
from gen_rec.files import atomic_path
from gen_rec.training.stage import make_accelerator
from gen_rec.training.trainer import Trainer

WEIGHTS = "model.safetensors"
SHOWN = ("ndcg@10", "recall@10")

Build = Callable[[int, Any], SequenceModel]


class NextItemObjective(nn.Module):
    """The mean cross-entropy of the next items, over the targets of a step."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: NextItems, divisor: float) -> dict[str, Tensor]:
        """See ``Trainer``: the sum over the batch's targets divided by ``divisor``."""
        states = self.model(batch.history, batch.targets.shape[1])  # (rows, queries, d)
        learnt = batch.targets >= 0
        loss = linear_cross_entropy(states[learnt], self.model.items.weight, batch.targets[learnt])
        return {"loss": loss / divisor}


class ModelScorer:
    """A sequence model as it is now, without dropout."""

    def __init__(self, model: SequenceModel) -> None:
        self.model = model

    @torch.no_grad()
    def scores(self, histories: Sequences) -> Tensor:
        """(rows, n_items) logits; only the last ``max_history`` items are read."""
        self.model.eval()
        longest = max(1, min(self.model.config.max_history, int(histories.lengths.max(initial=0))))
        history = torch.from_numpy(right_aligned(*histories.last(longest)))
        return self.model.scores(history.to(self.model.items.weight.device)).float().cpu()


def fit_model(build: Build, method: str, job: Job, settings: SASRecConfig, folder: Path, key: str) -> Fitted:
    """Train, or go on, or read what was trained; the best epoch by filtered NDCG@10 on validation is kept.

    raises Interrupted after a signal; the next call goes on.
    """
    training = replace(settings.training, cpu=job.config.training.cpu)
    accelerator = make_accelerator(replace(job.config, training=training))
    if accelerator.num_processes > 1:
        raise GenRecError("a rival trains in one process; start it without accelerate launch")
    dataset, weights = job.dataset, folder / WEIGHTS
    set_seed(job.config.seed)
    model = build(dataset.n_items, settings)
    ties = Ties.asked_for(dataset, job.config.data)
    source = NextItemSource.of(dataset.train_sequences(), settings.max_history, settings.supervise == "every", ties)

    def validate() -> dict[str, float]:
        found = evaluate(
            ModelScorer(model), dataset, "valid", method, job.config.evaluation, training.validation_users
        ).methods[method]
        return {f"{mode}/{name}": found.metrics[mode][name] for mode in MODES for name in SHOWN}

    def keep() -> None:
        with atomic_path(weights) as temporary:
            save_file(model.state_dict(), temporary)

    trainer = Trainer(
        accelerator, NextItemObjective(model), source, validate, "filtered/ndcg@10", keep,
        weights.is_file, training, job.config.seed, folder, key,
    )  # fmt: skip
    progress = trainer.fit()
    accelerator.end_training()
    model.load_state_dict(load_file(weights))
    notes = {
        "weights": sum(p.numel() for p in model.parameters()), "rows": len(source), "targets": source.n_targets,
        "epochs": progress.epoch, "best_epoch": progress.best_epoch, "steps": progress.step,
        "training_s": round(progress.wall_s, 1),
    }  # fmt: skip
    return Fitted(ModelScorer(model), notes)


def _fit_sasrec(job: Job, settings: SASRecConfig, folder: Path, key: str) -> Fitted:
    return fit_model(sasrec, SASREC.name, job, settings, folder, key)


def _fit_bsarec(job: Job, settings: BSARecConfig, folder: Path, key: str) -> Fitted:
    return fit_model(bsarec, BSAREC.name, job, settings, folder, key)


SASREC = Rival("sasrec-ce", SASRecConfig, _fit_sasrec)
BSAREC = Rival("bsarec", BSARecConfig, _fit_bsarec)

"""The training loop: one process or many, interruptible at any step, resumable to the same weights."""

import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from tqdm import tqdm

from gen_rec.data.batches import TrainingRows, epoch_batches, share_of
from gen_rec.errors import GenRecError
from gen_rec.objectives.eager import Batch, EagerObjective
from gen_rec.training.averaging import WeightAverage
from gen_rec.training.config import TrainingConfig
from gen_rec.training.progress import EventLog, Progress
from gen_rec.training.schedule import make_optimizer, make_scheduler
from gen_rec.training.signals import StopRequest, stop_on_signals

logger = logging.getLogger(__name__)

LOG_EVERY = 10
"""Steps between lines of the log."""


class TrainingError(GenRecError):
    """Training cannot go on."""


class Interrupted(GenRecError):
    """A signal ended the training after a checkpoint; ``signum`` is which."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class Trainer:
    """Trains an objective and calls back with every validation and every new best.

    accelerator: made by the caller, so that it alone decides on devices, processes and precision
    objective:   model and losses
    rows:        what there is to learn
    validate:    gives the figures of the current weights, the same on every process; ``select`` names the one
                 that picks the checkpoint. None: every epoch's weights are kept in turn, and all epochs run
    keep:        called on the main process with the best weights in place
    folder:      checkpoints go to ``folder/checkpoints``, events to ``folder/log.jsonl`` and ``folder/tensorboard``
    key:         what the run is of; a checkpoint of another key is not resumed but replaced
    """

    def __init__(
        self,
        accelerator: Accelerator,
        objective: EagerObjective,
        rows: TrainingRows,
        validate: Callable[[], dict[str, float]] | None,
        select: str,
        keep: Callable[[], None],
        config: TrainingConfig,
        seed: int,
        folder: Path,
        key: str,
    ) -> None:
        if rows.n_targets == 0:
            raise TrainingError(
                "the training part holds no user with two interactions, so there is nothing to learn; "
                "look at the summary of the prepared data"
            )
        self.accelerator = accelerator
        self.rows, self.validate, self.select, self.keep = rows, validate, select, keep
        self.config, self.seed, self.folder, self.key = config, seed, folder, key
        world = accelerator.num_processes
        self.rows_per_step = config.batch_size * config.gradient_accumulation * world
        steps = math.ceil(len(rows) / self.rows_per_step) * config.epochs
        optimizer = make_optimizer(objective, config)
        self.scheduler = make_scheduler(optimizer, config, steps)
        self.average = WeightAverage(objective.model, config.weight_averaging)
        self.progress = Progress()
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        accelerator.register_for_checkpointing(self.progress, self.scheduler, self.average)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last"

    def fit(self) -> Progress:
        """Train until the epochs are over or validation has stopped improving.

        raises Interrupted after a signal (a checkpoint was written; ``fit`` again goes on from it) and
               TrainingError when the loss is not finite.
        """
        set_seed(self.seed + self.accelerator.process_index)
        self._resume()
        self.log = EventLog(self.folder / "log.jsonl", self.progress.step) if self._main else None
        writer = self._tensorboard()
        self._started = time.perf_counter() - self.progress.wall_s
        self._last_checkpoint = time.perf_counter()
        try:
            with stop_on_signals() as stop:
                while self.progress.epoch < self.config.epochs and not self.progress.finished:
                    self._epoch(stop, writer)
                    self._validate(writer)
                    self._save()
            self.progress.finished = True
            self._save()
        finally:
            if writer is not None:
                writer.close()
        return self.progress

    @property
    def _main(self) -> bool:
        return self.accelerator.is_main_process

    def _tensorboard(self):  # type: ignore[no-untyped-def]  # SummaryWriter is imported late: it is slow
        if not self._main:
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "tensorboard", purge_step=self.progress.step + 1)

    def _epoch(self, stop: StopRequest, writer) -> None:  # type: ignore[no-untyped-def]
        progress = self.progress
        steps = epoch_batches(
            self.rows.lengths, self.rows_per_step, self.seed, progress.epoch, self.accelerator.num_processes
        )
        self.objective.train()
        bar = tqdm(
            total=len(steps), initial=progress.step_in_epoch, desc=f"epoch {progress.epoch}", unit="step",
            leave=False, disable=not self._main,
        )  # fmt: skip
        with bar:
            while progress.step_in_epoch < len(steps):
                terms, stopping = self._step(steps[progress.step_in_epoch], bool(stop))
                progress.step += 1
                progress.step_in_epoch += 1
                bar.update()
                bar.set_postfix(loss=f"{terms['loss']:.3f}", refresh=False)
                if self.log is not None and (progress.step % LOG_EVERY == 0 or progress.step == 1):
                    rate = self.scheduler.get_last_lr()[0]
                    self.log.write(progress.step, epoch=progress.epoch, learning_rate=rate, **terms)
                    for name, value in {**terms, "learning_rate": rate}.items():
                        writer.add_scalar(f"train/{name}", value, progress.step)
                if stopping:
                    self._save()
                    raise Interrupted(
                        f"stopped by a signal after step {progress.step} (epoch {progress.epoch}); the same "
                        f"command goes on from {self.checkpoint}", stop.signum,
                    )  # fmt: skip
                if self._checkpoint_due():
                    self._save()
        progress.epoch += 1
        progress.step_in_epoch = 0

    def _step(self, rows, stop_wanted: bool) -> tuple[dict[str, float], bool]:  # type: ignore[no-untyped-def]
        """One optimiser step; returns the loss terms over all processes, and whether any of them wants to stop."""
        accelerator, config = self.accelerator, self.config
        mine = share_of(rows, accelerator.process_index, accelerator.num_processes)
        parts = [mine[i : i + config.batch_size] for i in range(0, len(mine), config.batch_size)]
        batches = [
            Batch(*(torch.from_numpy(a).to(accelerator.device) for a in self.rows.batch(part))) for part in parts
        ]
        count = sum(int((batch.targets >= 0).sum()) for batch in batches)
        shared = torch.tensor([count, stop_wanted], dtype=torch.float64, device=accelerator.device)
        n_targets, stopping = accelerator.reduce(shared, "sum").tolist()
        # Each process divides by the targets of the whole step; gradients are averaged over processes, so the
        # share is multiplied by their number and the step is the mean over all its targets.
        divisor = n_targets / accelerator.num_processes
        totals: dict[str, float] = {}
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1
            with accelerator.autocast(), _sync(accelerator, self.objective, last):
                terms = self.objective(batch, divisor)
                accelerator.backward(terms["loss"])
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.detach().float().item()
        values = torch.tensor(list(totals.values()), dtype=torch.float64, device=accelerator.device)
        means = dict(zip(totals, accelerator.reduce(values, "mean").tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            self._fail(means, rows)
        if config.gradient_clip:
            accelerator.clip_grad_norm_(self.objective.parameters(), config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if not accelerator.optimizer_step_was_skipped:
            self.scheduler.step()
        self.average.update()
        return means, stopping > 0

    def _fail(self, means: dict[str, float], rows) -> None:  # type: ignore[no-untyped-def]
        terms = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        users = self.rows.sequences.user
        owner = users[self.rows.sequences.offsets.searchsorted(self.rows.start[rows[:5]], side="right") - 1]
        raise TrainingError(
            f"the loss is not finite at step {self.progress.step + 1} (epoch {self.progress.epoch}): {terms}; "
            f"learning rate {self.scheduler.get_last_lr()[0]:.3g}, {len(rows)} rows of users {owner.tolist()} and "
            f"others; the weights are still those before the step, and the last checkpoint is in {self.checkpoint}. "
            "Look for non-finite embeddings, or lower --training.learning_rate or --training.gradient_clip"
        )

    def _validate(self, writer) -> None:  # type: ignore[no-untyped-def]
        progress, config = self.progress, self.config
        if self.validate is None:
            if self._main:
                with self.average.applied():
                    self.keep()
            return
        if progress.epoch % config.validate_every and progress.epoch < config.epochs:
            return
        with self.average.applied():
            figures = self.validate()
            value = figures[self.select]
            better = value > progress.best
            if better and self._main:
                self.keep()
        progress.waited = 0 if better else progress.waited + 1
        if better:
            progress.best, progress.best_epoch = value, progress.epoch - 1
        progress.finished = progress.waited >= config.patience
        if self.log is not None:
            self.log.write(progress.step, epoch=progress.epoch - 1, **{f"valid/{k}": v for k, v in figures.items()},
                           **{"valid/ndcg@10": value, "wall_s": self._wall()})  # fmt: skip
            for name, figure in figures.items():
                writer.add_scalar(f"valid/{name}", figure, progress.step)
            logger.info(
                "epoch %d: validation %s %.4f%s, %.0f s", progress.epoch - 1, self.select, value,
                " (best)" if better else f" (best {progress.best:.4f} in epoch {progress.best_epoch})", self._wall(),
            )  # fmt: skip

    def _wall(self) -> float:
        return time.perf_counter() - self._started

    def _checkpoint_due(self) -> bool:
        due = time.perf_counter() - self._last_checkpoint > 60 * self.config.checkpoint_minutes
        shared = torch.tensor([due], dtype=torch.float32, device=self.accelerator.device)
        return (self.accelerator.num_processes == 1 and due) or bool(self.accelerator.reduce(shared, "max").item())

    def _save(self) -> None:
        """Write a checkpoint beside the last one and put it in its place."""
        self.progress.wall_s = self._wall()
        new, old = self.checkpoint.with_name("new"), self.checkpoint.with_name("old")
        if self._main:
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)
            new.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(new))
        self.accelerator.wait_for_everyone()
        if self._main:
            (new / "key").write_text(self.key, encoding="utf-8")
            if self.checkpoint.exists():
                os.replace(self.checkpoint, old)
            os.replace(new, self.checkpoint)
            shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._last_checkpoint = time.perf_counter()

    def _resume(self) -> None:
        old = self.checkpoint.with_name("old")
        if self._main and old.exists() and not self.checkpoint.exists():  # killed between the two renames
            os.replace(old, self.checkpoint)
        self.accelerator.wait_for_everyone()
        marker = self.checkpoint / "key"
        if not marker.is_file():
            return
        if marker.read_text(encoding="utf-8") != self.key:
            logger.info("%s is of other settings or data and is not resumed", self.checkpoint)
            return
        self.accelerator.load_state(str(self.checkpoint))
        logger.info(
            "resuming after step %d (epoch %d) from %s",
            self.progress.step,
            self.progress.epoch,
            self.checkpoint,
        )


def _sync(accelerator: Accelerator, module: torch.nn.Module, last: bool):  # type: ignore[no-untyped-def]
    """Gradients meet at the last micro-batch of a step only."""
    from contextlib import nullcontext

    return nullcontext() if last else accelerator.no_sync(module)

"""The training loop: one process or many, interruptible at any step, resumable to the same weights."""

import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from tqdm import tqdm

from gen_rec.data.batches import Int64Array, share_of
from gen_rec.errors import GenRecError
from gen_rec.training.averaging import WeightAverage
from gen_rec.training.config import TrainingConfig
from gen_rec.training.log import EventLog
from gen_rec.training.progress import Progress
from gen_rec.training.schedule import make_optimizer, make_scheduler
from gen_rec.training.signals import StopRequest, stop_on_signals
from gen_rec.training.source import TrainingSource

logger = logging.getLogger(__name__)

LOG_EVERY = 10
"""Steps between lines of the log."""


class TrainingError(GenRecError):
    """Training cannot go on."""


class Interrupted(GenRecError):  # noqa: N818 - the wish of whoever sent the signal, not an error
    """A signal ended the training after a checkpoint; ``signum`` is which."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class Trainer:
    """Trains an objective and calls back with every validation and every new best.

    accelerator: made by the caller, so that it alone decides on devices, processes and precision
    objective:   called as ``objective(batch, divisor)`` it gives the terms of the loss, ``loss`` being what to
                 minimise: sums over the batch's targets divided by ``divisor``. ``objective.model`` is what is kept;
                 ``objective.parameter_groups()``, where it has that, says what learns at which rate
    source:      what there is to learn
    validate:    gives the figures of the current weights, the same on every process; ``select`` names the one
                 that picks the checkpoint. None: every epoch's weights are kept in turn, and all epochs run
    keep:        called on the main process with the best weights in place
    kept:        whether what ``keep`` made is still there; a run that kept weights and lost them is not resumed
    folder:      checkpoints go to ``folder/checkpoints``, events to ``folder/log.jsonl`` and ``folder/tensorboard``
    key:         what the run is of; a checkpoint of another key is not resumed but replaced
    """

    def __init__(
        self,
        accelerator: Accelerator,
        objective: nn.Module,
        source: TrainingSource,
        validate: Callable[[], dict[str, float]] | None,
        select: str,
        keep: Callable[[], None],
        kept: Callable[[], bool],
        config: TrainingConfig,
        seed: int,
        folder: Path,
        key: str,
    ) -> None:
        if source.n_targets == 0:
            raise TrainingError(
                "the training part holds no user with two interactions, so there is nothing to learn; "
                "look at the summary of the prepared data"
            )
        world = accelerator.num_processes
        if len(source) < world:
            raise TrainingError(
                f"{len(source)} training row(s) cannot be shared by {world} processes; start fewer (--num_processes)"
            )
        self.accelerator = accelerator
        self.source, self.validate, self.select, self.keep, self.kept = source, validate, select, keep, kept
        self.config, self.seed, self.folder, self.key = config, seed, folder, key
        self.rows_per_step = config.batch_size * config.gradient_accumulation * world
        steps = math.ceil(len(source) / self.rows_per_step) * config.epochs
        optimizer = make_optimizer(objective, config)
        self.scheduler = make_scheduler(optimizer, config, steps)
        self.progress = Progress()
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        self.average = WeightAverage(objective.get_submodule("model"), config.weight_averaging)  # where it now is
        accelerator.register_for_checkpointing(self.progress, self.scheduler, self.average)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last"

    def fit(self, fresh: bool = False) -> Progress:
        """Train until the epochs are over or validation has stopped improving.

        fresh:  start anew even where a checkpoint of this run is
        raises  Interrupted after a signal (a checkpoint was written; ``fit`` again goes on from it) and
                TrainingError when the loss is not finite.
        """
        set_seed(self.seed + self.accelerator.process_index)
        self._resume(fresh)
        self.log = self._open_log()
        self._started = time.perf_counter() - self.progress.wall_s
        self._last_checkpoint = time.perf_counter()
        try:
            with stop_on_signals() as stop:
                while self.progress.epoch < self.config.epochs and not self.progress.finished:
                    self._epoch(stop)
                    self._validate()
                    self._save()
            if not self.progress.finished:
                self.progress.finished = True
                self._save()
        finally:
            if self.log is not None:
                self.log.close()
        return self.progress

    @property
    def _main(self) -> bool:
        return self.accelerator.is_main_process

    def _open_log(self) -> EventLog | None:
        if not self._main:
            return None
        return EventLog(self.folder / "log.jsonl", self.progress.step, self.folder / "tensorboard")

    def _epoch(self, stop: StopRequest) -> None:
        progress = self.progress
        steps = self.source.steps(self.rows_per_step, self.seed, progress.epoch, self.accelerator.num_processes)
        self.objective.train()
        bar = tqdm(
            total=len(steps), initial=progress.step_in_epoch, desc=f"epoch {progress.epoch}", unit="step",
            leave=False, disable=not self._main,
        )  # fmt: skip
        with bar:
            while progress.step_in_epoch < len(steps):
                terms, stopping, due = self._step(steps[progress.step_in_epoch], stop)
                progress.step += 1
                progress.step_in_epoch += 1
                bar.update()
                bar.set_postfix(loss=f"{terms['loss']:.3f}", refresh=False)
                if self.log is not None and (progress.step % LOG_EVERY == 0 or progress.step == 1):
                    self.log.train(progress.step, progress.epoch, self._rate(), terms)
                if stopping:
                    self._save()
                    raise Interrupted(
                        f"stopped by a signal after step {progress.step} (epoch {progress.epoch}); the same command "
                        f"goes on from {self.checkpoint}", stop.signum or signal.SIGTERM,  # maybe another process's
                    )  # fmt: skip
                if due:
                    self._save()
        progress.epoch += 1
        progress.step_in_epoch = 0

    def _step(self, rows: Int64Array, stop: StopRequest) -> tuple[dict[str, float], bool, bool]:
        """One optimiser step on some rows.

        returns the loss terms over all processes; whether any process was asked to stop before the step; whether a
                checkpoint is due. All three are the same on every process.
        """
        accelerator, config = self.accelerator, self.config
        mine = share_of(rows, accelerator.process_index, accelerator.num_processes)
        parts = [mine[i : i + config.batch_size] for i in range(0, len(mine), config.batch_size)]
        batches = [self.source.batch(part, accelerator.device, self.progress.epoch) for part in parts]
        count = sum(batch.n_targets for batch in batches)
        due = time.perf_counter() - self._last_checkpoint > 60 * config.checkpoint_minutes
        exact = torch.float32 if accelerator.device.type == "mps" else torch.float64  # which that device does not have
        shared = torch.tensor([count, bool(stop), due], dtype=exact, device=accelerator.device)
        n_targets, stop_votes, due_votes = accelerator.reduce(shared, "sum").tolist()
        # Each process divides by the targets of the whole step; gradients are averaged over processes, so the
        # share is multiplied by their number and the step is the mean over all its targets.
        divisor = n_targets / accelerator.num_processes
        totals: dict[str, float] = {}
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1  # gradients of the processes meet at the last micro-batch only
            with accelerator.autocast(), nullcontext() if last else accelerator.no_sync(self.objective):
                terms = self.objective(batch, divisor)
                accelerator.backward(terms["loss"])
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.detach().float().item()
        values = torch.tensor(list(totals.values()), dtype=exact, device=accelerator.device)
        means = dict(zip(totals, accelerator.reduce(values, "mean").tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            self._fail("the loss", means, rows)
        norm = accelerator.clip_grad_norm_(self.objective.parameters(), config.gradient_clip or math.inf)
        # With fp16 the scaler skips a step whose gradient overflows; in any other precision that is an error.
        if accelerator.scaler is None and norm is not None and not math.isfinite(norm.item()):
            self._fail("the gradient", means, rows)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if not accelerator.optimizer_step_was_skipped:
            self.scheduler.step()
        self.average.update()
        return means, stop_votes > 0, due_votes > 0

    def _fail(self, what: str, means: dict[str, float], rows: Int64Array) -> None:
        terms = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        raise TrainingError(
            f"{what} is not finite at step {self.progress.step + 1} (epoch {self.progress.epoch}): {terms}; "
            f"learning rate {self._rate():.3g}, {self.source.describe(rows)}; the "
            f"weights are still those before the step, and the last checkpoint is in {self.checkpoint}. Look for "
            "extreme embeddings, or lower learning_rate or gradient_clip in the settings of this training"
        )

    def _validate(self) -> None:
        progress, config = self.progress, self.config
        if self.validate is None:
            if self._main:
                with self.average.applied():
                    self.keep()
            progress.best_epoch = progress.epoch - 1
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
            self.log.valid(progress.step, progress.epoch - 1, figures, value, self._wall())
            logger.info(
                "epoch %d: validation %s %.4f%s, %.0f s", progress.epoch - 1, self.select, value,
                " (best)" if better else f" (best {progress.best:.4f} in epoch {progress.best_epoch})", self._wall(),
            )  # fmt: skip

    def _rate(self) -> float:
        return float(self.scheduler.get_last_lr()[0])

    def _wall(self) -> float:
        return time.perf_counter() - self._started

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

    def _resume(self, fresh: bool) -> None:
        """Load the last checkpoint; one that is not to be resumed is removed, since its run is no longer this one."""
        old, marker = self.checkpoint.with_name("old"), self.checkpoint / "key"
        if self._main and old.exists() and not self.checkpoint.exists():  # killed between the two renames
            os.replace(old, self.checkpoint)
        self.accelerator.wait_for_everyone()
        found = marker.read_text(encoding="utf-8") if marker.is_file() else None
        self.accelerator.wait_for_everyone()
        if found is None or found != self.key or fresh:
            if found is not None and not fresh:
                logger.info("%s is of other settings or data and is not resumed", self.checkpoint)
            if self._main:
                shutil.rmtree(self.checkpoint, ignore_errors=True)
            return
        self.accelerator.load_state(str(self.checkpoint))
        if self.progress.best_epoch >= 0 and not self.kept():
            raise TrainingError(
                f"{self.checkpoint}: the best weights, of epoch {self.progress.best_epoch}, were kept but are gone; "
                "put the model's folder back, or train anew with --force true"
            )
        logger.info(
            "resuming after step %d (epoch %d) from %s", self.progress.step, self.progress.epoch, self.checkpoint
        )

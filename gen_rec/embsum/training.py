"""The training stage of EmbSum: what the run has, learnt by the same loop as the generative model."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed

from gen_rec.config import Config, to_yaml
from gen_rec.data.interactions import Dataset, Sequences
from gen_rec.embsum.backbone import load_backbone
from gen_rec.embsum.batches import Examples, Teacher, train_times
from gen_rec.embsum.catalogue import check_clock, item_tokens
from gen_rec.embsum.fitting import STAGE, fit_embsum, model_folder
from gen_rec.embsum.model import CONFIG_FILE, EmbSum
from gen_rec.embsum.tokens import ItemTokens
from gen_rec.embsum.validation import METHOD, Validation, compare_states
from gen_rec.files import write_json
from gen_rec.run import Run
from gen_rec.summaries.store import DECIDING
from gen_rec.summaries.teacher import teacher
from gen_rec.training.stage import NOT_LEARNT_BY, make_accelerator

logger = logging.getLogger(__name__)


def run_train_embsum(config: Config, force: bool = False) -> bool:
    """``train_embsum`` on the devices and processes that ``embsum.training`` and ``accelerate launch`` give."""
    accelerator = make_accelerator(replace(config, training=config.embsum.training))
    if accelerator.is_main_process:
        Run(config.run).remember(to_yaml(config))
    done = train_embsum(config, accelerator, force)
    accelerator.end_training()
    return done


def train_embsum(config: Config, accelerator: Accelerator, force: bool = False) -> bool:
    """Train the run's EmbSum, or go on with it. Returns whether there was anything to do.

    The best weights, by validation, are in ``<run>/embsum/model`` as soon as there are any; beside it ``training.json``
    (what it cost, what was cut) and ``states.json`` (which of the decoder's states ranks better).
    raises Interrupted after a signal; the next call goes on.
    """
    run, settings = Run(config.run), config.embsum
    key = stage_key(config, run, accelerator.num_processes)
    folder = model_folder(run)
    if not force and run.is_done(STAGE, key, [folder / CONFIG_FILE]):
        logger.info("embsum: settings and inputs have not changed, skipped")
        return False
    dataset = Dataset.load(run.data)
    check_clock(_clock(run), settings)
    if accelerator.is_main_process:
        run.begin(STAGE)
    set_seed(config.seed)  # the same start on every process
    model = EmbSum(settings, load_backbone(settings))
    tokens = item_tokens(dataset, model)
    sequences = dataset.train_sequences()
    times = None if settings.session_gap_hours is None else train_times(dataset)
    examples = Examples(
        sequences, tokens, settings, model.words.tokenizer, _teacher(config, dataset, run), config.seed, times
    )
    validation = None
    if len(dataset.cases("valid")):
        users = settings.training.validation_users
        validation = Validation(accelerator, model, dataset, tokens, users, config.evaluation)
    select = f"{settings.training.selection}/ndcg@10/{METHOD}"
    fit_embsum(
        accelerator, model, examples, validation, select, config.seed, run, key, "users",
        lambda: {"truncated": truncation(tokens, sequences, times)}, force,
    )  # fmt: skip
    if validation is not None:
        validation.model = EmbSum.load(folder).to(accelerator.device)  # the best weights, not the last
        states = compare_states(validation, select)
        if accelerator.is_main_process:
            write_json(run.embsum / "states.json", states)
    if accelerator.is_main_process:
        run.mark_done(STAGE, key)
    accelerator.wait_for_everyone()
    return True


def stage_key(config: Config, run: Run, n_processes: int) -> str:
    """Hash of all that decides the weights. raises GenRecError where a stage before this one is missing."""
    settings = asdict(config.embsum)
    for name in NOT_LEARNT_BY:
        settings["training"].pop(name)
    inputs = [run.need(run.data / "interactions.parquet", "prepare"), run.data / "items.parquet"]
    backbone = Path(config.embsum.backbone)
    if backbone.is_dir():
        inputs += backbone.iterdir()
    wording: dict[str, Any] = {}
    if config.embsum.summary_weight:
        wording = {name: getattr(config.summaries, name) for name in DECIDING}
        if config.summaries.backend != "template":
            inputs.append(run.need(run.summaries / "train.parquet", "summarize --split train"))
    return run.stage_key([settings, wording, config.seed, n_processes], inputs)


def truncation(tokens: ItemTokens, sequences: Sequences, times: Any = None) -> dict[str, int]:
    """What the limits cut of the catalogue and of the training histories, read once in full."""
    fresh = replace(tokens, truncated={"items": tokens.truncated["items"], "sessions": 0, "histories": 0})
    histories = fresh.histories(sequences, times)
    n_sessions = len(histories.sessions.offsets) - 1
    cut = {f"{name}_cut": count for name, count in fresh.truncated.items()}
    return {"items": tokens.n_items, "sessions": n_sessions, "histories": len(sequences), **cut}


def _teacher(config: Config, dataset: Dataset, run: Run) -> Teacher | None:
    if not config.embsum.summary_weight:
        return None
    return teacher(config.summaries, dataset.items, run)


def _clock(run: Run) -> str:
    summary = json.loads((run.data / "summary.json").read_text(encoding="utf-8"))
    return str(summary.get("clock", "unix"))

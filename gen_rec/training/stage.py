"""The training stage of a run: load what the earlier stages made, train, keep the best recommender."""

import logging
import os
from dataclasses import asdict
from datetime import timedelta

import polars as pl
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, set_seed

from gen_rec.config import Config
from gen_rec.data import columns as c
from gen_rec.data.batches import TrainingRows, causal_rows, prefix_rows
from gen_rec.data.interactions import Dataset
from gen_rec.data.ties import Ties
from gen_rec.embeddings.store import load_embeddings
from gen_rec.errors import GenRecError
from gen_rec.evaluate import evaluate_model, headline_method
from gen_rec.models.content import content_features
from gen_rec.objectives.eager import EagerObjective
from gen_rec.precision import multiplies_bfloat16
from gen_rec.recommender import Recommender
from gen_rec.run import Run
from gen_rec.stages import embedded_streams
from gen_rec.training.eager_source import EagerSource
from gen_rec.training.trainer import Trainer
from tokenizer import Codes

logger = logging.getLogger(__name__)

PROCESS_TIMEOUT = timedelta(hours=12)
"""How long processes wait for the one that prepares, embeds and tokenizes."""

PRODUCTS_OF = {"no": "float32", "bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}
"""accelerate's names of the types that operands of products are rounded to."""

NOT_LEARNT_BY = ("checkpoint_minutes", "cpu")
"""Settings of training that may change without training again."""


def make_accelerator(config: Config) -> Accelerator:
    """Devices, processes and precision as ``accelerate launch`` set them up; one process without it.

    raises GenRecError where several processes were started that would not know of one another: each would train alone
    and write into the same run.
    """
    precision = config.training.mixed_precision
    if precision == "auto":
        on_gpu = torch.cuda.is_available() and not config.training.cpu
        native = torch.cuda.is_bf16_supported() if on_gpu else multiplies_bfloat16()
        precision = "bf16" if native else "no"
    AcceleratorState._reset_state()  # a training before this one, in this process, may have had another precision
    accelerator = Accelerator(
        cpu=config.training.cpu,
        mixed_precision=precision,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT),
            DistributedDataParallelKwargs(broadcast_buffers=False),  # they never change
        ],
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes < started:
        raise GenRecError(
            f"{started} processes were started, but {accelerator.num_processes} would train together; on processors "
            "add --training.cpu true"
        )
    return accelerator


def catalogue(dataset: Dataset) -> pl.DataFrame:
    """What a recommender knows of its items: id, title, interactions in training."""
    return dataset.items.select(c.ITEM_ID, c.TITLE).with_columns(pl.Series("train_count", dataset.train_counts()))


def training_rows(dataset: Dataset, config: Config) -> TrainingRows:
    """The rows that the configured encoder learns from."""
    make = causal_rows if config.model.encoder == "causal" else prefix_rows
    return make(dataset.train_sequences(), config.model.max_history)


def build_recommender(config: Config, run: Run, dataset: Dataset) -> Recommender:
    """An untrained recommender over the run's codes."""
    codes = {stream: Codes.load(run.codes(stream)) for stream in config.model.streams}
    content = None
    if config.model.reads_content:
        semantic = load_embeddings(run.embeddings("semantic"), dataset.n_items)[0]
        content = torch.from_numpy(content_features(semantic, config.model.content_size))
    return Recommender.build(config.model, codes, content, catalogue(dataset), config.search)


def train(config: Config, accelerator: Accelerator, force: bool = False) -> bool:
    """Train the run's model, or go on with it. Returns whether there was anything to do.

    The best weights, by validation, are in ``<run>/model`` as soon as there are any.
    raises Interrupted after a signal; the next call goes on.
    """
    run = Run(config.run)
    inputs = [run.need(run.data / "interactions.parquet", "prepare"), run.data / "items.parquet"]
    inputs += [run.need(run.codes(name).with_suffix(".safetensors"), "tokenize") for name in config.model.streams]
    inputs += [run.need(run.embeddings(stream), "embed") for stream in embedded_streams(config)]
    settings = [asdict(part) for part in (config.model, config.objective, config.training)]
    for name in NOT_LEARNT_BY:
        settings[-1].pop(name)
    if config.data.tie_order == "redrawn":  # the prepared files do not say so
        settings.append({"ties": "redrawn"})
    key = run.stage_key([*settings, config.seed, accelerator.num_processes], inputs)
    if not force and run.is_done("train", key, [run.model / "config.json"]):
        logger.info("train: settings and inputs have not changed, skipped")
        return False
    if accelerator.is_main_process:
        run.begin("train")

    dataset = Dataset.load(run.data)
    set_seed(config.seed)  # the same start on every process
    recommender = build_recommender(config, run, dataset)
    recommender.trained_on = dataset.fingerprint()
    recommender.trained_in = PRODUCTS_OF[accelerator.mixed_precision]
    model = recommender.model
    tables = {
        stream: torch.from_numpy(load_embeddings(run.embeddings(stream), dataset.n_items)[0])
        for stream in config.model.streams
    }
    objective = EagerObjective(model, tables, config.objective)
    rows = training_rows(dataset, config)
    source = EagerSource(rows, Ties.asked_for(dataset, config.data))
    logger.info(
        "training on %d targets in %d rows, %.1f million weights, %d process(es)",
        rows.n_targets, len(rows), sum(p.numel() for p in model.parameters()) / 1e6, accelerator.num_processes,
    )  # fmt: skip

    def validate() -> dict[str, float]:
        evaluation = evaluate_model(
            model, dataset, "valid", config.search, config.evaluation, config.training.validation_users,
            accelerator.process_index, accelerator.num_processes, accelerator.is_main_process,
        )  # fmt: skip
        return {
            f"{mode}/{metric}/{method}": value
            for method, found in evaluation.methods.items()
            for mode, metrics in found.metrics.items()
            for metric, value in metrics.items()
            if metric in ("ndcg@10", "recall@10")
        }

    has_validation = len(dataset.cases("valid")) > 0
    select = f"{config.training.selection}/ndcg@10/{headline_method(model)}"
    if not has_validation:
        logger.warning("the data has no validation targets; the weights of the last epoch are kept")
    trainer = Trainer(
        accelerator, objective, source, validate if has_validation else None, select,
        lambda: recommender.save(run.model), (run.model / "config.json").is_file, config.training, config.seed,
        run.folder, key,
    )  # fmt: skip
    progress = trainer.fit(fresh=force)
    if accelerator.is_main_process:
        run.mark_done("train", key)
        logger.info(
            "trained %d epochs, %d steps, %.0f s; the recommender of epoch %d%s is in %s",
            progress.epoch, progress.step, progress.wall_s, progress.best_epoch,
            f" (best validation {select} {progress.best:.4f})" if has_validation else "", run.model,
        )  # fmt: skip
    accelerator.wait_for_everyone()
    return True

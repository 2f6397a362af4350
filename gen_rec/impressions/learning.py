"""EmbSum alone on impression data: learnt by the same loop as the generative model, kept by its validation AUC."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import set_seed

from gen_rec.config import Config
from gen_rec.embsum.backbone import load_backbone
from gen_rec.embsum.batches import Teacher
from gen_rec.embsum.catalogue import check_clock
from gen_rec.embsum.fitting import STAGE, fit_embsum, model_folder
from gen_rec.embsum.model import CONFIG_FILE, EmbSum
from gen_rec.embsum.tokens import ItemTokens
from gen_rec.errors import GenRecError
from gen_rec.files import content_hash
from gen_rec.impressions.config import ImpressionConfig
from gen_rec.impressions.examples import ImpressionExamples
from gen_rec.impressions.scoring import SELECT, ImpressionValidation
from gen_rec.impressions.sets import ImpressionSets
from gen_rec.impressions.table import ImpressionData
from gen_rec.retrieval import take
from gen_rec.run import Run
from gen_rec.training.stage import NOT_LEARNT_BY

logger = logging.getLogger(__name__)

HISTORIES_AT_ONCE = 10_000
"""Histories whose truncation is counted at once."""


def training_key(config: Config, settings: ImpressionConfig, sets: ImpressionSets, n_processes: int) -> str:
    """Hash of all that decides the weights. raises DataError where a file is missing."""
    embsum = asdict(config.embsum)
    for name in NOT_LEARNT_BY:
        embsum["training"].pop(name)
    files = sets.learning_files(settings)  # in a fixed order: train and valid must not be mistaken for one another
    backbone = Path(config.embsum.backbone)
    if backbone.is_dir():
        files = [*files, *(path for path in sorted(backbone.iterdir()) if path.is_file())]
    teacher = [config.summaries.backend, config.summaries.max_items] if config.embsum.summary_weight else []
    own = [sets.kind, sets.valid is not None, asdict(settings), config.seed, n_processes]
    return content_hash("impressions", embsum, teacher, own, *files)


def is_learnt(config: Config, key: str) -> bool:
    """Whether the run's EmbSum is the one of this key."""
    run = Run(config.run)
    return run.is_done(STAGE, key, [model_folder(run) / CONFIG_FILE, run.embsum / "training.json"])


def learn(
    config: Config,
    settings: ImpressionConfig,
    data: ImpressionData,
    accelerator: Accelerator,
    key: str,
    force: bool = False,
) -> None:
    """Train the run's EmbSum on the split ``train``, or go on with it.

    The weights with the best validation AUC are in ``<run>/embsum/model`` as soon as there are any; without a split
    ``valid`` that has labels, those of the last epoch. Beside it ``training.json`` says what it cost and what was cut.
    raises Interrupted after a signal; the next call goes on.
    """
    run, embsum = Run(config.run), config.embsum
    check_clock("order", embsum)  # impressions have times, the items of a history have none
    writer = _teacher(config, data)
    if accelerator.is_main_process:
        run.begin(STAGE)
    set_seed(config.seed)  # the same start on every process
    model = EmbSum(embsum, load_backbone(embsum))
    tokens = item_tokens(data, model)
    train = data.splits["train"]
    examples = ImpressionExamples(train, tokens, settings, model.words.tokenizer, writer, config.seed)
    validation = None
    if "valid" in data.splits:
        users = embsum.training.validation_users
        found = ImpressionValidation(accelerator, model, tokens, data.splits["valid"], users)
        validation = found if found.n_impressions else None

    def more() -> dict[str, Any]:
        return {
            "clicks_left_out": int((train.labels == 1).sum()) - len(examples),
            "validation_impressions": 0 if validation is None else validation.n_impressions,
            "truncated": _truncation(tokens, examples),
        }

    fit_embsum(accelerator, model, examples, validation, SELECT, config.seed, run, key, "clicks", more, force)
    if accelerator.is_main_process:
        run.mark_done(STAGE, key)
    accelerator.wait_for_everyone()


def item_tokens(data: ImpressionData, model: EmbSum) -> ItemTokens:
    """The tokens of all items as this model reads them."""
    words = model.words
    return ItemTokens.of(data.items["text"].to_list(), words.tokenizer, words.item, words.end, model.config)


def _teacher(config: Config, data: ImpressionData) -> Teacher | None:
    """Summaries by the template, from the items' categories and words. raises GenRecError for another back end."""
    if not config.embsum.summary_weight:
        return None
    if config.summaries.backend != "template":
        raise GenRecError(
            f"summaries.backend is {config.summaries.backend!r}, but impressions are learnt with the template's "
            "summaries only; set --summaries.backend template, or learn none: --embsum.summary_weight 0"
        )
    from gen_rec.summaries.template import TemplateWriter

    writer = TemplateWriter(data.items, config.summaries.max_items)
    return lambda histories: [writer.write(history) for history in histories]


def _truncation(tokens: ItemTokens, examples: ImpressionExamples) -> dict[str, int]:
    """What the limits cut of the items' texts and of the histories that are learnt from, each read once in full."""
    impressions = examples.impressions
    used = np.unique(impressions.history[examples.impression])
    fresh = replace(tokens, truncated={"items": tokens.truncated["items"], "sessions": 0, "histories": 0})
    n_sessions = 0
    for start in range(0, len(used), HISTORIES_AT_ONCE):
        histories = fresh.histories(take(impressions.histories, used[start : start + HISTORIES_AT_ONCE]))
        n_sessions += len(histories.sessions.offsets) - 1
    cut = {f"{name}_cut": count for name, count in fresh.truncated.items()}
    return {"items": tokens.n_items, "sessions": n_sessions, "histories": len(used), **cut}

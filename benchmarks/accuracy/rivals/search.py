"""Every trial of a rival, and the one that validation chooses. Finished trials are not run again."""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.accuracy.rivals.evaluate import evaluate
from benchmarks.accuracy.rivals.grid import Space, Values, build
from benchmarks.accuracy.rivals.method import Fitted, Job, Rival
from gen_rec.evaluation.result import commit
from gen_rec.files import content_hash, write_json
from gen_rec.training.stage import NOT_LEARNT_BY

logger = logging.getLogger(__name__)

Trial = dict[str, Any]
"""changes (of the fixed settings), settings, validation ({mode: {metric: value}}), notes, seconds, folder, commit."""


def selected(trial: Trial) -> float:
    """The figure that chooses: filtered NDCG@10 on validation."""
    return float(trial["validation"]["filtered"]["ndcg@10"])


def search(job: Job, rival: Rival, space: Space) -> tuple[list[Trial], Trial]:
    """Run every trial that has not been finished.

    returns  all trials in the order of the grid, and the best of them, the first where several are equal.
    raises   Interrupted after a signal; the next call goes on within the trial that was interrupted.
    """
    changes = space.trials()
    settings = [build(rival.settings, {**space.fixed, **each}) for each in changes]  # all are checked before any runs
    trials = []
    for number, (change, setting) in enumerate(zip(changes, settings, strict=True), 1):
        trial = run_trial(job, rival, change, setting)
        shown = ", ".join(f"{name} {value}" for name, value in change.items()) or "as fixed"
        logger.info(
            "%s, trial %d of %d: %s: validation filtered ndcg@10 %.4f",
            rival.name, number, len(changes), shown, selected(trial),
        )  # fmt: skip
        trials.append(trial)
    return trials, max(trials, key=selected)


def run_trial(job: Job, rival: Rival, change: Values, settings: Any) -> Trial:
    """Fit with these settings and validate, unless it was done."""
    folder, key = trial_folder(job, rival, settings)
    done = folder / "trial.json"
    if done.is_file():
        trial: Trial = json.loads(done.read_text(encoding="utf-8"))
        logger.info("%s: finished before, by the code of %s, not run again", folder, trial["commit"] or "no checkout")
        return {**trial, "changes": change}
    start = time.perf_counter()
    fitted = rival.fit(job, settings, folder, key)
    found = evaluate(fitted.scorer, job.dataset, "valid", rival.name, job.config.evaluation).methods[rival.name]
    trial = {
        "changes": change,
        "settings": asdict(settings),
        "validation": found.metrics,
        "notes": fitted.notes,
        "seconds": round(fitted.notes.get("training_s", time.perf_counter() - start), 1),
        "folder": folder.name,
        "commit": commit(),
    }
    write_json(done, trial)
    return trial


def fit_again(job: Job, rival: Rival, settings: Any) -> Fitted:
    """The fit of a finished trial: read, or made anew where that is as fast."""
    folder, key = trial_folder(job, rival, settings)
    return rival.fit(job, settings, folder, key)


def trial_folder(job: Job, rival: Rival, settings: Any) -> tuple[Path, str]:
    """Where a trial lies, and the key of all that decides its fit, which names the folder."""
    values = asdict(settings)
    for name in NOT_LEARNT_BY:
        values.get("training", {}).pop(name, None)
    files = [job.run.data / "interactions.parquet", job.run.data / "items.parquet", *rival.inputs(job.run)]
    ties = ["redrawn"] if job.config.data.tie_order == "redrawn" else []  # the files do not say so
    key = content_hash(rival.name, values, job.config.seed, *ties, *files)
    return job.run.folder / "trials" / key, key

"""Figures of a ranking of impressions with their intervals, and the file that MIND's leaderboard takes."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_rec.errors import DataError
from gen_rec.evaluation.bootstrap import RESAMPLES
from gen_rec.files import atomic_path
from gen_rec.impressions.metrics import METRICS, candidate_ranks, impression_metrics
from gen_rec.impressions.table import UNLABELLED, Impressions


def evaluate_impressions(
    impressions: Impressions,
    scores: NDArray[np.floating],
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """AUC, MRR, nDCG@5 and nDCG@10, averaged over impressions as MIND does.

    scores:  (total,) one for each candidate, a higher one first
    level:   share of resamples inside an interval
    returns  ``metrics``, ``intervals`` (a percentile bootstrap over impressions), ``n_impressions`` that counted, and
             how many were ``left_out``: with candidates of one label only, or without labels
    raises   ValueError for scores that do not fit or are no numbers, DataError where no impression counts.
    """
    values = impression_metrics(impressions.offsets, impressions.labels, scores)
    counted = ~np.isnan(values[:, 0])
    unlabelled = (
        np.bincount(impressions.impression_of[impressions.labels == UNLABELLED], minlength=len(impressions)) > 0
    )
    if not counted.any():
        raise DataError(
            f"none of {len(impressions)} impressions has both clicked and other candidates ({unlabelled.sum()} have no "
            "labels); a test set without labels can only be written for the leaderboard, evaluate a labelled split"
        )
    low, high = _interval(values[counted], level, resamples, seed)
    return {
        "n_impressions": int(counted.sum()),
        "left_out": {"one_label": int((~counted & ~unlabelled).sum()), "unlabelled": int(unlabelled.sum())},
        "metrics": dict(zip(METRICS, values[counted].mean(0).tolist(), strict=True)),
        "intervals": {name: [float(low[i]), float(high[i])] for i, name in enumerate(METRICS)},
    }


def compare_impressions(
    impressions: Impressions,
    scores_a: NDArray[np.floating],
    scores_b: NDArray[np.floating],
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Difference a - b of each metric on the same impressions, with its interval by a paired bootstrap.

    returns ``{"auc": {"difference", "low", "high"}, ...}``; an interval that leaves out 0 is significant at ``level``.
    """
    a, b = (impression_metrics(impressions.offsets, impressions.labels, scores) for scores in (scores_a, scores_b))
    difference = (a - b)[~np.isnan(a[:, 0])]  # which impressions count does not depend on the scores
    if not len(difference):
        raise DataError(f"none of {len(impressions)} impressions has both clicked and other candidates")
    low, high = _interval(difference, level, resamples, seed)
    mean = difference.mean(0)
    return {
        name: {"difference": float(mean[i]), "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(METRICS)
    }


def write_prediction(path: str | Path, impressions: Impressions, scores: NDArray[np.floating]) -> None:
    """Write ranks as MIND's evaluation reads them: ``impression id [rank,rank,...]``, 1 for the best.

    path: such as ``prediction.txt``; where it ends in ``.zip``, an archive that holds ``prediction.txt``, which is what
          the leaderboard takes
    """
    path = Path(path)
    ranks = candidate_ranks(impressions.offsets, scores)
    lines = (  # no blank inside the brackets: MIND's script splits a line at blanks
        f"{name} [{','.join(map(str, ranks[low:high].tolist()))}]\n"
        for name, low, high in zip(impressions.ids, impressions.offsets[:-1], impressions.offsets[1:], strict=True)
    )
    with atomic_path(path) as temporary:
        if path.suffix == ".zip":
            with (
                zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open("prediction.txt", "w", force_zip64=True) as file,
            ):
                file.writelines(line.encode() for line in lines)
        else:
            with temporary.open("w", encoding="utf-8") as text:
                text.writelines(lines)


def _interval(values: NDArray[np.float64], level: float, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean over impressions. values: (n, m); returns low (m,), high (m,)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval must lie between 0 and 1, got {level}")
    rng = np.random.default_rng(seed)
    n = len(values)
    means = np.empty((resamples, values.shape[1]))
    for i in range(resamples):
        drawn = np.bincount(rng.integers(n, size=n), minlength=n)  # how often each impression is drawn
        means[i] = drawn @ values / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high

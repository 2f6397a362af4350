"""How near generated summaries come to the teacher's."""

from collections.abc import Sequence

import numpy as np

from gen_rec.extras import require


def rouge_l(generated: Sequence[str], reference: Sequence[str | None]) -> np.ndarray:
    """ROUGE-L F1 of every user by the package ``rouge-score``: over the longest common subsequence of words.

    returns (n,) float64 in 0 to 1; NaN where there is no reference. Words are compared in lower case, as they stand.
    """
    library = require("rouge_score.rouge_scorer", extra="summaries", purpose="ROUGE-L")
    scorer = library.RougeScorer(["rougeL"], use_stemmer=False)
    scores = [
        scorer.score(truth, text)["rougeL"].fmeasure if truth is not None else np.nan
        for text, truth in zip(generated, reference, strict=True)
    ]
    return np.array(scores, dtype=np.float64)


def mean_rouge_l(generated: Sequence[str], reference: Sequence[str | None]) -> float:
    """The mean over the users that have a reference; NaN where none has."""
    scores = rouge_l(generated, reference)
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else float("nan")

"""The rivals of the benchmark, in one harness: same data, same users, same figures, tuned on validation.

    python -m benchmarks.accuracy.rivals METHOD --config configs/beauty.yaml [--config OVERLAY.yaml ...] [--seed 1]

| METHOD | what it is |
|---|---|
| popularity | the items that training saw most |
| ease | EASE (arXiv 1905.03375): one linear map from items to items, in closed form |
| item-graph | which items stand near each other in histories; counted, not trained |
| item-graph-text | the same and how near an item's text is to those of the history |
| sasrec-ce | SASRec (arXiv 1808.09781) with the full softmax cross-entropy |
| bsarec | BSARec (arXiv 2312.10325): SASRec with a low-pass filter beside attention |

What each may try is in ``configs/rivals/METHOD.yaml``: every combination of its grid is a trial, and the best filtered
NDCG@10 on validation wins. Only then is the test split scored, once. See ``run`` for what is written. A trial of SASRec
or BSARec takes about an hour, and the committed ones have one each, by ``--trial`` (``budget`` in their evidence says
so, and ``docs/results.md`` why that one).
"""

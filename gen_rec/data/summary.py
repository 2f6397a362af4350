"""What a prepared data set looks like, in a few numbers."""

from typing import Any

import numpy as np

from gen_rec.data import columns as c
from gen_rec.data.filters import ties
from gen_rec.data.interactions import Dataset

QUANTILES = {
    "min": 0.0,
    "p05": 0.05,
    "p25": 0.25,
    "median": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "p99": 0.99,
    "max": 1.0,
}


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Counts, density, length quantiles, share of items with text, share of ties; values JSON can write.

    ``share_of_ties`` counts interactions that carry the same user and timestamp as the one before;
    ``share_of_users_with_ties`` users that have such a one; ``items_without_training`` items the model never
    sees.
    """
    lengths = np.diff(dataset.offsets)
    user_of_row = dataset.user_of_row
    tied = ties(user_of_row, dataset.timestamps)
    per_item = np.bincount(dataset.item_index, minlength=dataset.n_items)
    splits = np.bincount(dataset.split, minlength=3)
    return {
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": dataset.n_interactions,
        "density": dataset.n_interactions / (dataset.n_users * dataset.n_items),
        "splits": dict(zip(c.SPLIT_NAMES, splits.tolist(), strict=True)),
        "interactions_per_user": _quantiles(lengths),
        "interactions_per_item": _quantiles(per_item),
        "share_with_text": float((dataset.items[c.TEXT] != "").mean()),  # type: ignore[arg-type]
        "items_without_training": int((dataset.train_counts() == 0).sum()),
        "share_of_ties": float(tied.mean()),
        "share_of_users_with_ties": len(np.unique(user_of_row[tied])) / dataset.n_users,
        "first_timestamp": int(dataset.timestamps.min()),
        "last_timestamp": int(dataset.timestamps.max()),
    }


def _quantiles(counts: np.ndarray) -> dict[str, float]:
    values = np.quantile(counts, list(QUANTILES.values())).tolist()
    return {**dict(zip(QUANTILES, values, strict=True)), "mean": float(counts.mean())}

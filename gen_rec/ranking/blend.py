"""The blend: one score out of many features, small, learnt, and open to a reader.

Two kinds. "linear" is a logistic regression of "is the item that came next" on features standardised within their list.
"boosted" is LambdaMART: a few shallow trees, fitted to the order of each list, that see each feature as it is and
standardised within its list. Only lists that hold the target teach anything. Items of the history are never among what
is fitted on, but they are scored by the same blend, on the scale of the list's other items, so that an item's score
does not depend on whether the list is filtered.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen_rec.errors import GenRecError
from gen_rec.extras import require
from gen_rec.files import atomic_path, write_json
from gen_rec.ranking.config import RerankConfig

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Kind = Literal["linear", "boosted"]
PURPOSE = "the last ranking"
CONFIG_FILE, TREES_FILE = "blend.json", "blend.txt"


class Lists(NamedTuple):
    """Candidates of users with their features and the place of the item that came next.

    values: (n, c, f) features, NaN where unknown
    real:   (n, c) bool, where there is a candidate
    unseen: (n, c) bool, candidates that are not in the history
    target: (n,) int64 column of the target, -1 where it is not among the candidates
    inside: (n, c, f) the features within their list, ``within_list``
    """

    values: Floats
    real: Bools
    unseen: Bools
    target: NDArray[np.int64]
    inside: Floats

    @classmethod
    def of(cls, values: Floats, real: Bools, unseen: Bools, target: NDArray[np.int64]) -> "Lists":
        return cls(values, real, unseen, target, within_list(values, unseen))

    def pick(self, rows: NDArray[Any]) -> "Lists":
        """Some of the users."""
        return Lists(*(part[rows] for part in self))

    def only(self, features: list[int]) -> "Lists":
        """The same with some of the features."""
        return self._replace(values=self.values[..., features], inside=self.inside[..., features])

    def teaches(self) -> Bools:
        """(n,) users whose target is among their unseen candidates: the others have nothing to teach."""
        found = self.target >= 0
        return found & self.unseen[np.arange(len(found)), self.target]


def within_list(values: Floats, unseen: Bools) -> Floats:
    """Features less their mean over the unseen candidates of a list, over their standard deviation there.

    values:  (n, c, f)
    returns  (n, c, f), NaN where the feature is unknown; 0 where a list gives a feature one value only.
    """
    known = unseen[..., None] & np.isfinite(values)  # (n, c, f)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    mean = np.where(known, values, 0.0).sum(1, keepdims=True, dtype=np.float64) / count
    off = values - mean
    spread = np.sqrt(np.square(np.where(known, off, 0.0)).sum(1, keepdims=True) / count)
    return np.divide(off, spread, out=np.where(np.isnan(values), np.nan, 0.0), where=spread > 1e-6).astype(np.float32)


@dataclass(frozen=True)
class Blend:
    """A fitted blend.

    names:   the features, in the order of the tables it scores
    kind:    which of the two
    weights: (f,) of "linear"
    trees:   the LightGBM booster of "boosted"
    """

    names: list[str]
    kind: Kind
    weights: Floats | None = None
    trees: Any = None

    @classmethod
    def fit(cls, names: list[str], lists: Lists, kind: Kind, config: RerankConfig, seed: int = 0) -> "Blend":
        """Fit on the users whose target is among their unseen candidates.

        raises GenRecError where there is none.
        """
        rows = np.flatnonzero(lists.teaches())
        if not len(rows):
            raise GenRecError(
                "no user's validation item is among the candidates, so nothing can be learnt; train the model longer, "
                "or raise rerank.candidates"
            )
        lists = lists.pick(rows)
        shown = _shown(lists, config.negatives, np.random.default_rng(seed))  # (n, c)
        columns = _columns(lists.values[shown], lists.inside[shown], kind)  # (rows, columns)
        label = np.zeros(shown.shape, dtype=np.int8)
        label[np.arange(len(label)), lists.target] = 1
        if kind == "linear":
            linear = require("sklearn.linear_model", extra="rerank", purpose=PURPOSE)
            fitted = linear.LogisticRegression(C=1.0, max_iter=200).fit(columns, label[shown])
            return cls(names, kind, weights=fitted.coef_[0].astype(np.float32))
        lightgbm = require("lightgbm", extra="rerank", purpose=PURPOSE)
        settings = {
            "objective": "lambdarank", "num_leaves": config.leaves, "learning_rate": config.learning_rate,
            "min_data_in_leaf": max(1, min(100, len(columns) // 200)), "lambda_l2": 10.0,
            "lambdarank_truncation_level": 20, "seed": seed, "deterministic": True, "force_row_wise": True,
            "num_threads": 1, "verbose": -1,
        }  # fmt: skip
        data = lightgbm.Dataset(columns, label[shown], group=shown.sum(1))
        return cls(names, kind, trees=lightgbm.train(settings, data, config.rounds))

    def scores(self, values: Floats, inside: Floats) -> Floats:
        """(n, c, f) features, as they are and within their list, to (n, c) scores; NaN for both gives some number."""
        columns = _columns(values, inside, self.kind)
        if self.weights is not None:
            return columns @ self.weights
        flat = columns.reshape(-1, columns.shape[-1])
        found = self.trees.predict(flat, num_threads=1) - self._base()
        return found.astype(np.float32).reshape(columns.shape[:-1])

    def parts(self, values: Floats, inside: Floats) -> Floats:
        """What every feature adds to the score: weight times value, or the trees' Shapley values.

        values, inside: (m, f)
        returns         (m, f); the sum over f is the score.
        """
        columns = _columns(values, inside, self.kind)
        if self.weights is not None:
            return columns * self.weights
        if not len(columns):
            return np.zeros((0, len(self.names)), dtype=np.float32)
        shares = self.trees.predict(columns, pred_contrib=True, num_threads=1)[:, :-1]  # the last is the base
        return shares.reshape(len(columns), 2, len(self.names)).sum(1).astype(np.float32)

    def _base(self) -> float:
        """The trees' mean prediction: a constant that Shapley values leave over, and that orders nothing."""
        n = 2 * len(self.names)
        return float(self.trees.predict(np.full((1, n), np.nan), pred_contrib=True)[0, -1])

    def importance(self) -> dict[str, float]:
        """What stands for a feature in the fitted blend: its weight, or its share of the trees' gain."""
        if self.weights is not None:
            return dict(zip(self.names, self.weights.tolist(), strict=True))
        gain = self.trees.feature_importance("gain").reshape(2, -1).sum(0)
        return dict(zip(self.names, (gain / max(float(gain.sum()), 1e-12)).tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write ``blend.json``, and the trees as LightGBM's own text."""
        weights = None if self.weights is None else self.weights.tolist()
        write_json(folder / CONFIG_FILE, {"kind": self.kind, "features": self.names, "weights": weights})
        if self.trees is not None:
            with atomic_path(folder / TREES_FILE) as temporary:
                temporary.write_text(self.trees.model_to_string(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Blend":
        """raises GenRecError where a file is missing or damaged."""
        path = folder / CONFIG_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["kind"] == "linear":
                return cls(stored["features"], "linear", weights=np.array(stored["weights"], dtype=np.float32))
            path = folder / TREES_FILE
            text = path.read_text(encoding="utf-8")
            lightgbm = require("lightgbm", extra="rerank", purpose=PURPOSE)
            return cls(stored["features"], "boosted", trees=lightgbm.Booster(model_str=text))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GenRecError(f"{path}: not a whole blend ({error}); make it again: gen-rec rerank") from error


def _columns(values: Floats, inside: Floats, kind: Kind) -> Floats:
    """What a blend sees: (..., f) features to (..., f) for "linear", (..., 2 f) for "boosted"."""
    if kind == "linear":
        return np.nan_to_num(inside, nan=0.0)  # unknown counts as the list's mean
    return np.concatenate([values, inside], axis=-1)


def _shown(lists: Lists, negatives: int, rng: np.random.Generator) -> Bools:
    """(n, c) which candidates a blend is fitted on: the target, and all or some of the other unseen ones."""
    if not negatives:
        return lists.unseen
    lot = np.where(lists.unseen, rng.random(lists.unseen.shape), np.inf)
    lot[np.arange(len(lot)), lists.target] = -1.0
    place = lot.argsort(axis=1).argsort(axis=1)
    return (place <= negatives) & lists.unseen

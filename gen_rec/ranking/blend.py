"""The blend: one score out of many features, small, learnt, and open to a reader.

Two kinds. "linear" is a logistic regression of "is the item that came next" on features standardised within their list.
"boosted" is LambdaMART: a few shallow trees, fitted to the order of each list, that see each feature as it is and
standardised within its list. Only lists that hold the target teach anything. Items of the history are never among what
is fitted on, but they are scored by the same blend, on the scale of the list's other items, so that an item's score
does not depend on whether the list is filtered; what sets them apart is the weight of the feature "repeat", learnt last
(``gen_rec.ranking.repeats``).
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
from gen_rec.ranking.features import Bools, Floats
from gen_rec.ranking.repeats import repeat_weight

Kind = Literal["linear", "boosted"]
PURPOSE = "the last ranking"
CONFIG_FILE, TREES_FILE = "blend.json", "blend.txt"
REPEAT = "repeat"
REPEAT_LISTS = 5_000
"""Lists that the weight of "repeat" is learnt from, at most."""


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
    weights: (f,) of "linear", without "repeat"
    trees:   the LightGBM booster of "boosted", which does not see "repeat"
    repeat:  weight of the feature "repeat", where it is one
    """

    names: list[str]
    kind: Kind
    weights: Floats | None = None
    trees: Any = None
    repeat: float = 0.0

    @classmethod
    def fit(cls, names: list[str], lists: Lists, kind: Kind, config: RerankConfig, seed: int = 0) -> "Blend":
        """Fit on the users whose target is among their unseen candidates, then the weight of "repeat" on all.

        raises GenRecError where there is none.
        """
        plain = [column for column, name in enumerate(names) if name != REPEAT]
        if len(plain) < len(names):
            known = lists.only(plain)
            fitted = cls.fit([names[column] for column in plain], known, kind, config, seed)
            return cls(names, kind, fitted.weights, fitted.trees, _fit_repeat(fitted, known, seed))
        rows = np.flatnonzero(lists.teaches())
        if not len(rows):
            raise GenRecError(
                "no user's validation item is among the candidates, so nothing can be learnt; train the model longer, "
                "or raise rerank.candidates"
            )
        lists = lists.pick(rows)
        if not (lists.unseen.sum(1) > 1).any():
            raise GenRecError(
                "no list holds anything besides the target, which leaves nothing to learn; raise rerank.candidates"
            )
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
        columns = _columns(values[..., self._plain], inside[..., self._plain], self.kind)
        if self.weights is not None:
            found = columns @ self.weights
        else:
            flat = columns.reshape(-1, columns.shape[-1])
            predicted = self.trees.predict(flat, num_threads=1) - self._base()
            found = predicted.astype(np.float32).reshape(columns.shape[:-1])
        if REPEAT in self.names:
            found = found + np.float32(self.repeat) * np.nan_to_num(values[..., self.names.index(REPEAT)])
        return found

    def parts(self, values: Floats, inside: Floats) -> Floats:
        """What every feature adds to the score: weight times value, or the trees' Shapley values.

        values, inside: (m, f)
        returns         (m, f); the sum over f is the score.
        """
        found = np.zeros(values.shape, dtype=np.float32)
        columns = _columns(values[..., self._plain], inside[..., self._plain], self.kind)
        if self.weights is not None:
            found[:, self._plain] = columns * self.weights
        elif len(columns):
            shares = self.trees.predict(columns, pred_contrib=True, num_threads=1)[:, :-1]  # the last is the base
            found[:, self._plain] = shares.reshape(len(columns), 2, len(self._plain)).sum(1)
        if REPEAT in self.names:
            column = self.names.index(REPEAT)
            found[:, column] = self.repeat * np.nan_to_num(values[:, column])
        return found

    @property
    def _plain(self) -> list[int]:
        """Columns of the features that the blend was fitted on: all but "repeat"."""
        return [column for column, name in enumerate(self.names) if name != REPEAT]

    def _base(self) -> float:
        """The trees' mean prediction: a constant that Shapley values leave over, and that orders nothing."""
        n = 2 * len(self._plain)
        return float(self.trees.predict(np.full((1, n), np.nan), pred_contrib=True)[0, -1])

    def importance(self) -> dict[str, float]:
        """What stands for a feature, but "repeat", in the fitted blend: its weight, or its share of the trees' gain."""
        names = [self.names[column] for column in self._plain]
        if self.weights is not None:
            return dict(zip(names, self.weights.tolist(), strict=True))
        gain = self.trees.feature_importance("gain").reshape(2, -1).sum(0)
        return dict(zip(names, (gain / max(float(gain.sum()), 1e-12)).tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write ``blend.json``, and the trees as LightGBM's own text."""
        weights = None if self.weights is None else self.weights.tolist()
        stored = {"kind": self.kind, "features": self.names, "weights": weights, "repeat": self.repeat}
        write_json(folder / CONFIG_FILE, stored)
        if self.trees is not None:
            with atomic_path(folder / TREES_FILE) as temporary:
                temporary.write_text(self.trees.model_to_string(), encoding="utf-8")

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """What a folder needs to be loaded: with the trees, unless it says that there are none."""
        path = folder / CONFIG_FILE
        try:
            linear = json.loads(path.read_text(encoding="utf-8"))["kind"] == "linear"
        except (OSError, ValueError, KeyError, TypeError):
            linear = False
        return [path] if linear else [path, folder / TREES_FILE]

    @classmethod
    def load(cls, folder: Path) -> "Blend":
        """raises GenRecError where a file is missing or damaged."""
        path = folder / CONFIG_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["kind"] == "linear":
                weights = np.array(stored["weights"], dtype=np.float32)
                return cls(stored["features"], "linear", weights=weights, repeat=stored["repeat"])
            path = folder / TREES_FILE
            text = path.read_text(encoding="utf-8")
            lightgbm = require("lightgbm", extra="rerank", purpose=PURPOSE)
            trees = lightgbm.Booster(model_str=text)
            return cls(stored["features"], "boosted", trees=trees, repeat=stored["repeat"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GenRecError(f"{path}: not a whole blend ({error}); make it again: gen-rec rerank") from error


def _fit_repeat(blend: Blend, lists: Lists, seed: int) -> float:
    """The weight of "repeat" on top of a blend that does not know it, from (some of) the lists that hold a target."""
    rows = np.flatnonzero(lists.target >= 0)
    if len(rows) > REPEAT_LISTS:
        rows = np.random.default_rng(seed).choice(rows, REPEAT_LISTS, replace=False)
    some = lists.pick(rows)
    return repeat_weight(blend.scores(some.values, some.inside), some.real, some.unseen, some.target)


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

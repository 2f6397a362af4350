"""EmbSum's scores of the candidates of impressions: every item and every distinct history is encoded once."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from gen_rec.data.interactions import Int64Array, ranges
from gen_rec.embsum.catalogue import BATCH_USERS, encode_items
from gen_rec.embsum.encoded import BLOCK_PAIRS
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.tokens import ItemTokens
from gen_rec.impressions.examples import label_counts
from gen_rec.impressions.metrics import METRICS, impression_metrics
from gen_rec.impressions.table import Impressions
from gen_rec.retrieval import take

Products = Callable[[], AbstractContextManager[object]]
"""Within such a block products are made in the wanted precision."""
SELECT = "impressions/auc"
"""The figure that picks the checkpoint."""


class _Items(NamedTuple):
    """The candidates' poly-embeddings and what the score makes of them alone."""

    number: Int64Array  # (n_items,) row in the tables, -1 for an item that is no candidate
    vectors: Tensor  # (some, n, d)
    gates: Tensor  # (some, n, d)


class ImpressionScorer:
    """Scores the candidates of impressions, history by history, those of like length together.

    products: of the encoding; the score itself is always made in float32
    """

    def __init__(
        self, model: EmbSum, tokens: ItemTokens, impressions: Impressions, products: Products = nullcontext
    ) -> None:
        self.model, self.tokens, self.impressions, self.products = model, tokens, impressions, products
        used, history = np.unique(impressions.history, return_inverse=True)
        order = np.argsort(np.minimum(impressions.histories.lengths[used], model.config.max_items), kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self.histories = used[order]  # the distinct histories, in the order they are encoded
        self._impressions = np.argsort(place[history], kind="stable")
        self._offsets = np.searchsorted(place[history][self._impressions], np.arange(len(order) + 1))
        self._encoded: _Items | None = None

    def __len__(self) -> int:
        """Distinct histories."""
        return len(self.histories)

    def scores(self) -> NDArray[np.float32]:
        """Scores of all candidates, (total,)."""
        found = np.empty(len(self.impressions.candidates), dtype=np.float32)
        for start in range(0, len(self), BATCH_USERS):
            places, scores = self.block(start, start + BATCH_USERS)
            found[places] = scores
        return found

    @torch.no_grad()
    def block(self, start: int, stop: int) -> tuple[Int64Array, NDArray[np.float32]]:
        """The candidates of all impressions after the histories ``start:stop``, in the order of ``histories``.

        returns  (k,) places in ``impressions.candidates`` and (k,) scores; 0 for all candidates of an empty history.
        """
        places, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for low in range(start, min(stop, len(self)), BATCH_USERS):
            high = min(low + BATCH_USERS, stop, len(self))
            histories = self.tokens.histories(take(self.impressions.histories, self.histories[low:high]))
            with self.products():
                users = self.model.encode_users(histories.to(self.model.device)).vectors.float()
            shown = np.diff(self._offsets[low : high + 1])
            some = self._impressions[self._offsets[low] : self._offsets[high]]
            found = self._score(users, np.repeat(np.arange(high - low), shown), some)
            places.append(found[0])
            scores.append(found[1])
        return np.concatenate(places), np.concatenate(scores)

    def _score(self, users: Tensor, owner: Int64Array, some: Int64Array) -> tuple[Int64Array, NDArray[np.float32]]:
        """Places and scores of the candidates of impressions.

        users: (rows, m, d); owner: (k,) whose impression each of ``some`` (k,) is
        """
        items, impressions = self._items(), self.impressions
        lengths = impressions.offsets[some + 1] - impressions.offsets[some]
        order = np.argsort(lengths, kind="stable")
        places, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        start = 0
        while start < len(order):
            # so many that they fit with the padding of the longest, and one at least
            widths = lengths[order[start : start + BLOCK_PAIRS]]
            fit = widths * np.arange(1, len(widths) + 1) <= BLOCK_PAIRS
            chosen = order[start : start + max(1, int(fit.sum()))]
            start += len(chosen)
            real = np.arange(max(1, int(lengths[chosen].max()))) < lengths[chosen][:, None]  # (impressions, candidates)
            at = ranges(impressions.offsets[some[chosen]], lengths[chosen])
            rows = np.zeros(real.shape, dtype=np.int64)
            rows[real] = items.number[impressions.candidates[at]]
            picked = torch.from_numpy(rows).to(users.device)
            whose = torch.from_numpy(owner[chosen]).to(users.device)
            values = self.model.score(users[whose], items.vectors[picked], items.gates[picked])
            places.append(at)
            scores.append(values.cpu().numpy()[real])
        return np.concatenate(places), np.concatenate(scores)

    def _items(self) -> _Items:
        """Encoded when first needed."""
        if self._encoded is None:
            shown = np.flatnonzero(np.bincount(self.impressions.candidates, minlength=self.tokens.n_items))
            number = np.full(self.tokens.n_items, -1, dtype=np.int64)
            number[shown] = np.arange(len(shown))
            with self.products():
                vectors = torch.cat(list(encode_items(self.model, self.tokens, shown)))
            gates = torch.cat([self.model.score.gates(part) for part in vectors.split(BLOCK_PAIRS)])
            self._encoded = _Items(number, vectors, gates)
        return self._encoded


class ImpressionValidation:
    """MIND's figures of a model on some validation impressions, the same each time; all processes take a share.

    tokens: of all items
    most:   impressions, drawn once with a fixed seed among those with both labels; 0 takes all
    """

    def __init__(
        self, accelerator: Accelerator, model: EmbSum, tokens: ItemTokens, impressions: Impressions, most: int
    ) -> None:
        self.accelerator, self.model, self.tokens = accelerator, model, tokens
        clicked, unclicked = label_counts(impressions)
        rows = np.flatnonzero((clicked > 0) & (unclicked > 0))
        if most and most < len(rows):
            rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
        self.n_impressions = len(rows)
        self.mine = impressions.take(rows[accelerator.process_index :: accelerator.num_processes])

    def __call__(self) -> dict[str, float]:
        """The figures over the impressions of all processes, and the seconds they took."""
        started = time.perf_counter()
        self.model.eval()
        sums = np.zeros(1 + len(METRICS))
        if len(self.mine):
            scores = ImpressionScorer(self.model, self.tokens, self.mine, self.accelerator.autocast).scores()
            values = impression_metrics(self.mine.offsets, self.mine.labels, scores)
            counted = values[~np.isnan(values[:, 0])]
            sums[:] = len(counted), *counted.sum(0)
        shared = torch.tensor(sums, dtype=torch.float64, device=self.accelerator.device)
        n, *totals = self.accelerator.reduce(shared, "sum").tolist()
        figures = {f"impressions/{name}": total / n for name, total in zip(METRICS, totals, strict=True)}
        return {**figures, "seconds": time.perf_counter() - started}

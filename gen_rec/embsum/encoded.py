"""Encoded users and items, read back: only the score is left to compute."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gen_rec.embsum.encode import Split, What, data_key, encoded_file
from gen_rec.embsum.poly import PairScore
from gen_rec.errors import GenRecError
from gen_rec.evaluation.metrics import ndcg_at, target_ranks

BLOCK_PAIRS = 8192
"""Pairs of a user and an item that are scored at once: 50 MB with 4 codes of 384 numbers."""


class EncodedItems:
    """The catalogue's poly-embeddings and the score, ready for users.

    vectors: (n_items, n, d) float32 or float16
    score:   the model's
    model:   hash of the model's folder, "" where it is of none
    data:    hash of the items that were encoded, "" where nobody said

    What the score makes of an item alone, gelu(B W_s), is computed once.
    """

    def __init__(self, vectors: Tensor, score: PairScore, model: str = "", data: str = "") -> None:
        self.vectors, self.score, self.model, self.data = vectors, score, model, data
        with torch.no_grad():
            self.gates = torch.empty_like(vectors)
            for start in range(0, len(vectors), BLOCK_PAIRS):
                some = slice(start, start + BLOCK_PAIRS)
                self.gates[some] = score.gates(vectors[some].float()).to(vectors.dtype)

    @classmethod
    def load(cls, folder: str | Path) -> "EncodedItems":
        """folder: what ``gen-rec embsum encode`` wrote"""
        tensors, metadata = _read(Path(folder), "items")
        score = PairScore(tensors["weight"].shape[0], scale=1.0)
        score.load_state_dict({name: tensors[name] for name in ("weight", "log_scale")})
        return cls(tensors["vectors"], score.requires_grad_(False).eval(), metadata["model"], metadata.get("data", ""))

    @torch.no_grad()
    def scores(self, users: Tensor, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of each user's own candidates.

        users:   (b, m, d)
        items:   (b, c) int64, -1 for none
        returns  (b, c) float32, -inf where there is no item.
        """
        found = np.full(items.shape, -np.inf, dtype=np.float32)
        step = max(1, BLOCK_PAIRS // max(1, items.shape[1]))
        for start in range(0, len(items), step):
            some = slice(start, start + step)
            picked = torch.from_numpy(items[some].clip(min=0))
            vectors, gates = self.vectors[picked].float(), self.gates[picked].float()  # (b, c, n, d)
            found[some] = self.score(users[some].float(), vectors, gates).numpy()
        found[items < 0] = -np.inf
        return found


class EncodedPairs:
    """Users of a split and all items: scores by row numbers.

    users: (rows, m, d) float32 or float16; row i is case i of the split
    """

    def __init__(self, users: Tensor, items: EncodedItems) -> None:
        self.users, self.items = users, items

    @classmethod
    def load(cls, folder: str | Path, split: Split, data: Path | None = None) -> "EncodedPairs":
        """Read ``<run>/embsum/encoded``.

        data:  folder of the prepared data that rows are of, where that is to be checked
        raises GenRecError where a file is missing or damaged, is of other data, or users and items are of different
               models.
        """
        folder = Path(folder)
        tensors, of_users = _read(folder, split)
        items = EncodedItems.load(folder)
        made_from: dict[What, str] = {"items": items.data, split: of_users.get("data", "")}
        for what, key in made_from.items():
            if data is not None and key != data_key(data, what):
                raise GenRecError(
                    f"{encoded_file(folder, what)} was encoded from other data than {data} holds now; encode again: "
                    f"gen-rec embsum encode --split {split}, or rank without it: --rerank.embsum off"
                )
        if of_users["model"] != items.model:
            raise GenRecError(
                f"{encoded_file(folder, split)} is of another model than {encoded_file(folder, 'items')}; encode both "
                f"again: gen-rec embsum encode --split {split}"
            )
        return cls(tensors["vectors"], items)

    def scores(self, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of candidates.

        rows:    (b,) int64 cases of the split
        items:   (b, c) int64, -1 for none
        returns  (b, c) float32, -inf where there is no item; 0 throughout for a user without a history.
        """
        return self.items.scores(self.users[torch.from_numpy(rows)], items)


def compare_rankings(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    items: NDArray[np.int64],
    target: NDArray[np.integer],
    cut: int = 10,
) -> dict[str, float]:
    """How the ranking of the same candidates changes with their scores, such as those of half precision.

    a, b:    (n, c) scores, before and after
    items:   (n, c) int64 candidates, -1 for none
    target:  (n,) the item that came next
    returns  ``same_top``, the mean share of the first list's top that the second has too; ``same_order``, the share of
             users whose tops are equal in order; ``ndcg_before``, ``ndcg_after`` and ``ndcg_change``; all at ``cut``.
    """
    before, after = (np.where(items >= 0, scores, -np.inf) for scores in (a, b))
    tops = [np.argsort(-scores, axis=1, kind="stable")[:, :cut] for scores in (before, after)]  # columns
    real = np.take_along_axis(items, tops[0], 1) >= 0
    shared = (tops[0][:, :, None] == tops[1][:, None, :]).any(2) & real
    n = np.maximum(1, real.sum(1))
    ndcg = [float(ndcg_at(target_ranks(items, scores, target), cut).mean()) for scores in (before, after)]
    return {
        f"same_top@{cut}": float((shared.sum(1) / n).mean()),
        f"same_order@{cut}": float((tops[0] == tops[1]).all(1).mean()),
        f"ndcg@{cut}_before": ndcg[0],
        f"ndcg@{cut}_after": ndcg[1],
        f"ndcg@{cut}_change": ndcg[1] - ndcg[0],
    }


def halved(pairs: EncodedPairs) -> EncodedPairs:
    """The same in half precision, as ``--dtype float16`` writes it."""
    return EncodedPairs(pairs.users.half(), EncodedItems(pairs.items.vectors.half(), pairs.items.score))


def _read(folder: Path, what: What) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = encoded_file(folder, what)
    if not path.is_file():
        raise GenRecError(f"{path} is not there; make it with: gen-rec embsum encode")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise GenRecError(
            f"{path}: cannot be read ({error}); encode it again: gen-rec embsum encode --force true"
        ) from error

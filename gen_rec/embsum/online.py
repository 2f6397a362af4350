"""EmbSum for histories as they come: users are encoded on the spot, the catalogue was encoded before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen_rec.data import columns as c
from gen_rec.data.interactions import Int64Array, Sequences
from gen_rec.embsum.catalogue import BATCH_USERS
from gen_rec.embsum.encode import model_key
from gen_rec.embsum.encoded import EncodedItems
from gen_rec.embsum.generate import write_summaries
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.tokens import HistoryTokens, ItemTokens
from gen_rec.errors import GenRecError
from gen_rec.retrieval import take


class OnlineEmbSum:
    """Scores and summaries of any histories.

    model:  in evaluation mode
    tokens: of the catalogue
    items:  the catalogue, encoded by this model

    Histories come without times, so a model whose sessions end at gaps has sessions of ``session_items`` here.
    """

    def __init__(self, model: EmbSum, tokens: ItemTokens, items: EncodedItems) -> None:
        self.model, self.items = model.eval(), items
        self.tokens = replace(tokens, config=replace(tokens.config, session_gap_hours=None))

    @classmethod
    def load(cls, model: str | Path, encoded: str | Path, catalogue: pl.DataFrame) -> "OnlineEmbSum":
        """From the folders of a trained model and of what ``gen-rec embsum encode`` wrote.

        catalogue: row i is item i; ``text``
        raises     GenRecError where the items were encoded by another model, or are not as many.
        """
        loaded = EmbSum.load(model)
        items = EncodedItems.load(encoded)
        if items.model != model_key(Path(model)) or len(items.vectors) != len(catalogue):
            raise GenRecError(
                f"{encoded}: the items are of another model than {model}, or of another catalogue; encode them again: "
                "gen-rec embsum encode"
            )
        words = loaded.words
        texts = catalogue[c.TEXT].to_list()
        return cls(loaded, ItemTokens.of(texts, words.tokenizer, words.item, words.end, loaded.config), items)

    def scores(self, histories: Sequences, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of candidates.

        histories: rows of the catalogue, oldest first
        items:     (rows, c) int64, -1 for none
        returns    (rows, c) float32, -inf where there is no item; 0 throughout for an empty history.
        """
        return self.items.scores(self.users(histories), items)

    @torch.no_grad()
    def users(self, histories: Sequences) -> Tensor:
        """Poly-embeddings of histories, (rows, m, d) float32."""
        found = []
        for start in range(0, len(histories), BATCH_USERS):
            rows = np.arange(start, min(start + BATCH_USERS, len(histories)))
            found.append(self.model.encode_users(self._tokens(histories, rows)).vectors.float().cpu())
        return torch.cat(found)

    def summaries(self, histories: Sequences) -> list[str]:
        """What the model writes of each history; "" for an empty one."""
        return write_summaries(self.model, histories.lengths, lambda rows: self._tokens(histories, rows))

    def _tokens(self, histories: Sequences, rows: Int64Array) -> HistoryTokens:
        return self.tokens.histories(take(histories, rows)).to(self.model.device)

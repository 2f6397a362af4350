"""What comes after the search: the last ranking, and a user's interests in words. Loaded when it is first asked for."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.interactions import Sequences
from gen_rec.errors import GenRecError
from gen_rec.files import content_hash, replace_folder
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.retrieval import SearchConfig
from gen_rec.run import Run

if TYPE_CHECKING:
    from gen_rec.embsum.online import OnlineEmbSum
    from gen_rec.ranking.reranker import Reranked, Reranker
    from gen_rec.summaries.template import TemplateWriter

FOLDER = "reranker"
"""Where a saved recommender keeps its second stage."""


@dataclass(frozen=True)
class Places:
    """Where the parts of a second stage lie; any of them may be missing.

    ranking:   folder of the last ranking
    embsum:    folder of EmbSum
    encoded:   folder with the catalogue encoded by it
    catalogue: the items with all that is known of them
    weights:   of the model, which the ranking must have been fitted on
    """

    ranking: Path
    embsum: Path
    encoded: Path
    catalogue: Path
    weights: Path

    @classmethod
    def of_run(cls, folder: str | Path) -> "Places":
        run = Run(folder)
        return cls(
            run.rerank,
            run.embsum / "model",
            run.embsum / "encoded",
            run.data / "items.parquet",
            run.model / "model.safetensors",
        )

    @classmethod
    def of_model(cls, folder: Path) -> "Places":
        """folder: of a saved recommender"""
        inner = folder / FOLDER
        weights = folder / "model.safetensors"
        return cls(inner / "ranking", inner / "embsum", inner / "encoded", inner / "items.parquet", weights)

    def copy(self, folder: Path) -> None:
        """Put what is there into the folder of a recommender that is being saved, without the users of any split.

        It takes the place of what the folder held; saved where it was loaded from it stays as it is.
        """
        theirs = Places.of_model(folder)
        if self.ranking.resolve() == theirs.ranking.resolve():
            return
        if not self.ranking.is_dir() and not self.embsum.is_dir():
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            return
        with replace_folder(folder / FOLDER) as new:
            for name in ("ranking", "embsum", "encoded", "catalogue"):  # the weights the recommender saves itself
                source, target = getattr(self, name), new / getattr(theirs, name).name
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("users_*", ".*", "*.parts"))
                elif source.is_file():
                    shutil.copyfile(source, target)


class SecondStage:
    """The last ranking and the words of one recommender.

    places: where it is loaded from; None where a recommender was made in memory
    items:  ``item_id, title`` of the catalogue, for words where nothing more is known
    """

    def __init__(self, places: Places | None, items: pl.DataFrame) -> None:
        self.places = places
        self.items = items

    def save(self, folder: Path) -> None:
        """Put what there is into the folder of a recommender that is being saved, in the place of another one's."""
        if self.places is not None:
            self.places.copy(folder)
        else:
            shutil.rmtree(folder / FOLDER, ignore_errors=True)

    @property
    def has_ranking(self) -> bool:
        return self.places is not None and self.places.ranking.is_dir()

    @cached_property
    def reranker(self) -> "Reranker":
        """raises GenRecError where there is none."""
        if not self.has_ranking:
            where = "this recommender" if self.places is None else str(self.places.ranking.parent)
            raise GenRecError(
                f"{where} has no last ranking; fit one with gen-rec rerank --run RUN and load the run, or recommend "
                "without rerank=True"
            )
        assert self.places is not None
        from gen_rec.ranking.reranker import Reranker

        reranker, weights = Reranker.load(self.places.ranking), self.places.weights
        if reranker.model and reranker.model != content_hash(weights):
            raise GenRecError(
                f"{self.places.ranking} was fitted on another model than {weights.parent} holds now; fit it again: "
                f"gen-rec rerank --run {self.places.ranking.parent}"
            )
        return reranker

    @cached_property
    def embsum(self) -> "OnlineEmbSum | None":
        """None where the catalogue is not encoded. raises GenRecError where what is there does not fit together."""
        if self.places is None or not self.places.embsum.is_dir() or not self.places.encoded.is_dir():
            return None
        from gen_rec.embsum.online import OnlineEmbSum

        return OnlineEmbSum.load(self.places.embsum, self.places.encoded, self.catalogue)

    @cached_property
    def writer(self) -> "TemplateWriter":
        from gen_rec.summaries.template import TemplateWriter

        return TemplateWriter(self.catalogue)

    @cached_property
    def catalogue(self) -> pl.DataFrame:
        if self.places is not None and self.places.catalogue.is_file():
            return pl.read_parquet(self.places.catalogue)
        return self.items.with_columns(pl.col(c.TITLE).alias(c.TEXT))

    def rerank(
        self, model: TwoStreamModel, histories: Sequences, k: int, search: SearchConfig, filter_seen: bool
    ) -> "Reranked":
        """The last ranking's lists for histories, none of them empty; see ``Reranker.rerank``."""
        scorer = self.embsum.scores if self.reranker.uses_embsum and self.embsum is not None else None
        return self.reranker.rerank(model, histories, k, search, filter_seen, scorer)

    def summaries(self, histories: Sequences) -> list[str]:
        """What each history says of its user: in EmbSum's words, where it has learnt to write and has written any."""
        written: Sequence[str] = [""] * len(histories)
        if self.embsum is not None and self.embsum.model.config.summary_weight:
            written = self.embsum.summaries(histories)
        return [text or self.writer.write(histories[i]) for i, text in enumerate(written)]


def explained(found: "Reranked", names: Sequence[str]) -> dict[str, np.ndarray]:
    """Every feature's value and its part of the score, (rows, k) each, by the names of the columns."""
    values = {f"value_{name}": found.values[..., i] for i, name in enumerate(names)}
    return values | {f"part_{name}": found.parts[..., i] for i, name in enumerate(names)}

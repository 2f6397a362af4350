"""The last ranking as one object and one folder, for any history: candidates, features, blend, and why."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen_rec.data.interactions import Sequences
from gen_rec.errors import GenRecError
from gen_rec.files import write_json
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.ranking.blend import Blend, within_list
from gen_rec.ranking.config import GraphConfig, RerankConfig
from gen_rec.ranking.features import Floats, ItemFacts
from gen_rec.ranking.item_graph import ItemGraph
from gen_rec.ranking.pool import Gatherer, PairScorer, Pool
from gen_rec.retrieval import SearchConfig

CONFIG_FILE, GRAPH_FILE, ITEMS_FILE = "config.json", "graph.safetensors", "items.safetensors"
FORMAT = 2
"""Version of the folder's layout."""


class Reranked(NamedTuple):
    """New lists of a batch of histories, best first; equal scores by item.

    items:  (rows, k) int64, -1 where there are fewer than k
    scores: (rows, k), -inf where there is nothing; the sum of the parts
    values: (rows, k, f) the features, NaN where unknown
    parts:  (rows, k, f) what each feature adds to the score
    """

    items: NDArray[np.int64]
    scores: Floats
    values: Floats
    parts: Floats


@dataclass(frozen=True)
class Reranker:
    """A fitted last ranking.

    config: the settings it was fitted with
    blend:  the score
    graph:  gives candidates and a feature
    facts:  what is known of the items
    model:  hash of the weights whose lists it was fitted on, "" where nobody said
    """

    config: RerankConfig
    blend: Blend
    graph: ItemGraph
    facts: ItemFacts
    model: str = ""

    @property
    def names(self) -> list[str]:
        """The features, in the order of ``values`` and ``parts``."""
        return self.blend.names

    @property
    def uses_embsum(self) -> bool:
        return "embsum" in self.names

    def rerank(
        self,
        model: TwoStreamModel,
        histories: Sequences,
        k: int,
        search: SearchConfig,
        filter_seen: bool = True,
        embsum: PairScorer | None = None,
    ) -> Reranked:
        """Rank for a batch of histories, searched at once.

        model:       the one whose lists the blend was fitted on
        k:           items a history; more candidates than the blend was fitted with are asked for where they are fewer
        histories:   rows of the catalogue, oldest first, none of them empty
        filter_seen: leave out the items of the history
        embsum:      scores of EmbSum, needed where ``uses_embsum``
        """
        gatherer = self.gatherer(model, search, embsum, k)
        pool = gatherer.pool(histories, np.arange(len(histories)))
        return self.rank(pool, k, filter_seen)

    def gatherer(
        self, model: TwoStreamModel, search: SearchConfig, embsum: PairScorer | None = None, k: int = 0
    ) -> Gatherer:
        """What finds the candidates and features of this blend, and enough of them for lists of ``k`` items.

        raises GenRecError where EmbSum's scores are missing
        """
        if self.uses_embsum and embsum is None:
            raise GenRecError(
                "this blend was fitted with EmbSum's score and cannot rank without it; give EmbSum, or fit without: "
                "--rerank.embsum off"
            )
        config = replace(self.config, candidates=max(self.config.candidates, k))
        return Gatherer(self.names, model, search, self.graph, self.facts, config, embsum)

    def rank(self, pool: Pool, k: int, filter_seen: bool = True) -> Reranked:
        """The k best candidates of each list."""
        items = pool.candidates.items
        inside = within_list(pool.values, pool.candidates.unseen)
        scores = self._scores(pool, inside, filter_seen)
        order = best_places(scores, k)
        best = np.take_along_axis(scores, order, 1)
        listed = np.isfinite(best)
        row, place = np.nonzero(listed)
        column = order[row, place]
        shape = (len(items), k)
        found = Reranked(
            np.full(shape, -1, dtype=np.int64),
            np.full(shape, -np.inf, dtype=np.float32),
            np.full((*shape, len(self.names)), np.nan, dtype=np.float32),
            np.zeros((*shape, len(self.names)), dtype=np.float32),
        )
        found.items[row, place] = items[row, column]
        found.scores[row, place] = best[row, place]
        found.values[row, place] = pool.values[row, column]
        found.parts[row, place] = self.blend.parts(pool.values[row, column], inside[row, column])
        return found

    def scores(self, pool: Pool, filter_seen: bool = True) -> Floats:
        """(rows, candidates), -inf for what may not be listed."""
        return self._scores(pool, within_list(pool.values, pool.candidates.unseen), filter_seen)

    def _scores(self, pool: Pool, inside: Floats, filter_seen: bool) -> Floats:
        allowed = pool.candidates.unseen if filter_seen else pool.candidates.real
        scores = np.full(allowed.shape, -np.inf, dtype=np.float32)
        scores[allowed] = self.blend.scores(pool.values[allowed], inside[allowed])
        return scores

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """What a folder needs to be loaded."""
        return [*(folder / name for name in (CONFIG_FILE, GRAPH_FILE, ITEMS_FILE)), *Blend.files(folder)]

    def save(self, folder: Path) -> None:
        """Write everything but the model and EmbSum into an existing folder."""
        write_json(folder / CONFIG_FILE, {"format": FORMAT, "model": self.model, "rerank": asdict(self.config)})
        self.graph.save(folder / GRAPH_FILE)
        self.facts.save(folder / ITEMS_FILE)
        self.blend.save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Reranker":
        """raises GenRecError where the folder is not a whole last ranking of this version."""
        folder = Path(folder)
        path = folder / CONFIG_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format"] != FORMAT:
                raise ValueError(f"format {stored['format']}, this gen_rec reads {FORMAT}")
            values, model = stored["rerank"], str(stored.get("model", ""))
            config = RerankConfig(**{**values, "graph": GraphConfig(**values["graph"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GenRecError(f"{path}: not a last ranking ({error}); make it again: gen-rec rerank") from error
        graph, facts = ItemGraph.load(folder / GRAPH_FILE), ItemFacts.load(folder / ITEMS_FILE)
        return cls(config, Blend.load(folder), graph, facts, model)


def best_places(scores: Floats, k: int) -> NDArray[np.int64]:
    """(rows, at most k) places of the largest scores of each row, best first; of equal ones the first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]

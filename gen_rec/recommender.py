"""The whole recommender as one object and one folder: external ids in, ranked external ids out."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gen_rec.data.interactions import Sequences, offsets_of
from gen_rec.errors import GenRecError
from gen_rec.files import atomic_path, replace_folder, write_json
from gen_rec.models.config import ModelConfig
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.popular import Popular
from gen_rec.retrieval import Rankings, SearchConfig, search, take
from gen_rec.second_stage import Places, SecondStage, explained
from indexing import Trie
from tokenizer import Codes

logger = logging.getLogger(__name__)

MODEL_CARD = (Path(__file__).parent / "model_card.md").read_text(encoding="utf-8")
CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE = "config.json", "model.safetensors", "items.parquet"
FORMAT = 4
"""Version of the folder's layout and of what its settings mean."""


class Recommender(
    ModelHubMixin,
    library_name="gen_rec",
    license="apache-2.0",
    tags=["recommendation", "semantic-ids", "generative-retrieval"],
    model_card_template=MODEL_CARD,
):
    """A trained model with its codes, tries and item ids.

    model:  the network
    codes:  stream -> the codes its trie is built from
    items:  row i is item i: ``item_id``, ``title``, ``train_count`` (interactions in training)
    search: how codes are searched and fused in every call; assign another to change it
    second: the last ranking and a user's interests in words, where the folder it was loaded from has them
    trained_on: the fingerprint of the data set, "" where nobody said
    trained_in: the type that operands of training's products had, such as "bfloat16"; "" where nobody said

    ``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` are those of any Hugging Face model; the folder holds
    safetensors, JSON and Parquet, and nothing that is executed on loading.
    """

    def __init__(
        self, model: TwoStreamModel, codes: dict[str, Codes], items: pl.DataFrame, search: SearchConfig
    ) -> None:
        self.model = model.eval()
        self.codes = codes
        self.items = items
        self.search = search
        self.second = SecondStage(None, items)
        self.trained_on, self.trained_in = "", ""
        self._named = items.select("item_id", "title")  # what a frame says of an item
        self._row_of = {item_id: row for row, item_id in enumerate(items["item_id"])}

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        codes: dict[str, Codes],
        content: torch.Tensor | None,
        items: pl.DataFrame,
        search: SearchConfig,
    ) -> "Recommender":
        """An untrained recommender; the arguments are those of ``TwoStreamModel`` and of the constructor."""
        return cls(TwoStreamModel(config, tries_of(codes, config.streams), content), codes, items, search)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        filter_seen: bool = True,
        user_ids: Sequence[str] | None = None,
        rerank: bool = False,
        explain: bool = False,
    ) -> pl.DataFrame:
        """The k best items for each history.

        histories:   external item ids, oldest first. An id that the catalogue does not have is skipped and counted
                     in one warning. A history without a known item gets the most popular items of the training
                     part; its scores are then log-shares of the training interactions and its stream scores null.
        k:           items a history; cut to what the catalogue holds
        filter_seen: leave out the items of the history itself
        user_ids:    names of the rows in the result; "0", "1", ... when None
        rerank:      let the last ranking order the candidates; ``score`` is then that of its blend
        explain:     with columns that say why: ``summary``, what the history says of its user (in EmbSum's words where
                     it was trained, in the template's elsewhere), and with ``rerank``, for each feature of the blend,
                     ``value_<feature>`` and ``part_<feature>``, its part of the score
        returns      ``user_id, rank, item_id, title, score, behavior_score, semantic_score``, best first, rank from 1.
                     The streams' scores are the item's log-probabilities log p_b and log p_s, null where a stream did
                     not score it. ``score`` is, with ``search.fusion`` "sum", w log p_b + (1 - w) log p_s, where w is
                     ``search.behavior_weight``; with "entropy" the same with weights of each history's own; with
                     "confidence" the larger of log w + log p_b and log (1 - w) + log p_s. With one stream it is that
                     stream's.
        """
        frames = list(self.recommend_batches(histories, k, filter_seen, user_ids, rerank, explain))
        if len(frames) == 1:
            return frames[0]
        return pl.concat(frames) if frames else _frame([], np.empty((0, 0), dtype=np.int64), self._named, {})

    def recommend_batches(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        filter_seen: bool = True,
        user_ids: Sequence[str] | None = None,
        rerank: bool = False,
        explain: bool = False,
    ) -> Iterator[pl.DataFrame]:
        """``recommend``, one frame for each batch of ``search.batch_size`` histories, in their order."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if user_ids is not None and len(user_ids) != len(histories):
            raise ValueError(f"got {len(user_ids)} user_ids for {len(histories)} histories")
        names = [str(i) for i in range(len(histories))] if user_ids is None else list(user_ids)
        rows, unknown = self._rows_of(histories)
        if unknown:
            logger.warning(
                "%d of %d items in the histories are not in the catalogue and were skipped",
                unknown,
                sum(len(history) for history in histories),
            )
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        flat = np.array([item for row in rows for item in row], dtype=np.int32)
        sequences = Sequences(offsets_of(lengths), flat, np.arange(len(rows), dtype=np.int32))
        for start in range(0, len(rows), self.search.batch_size):
            batch = np.arange(start, min(len(rows), start + self.search.batch_size))
            some, called = take(sequences, batch), [names[i] for i in batch]
            ask = self._reranked if rerank else self._searched
            items, scores = ask(some, min(k, self.n_items), filter_seen)
            if not explain:
                scores = {name: values for name, values in scores.items() if name.endswith("score")}
            yield _frame(called, items, self._named, scores, self.second.summaries(some) if explain else None)

    def _rows_of(self, histories: Sequence[Sequence[str]]) -> tuple[list[list[int]], int]:
        """Rows of the known items of each history, and how many items were unknown."""
        rows, unknown = [], 0
        for i, history in enumerate(histories):
            if isinstance(history, str):
                raise TypeError(f"history {i} is the string {history!r}; give a list of item ids for each history")
            known = [self._row_of[item] for item in history if item in self._row_of]
            unknown += len(history) - len(known)
            rows.append(known)
        return rows, unknown

    def _searched(self, some: Sequences, k: int, filter_seen: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Items (rows, k), -1 for none, and columns of scores (rows, k) by name."""
        wanted = np.minimum(self.n_items, k + filter_seen * some.lengths)
        beams = enough_beams(self.search.beams, wanted)
        items = np.full((len(some), k), -1, dtype=np.int64)
        scores: dict[str, np.ndarray] = {}
        for number in np.unique(beams):
            rows = np.flatnonzero(beams == number)
            found, columns = self._searched_with(int(number), take(some, rows), k, filter_seen)
            items[rows] = found
            for name, values in columns.items():
                scores.setdefault(name, np.full(items.shape, np.nan, dtype=np.float32))[rows] = values
        self._fill_empty(some.lengths == 0, items, scores)
        return items, scores

    def _searched_with(
        self, beams: int, some: Sequences, k: int, filter_seen: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        device = next(self.model.parameters()).device
        longest = max(1, int(some.lengths.max()))
        seen = torch.from_numpy(some.last(longest)[0]).to(device) if filter_seen else None
        history, lengths = some.last(min(longest, self.model.config.max_history))
        (found,) = search(
            self.model,
            torch.from_numpy(history).to(device),
            torch.from_numpy(lengths).to(device),
            k,
            [seen],
            replace(self.search, beams=beams),
            only_best=True,
        )
        return _columns(found)

    def _reranked(self, some: Sequences, k: int, filter_seen: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """``_searched`` in the order of the last ranking, with the parts of its score."""
        rows = np.flatnonzero(some.lengths)
        items = np.full((len(some), k), -1, dtype=np.int64)
        names = self.second.reranker.names
        wanted = ["score", *(f"{kind}_{name}" for kind in ("value", "part") for name in names)]
        scores = {name: np.full(items.shape, np.nan, dtype=np.float32) for name in wanted}
        if len(rows):
            found = self.second.rerank(self.model, take(some, rows), k, self.search, filter_seen)
            items[rows] = found.items
            for name, values in {"score": found.scores, **explained(found, names)}.items():
                scores[name][rows] = values
        scores |= {f"{name}_score": scores[f"value_{name}"].copy() for name in self.model.streams if name in names}
        self._fill_empty(some.lengths == 0, items, scores)
        return items, scores

    def _fill_empty(self, empty: np.ndarray, items: np.ndarray, scores: dict[str, np.ndarray]) -> None:
        """Give the most popular items to rows without a history, in place."""
        if not empty.any():
            return
        best = Popular.of(self.items["train_count"].to_numpy()).top(items.shape[1])
        items[empty] = best.items
        for name, values in scores.items():
            values[empty] = best.scores if name == "score" else np.nan

    def save(self, folder: str | Path) -> None:
        """``save_pretrained`` into a folder that takes the place of the old one as a whole."""
        with replace_folder(folder) as new:
            self.save_pretrained(new)

    def _save_pretrained(self, save_directory: Path) -> None:
        config = {
            "format": FORMAT,
            "model": asdict(self.model.config),
            "search": asdict(self.search),
            "n_items": self.n_items,
            "trained_on": self.trained_on,
            "trained_in": self.trained_in,
        }
        write_json(save_directory / CONFIG_FILE, config)
        with atomic_path(save_directory / WEIGHTS_FILE) as temporary:
            weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
            save_file(weights, temporary, metadata={"format": "pt"})
        for stream, codes in self.codes.items():
            codes.save(save_directory / f"codes_{stream}")
        with atomic_path(save_directory / ITEMS_FILE) as temporary:
            self.items.write_parquet(temporary)
        self.second.save(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> "Recommender":  # type: ignore[override]
        """Load from a folder (a run's, or that of its model) or by its name on the hub.

        kwargs: ``revision``, ``token``, ``cache_dir``, ``force_download``, ``local_files_only``, as in huggingface_hub
        raises  GenRecError where a folder is not a recommender, or a name cannot be had from the hub.
        """
        folder = Path(pretrained_model_name_or_path)
        if folder.is_dir():
            inner = folder / "model"
            if not (inner / CONFIG_FILE).is_file():
                return cls._load(folder)
            recommender = cls._load(inner)
            recommender.second = SecondStage(Places.of_run(folder), recommender.items)
            return recommender
        if folder.is_absolute() or str(pretrained_model_name_or_path).startswith("."):
            raise GenRecError(f"{folder}: there is no such folder; train first, or give a name on the hub")
        try:
            found = snapshot_download(str(pretrained_model_name_or_path), **kwargs)
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise GenRecError(
                f"{folder}: there is no such folder, and the hub did not give it ({error}); train first, or check the "
                "name"
            ) from error
        return cls._load(Path(found))

    @classmethod
    def _load(cls, folder: Path) -> "Recommender":
        missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE) if not (folder / name).is_file()]
        if missing:
            raise GenRecError(f"{folder}: not a saved recommender, {', '.join(missing)} is missing; train first")
        try:
            config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise GenRecError(f"{folder / CONFIG_FILE}: not JSON ({error}); save it again") from error
        if config.get("format") != FORMAT:
            raise GenRecError(
                f"{folder / CONFIG_FILE}: format {config.get('format')!r}, this gen_rec reads {FORMAT}; "
                "save it again with the same version"
            )
        try:
            shape = ModelConfig(**config["model"])
            codes = {stream: Codes.load(folder / f"codes_{stream}") for stream in shape.streams}
            weights = load_file(folder / WEIGHTS_FILE)
            items = pl.read_parquet(folder / ITEMS_FILE)
            recommender = cls.build(shape, codes, weights.get("content"), items, SearchConfig(**config["search"]))
            recommender.model.load_state_dict(weights)
            recommender.trained_on = str(config.get("trained_on", ""))
            recommender.trained_in = str(config.get("trained_in", ""))
            recommender.second = SecondStage(Places.of_model(folder), items)
        except (SafetensorError, pl.exceptions.PolarsError, OSError, ValueError, RuntimeError, TypeError) as error:
            raise GenRecError(f"{folder}: not a whole recommender of this version ({error}); save it again") from error
        return recommender


def tries_of(codes: dict[str, Codes], streams: Sequence[str]) -> dict[str, Trie]:
    """The trie of each stream's codes."""
    return {stream: Trie.from_codes(codes[stream].codes.copy(), codes[stream].widths) for stream in streams}


def enough_beams(beams: int, wanted: np.ndarray) -> np.ndarray:
    """How many prefixes to keep for lists of ``wanted`` items: ``beams``, or the first of its doubles that suffices.

    A row's number is its own, so that its list is the same whoever is searched with it.
    """
    doubles = np.ceil(np.log2(np.maximum(1.0, wanted / beams))).astype(np.int64)
    return beams << doubles  # type: ignore[no-any-return]


def _columns(found: Rankings) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Items (rows, k) and every score column (rows, k) of the ranking that is recommended."""
    if found.fused is not None:
        fused = found.fused
        scores = {"score": fused.scores, "behavior_score": fused.scores_a, "semantic_score": fused.scores_b}
        return fused.items.cpu().numpy(), {name: value.cpu().numpy() for name, value in scores.items()}
    (stream, only), *_ = found.streams.items()
    values = only.scores.cpu().numpy()
    return only.items.cpu().numpy(), {"score": values, f"{stream}_score": values.copy()}


def _frame(
    names: list[str],
    items: np.ndarray,
    catalogue: pl.DataFrame,
    scores: dict[str, np.ndarray],
    summaries: list[str] | None = None,
) -> pl.DataFrame:
    """Ranked lists as rows; -1 items are left out.

    catalogue: ``item_id, title`` of every item
    scores:    (rows, k) by the names of columns; those that every frame has are null where they are missing here
    """
    row, column = np.nonzero(items >= 0)
    picked = catalogue[items[row, column]]
    columns = [
        pl.Series("user_id", [names[i] for i in row.tolist()], dtype=pl.String),
        pl.Series("rank", (column + 1).astype(np.int32)),
        *picked.get_columns(),
    ]
    for name in dict.fromkeys(["score", "behavior_score", "semantic_score", *scores]):
        values = np.full(len(row), np.nan, dtype=np.float32)
        if name in scores:
            given = scores[name][row, column]
            np.copyto(values, given, where=np.isfinite(given), casting="same_kind")
        columns.append(pl.Series(name, values, nan_to_null=True))
    if summaries is not None:
        columns.append(pl.Series("summary", [summaries[i] for i in row.tolist()], dtype=pl.String))
    return pl.DataFrame(columns)

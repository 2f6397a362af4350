"""The model that SASRec and BSARec share: embeddings of items and places, layers, a product with every item."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from benchmarks.accuracy.rivals.attention import CausalAttention, Places
from benchmarks.accuracy.rivals.frequency import FilterLength, FrequencyFilter, Mixture
from gen_rec.models.blocks import FeedForward
from gen_rec.models.dropout import Dropout
from gen_rec.training.config import TrainingConfig

Norm = Literal["pre", "post"]
INITIAL_STD = 0.02
"""Of every matrix and table at the start, as in the code of both articles' successors."""


@dataclass
class SASRecConfig:
    """SASRec (arXiv 1808.09781), with the softmax over the whole catalogue as its loss."""

    hidden_size: int = 64
    """Width of items and states."""
    num_layers: int = 2
    """Layers of attention and feed-forward net."""
    num_heads: int = 2
    """Heads of the attention."""
    inner_size: int = 256
    """Width inside the feed-forward net."""
    max_history: int = 50
    """Most recent items of a history that are read."""
    dropout: float = 0.5
    """Of embeddings and of what a layer adds."""
    attention_dropout: float = 0.5
    """Of attention weights."""
    norm: Norm = "post"
    """Where a layer is normalised: before what it computes ("pre", with a norm at the end), or after it was added."""
    supervise: Literal["every", "last"] = "every"
    """What is learnt from a history: the item after every place, in one pass; or only the item after the last place,
    with each prefix of a history a row of its own, which takes longer."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=200,
            patience=10,
            batch_size=256,
            learning_rate=1e-3,
            weight_decay=0.0,
            warmup_steps=0,
            schedule="constant",
            gradient_clip=0.0,
        )
    )
    """How it is trained; without weight decay AdamW is Adam."""

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_layers", "num_heads", "inner_size", "max_history"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} cannot be shared by {self.num_heads} heads")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.training.selection != "filtered":
            raise ValueError('training.selection must be "filtered": rivals are chosen by that figure')


@dataclass
class BSARecConfig(SASRecConfig):
    """BSARec (arXiv 2312.10325)."""

    supervise: Literal["every", "last"] = "last"
    """Only "last": the filter looks at later items, see ``frequency``."""
    alpha: float = 0.7
    """Weight of the filter; attention has the rest."""
    cutoff: int = 5
    """c: the lowest frequencies, counted with their conjugates, that are passed as they are."""
    filter_length: FilterLength = "padded"
    """Over how many places the transform runs: always ``max_history``, or as many as the history has items."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {self.alpha}")
        if self.cutoff < 1:
            raise ValueError(f"cutoff must be at least 1, got {self.cutoff}")
        if self.supervise != "last":
            raise ValueError('supervise must be "last": the filter of BSARec sees the items after a place')


class Residual(nn.Module):
    """x + dropout(branch(x)), with a norm before the branch or after the sum."""

    def __init__(self, branch: nn.Module, hidden_size: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.branch, self.before = branch, norm == "pre"
        self.norm, self.dropout = nn.LayerNorm(hidden_size), Dropout(dropout)

    def forward(self, x: Tensor, places: Places, queries: int) -> Tensor:
        """x: (rows, n, d); returns (rows, queries, d): the last places."""
        if self.before:
            return self.dropout.add(x[:, -queries:], self.branch(self.norm(x), places, queries))
        added = self.dropout.add(x[:, -queries:], self.branch(x, places, queries))
        return self.norm(added)  # type: ignore[no-any-return]


class EachPlace(nn.Module):
    """A feed-forward net, which looks at one place at a time."""

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        super().__init__()
        self.net = FeedForward(hidden_size, inner_size, dropout=0.0)

    def forward(self, x: Tensor, places: Places, queries: int) -> Tensor:
        """x: (rows, n, d); returns (rows, queries, d)."""
        return self.net(x[:, -queries:])  # type: ignore[no-any-return]


class Layer(nn.Module):
    """A mixing layer, with the residual around it, and a feed-forward net."""

    def __init__(self, mixing: nn.Module, config: SASRecConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.mixing = mixing
        self.net = Residual(EachPlace(d, config.inner_size), d, config.dropout, config.norm)

    def forward(self, x: Tensor, places: Places, queries: int) -> Tensor:
        """x: (rows, n, d); returns (rows, queries, d)."""
        return self.net(self.mixing(x, places, queries), places, queries)  # type: ignore[no-any-return]


class SequenceModel(nn.Module):
    """Item and place embeddings, mixing layers with feed-forward nets, and the item embeddings again as the head.

    Histories are right-aligned, so that the last place has the same place embedding however long a history is. What is
    padded is never seen: attention looks past it, and the filter takes it for zero. A batch may be as short as its
    longest history.

    mixing: makes the mixing layer, with the residual around it
    """

    def __init__(self, n_items: int, config: SASRecConfig, mixing: Callable[[], nn.Module]) -> None:
        super().__init__()
        d = config.hidden_size
        self.config = config
        self.items = nn.Embedding(n_items, d)
        self.positions = nn.Embedding(config.max_history, d)
        self.dropout = Dropout(config.dropout)
        self.norm = nn.LayerNorm(d)  # of the embeddings, or of the last states where layers are normalised before
        self.layers = nn.ModuleList(Layer(mixing(), config) for _ in range(config.num_layers))
        self.apply(_initialise)

    def forward(self, history: Tensor, queries: int) -> Tensor:
        """States of the last places.

        history: (rows, n) int64, right-aligned, -1 before the first item; n at most ``max_history``
        queries: how many places, from the end
        returns  (rows, queries, d); no meaning where the history is padded.
        """
        real = history >= 0
        x = self._embed(history)
        places = Places.of(real, x.dtype)
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, places, queries if number == len(self.layers) else history.shape[1])
        return self.norm(x) if self.config.norm == "pre" else x  # type: ignore[no-any-return]

    def _embed(self, history: Tensor) -> Tensor:
        items, positions = self.items(history.clamp(min=0)), self.positions.weight[-history.shape[1] :]
        if self.config.norm == "pre":
            return self.dropout(items * self.config.hidden_size**0.5 + positions)
        return self.dropout(self.norm(items + positions))

    def scores(self, history: Tensor) -> Tensor:
        """history: as ``forward`` takes it; returns (rows, n_items), the logits of the next item."""
        return self(history, 1)[:, 0] @ self.items.weight.T  # type: ignore[no-any-return]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def sasrec(n_items: int, config: SASRecConfig) -> SequenceModel:
    """Causal attention alone."""
    d = config.hidden_size

    def mixing() -> nn.Module:
        attention = CausalAttention(d, config.num_heads, config.attention_dropout)
        return Residual(attention, d, config.dropout, config.norm)

    return SequenceModel(n_items, config, mixing)


def bsarec(n_items: int, config: BSARecConfig) -> SequenceModel:
    """The filter beside causal attention, each with its own residual and norm."""
    d = config.hidden_size

    def mixing() -> nn.Module:
        attention = CausalAttention(d, config.num_heads, config.attention_dropout)
        frequency = FrequencyFilter(d, config.max_history, config.cutoff, config.filter_length)
        ways = (Residual(branch, d, config.dropout, config.norm) for branch in (frequency, attention))
        return Mixture(config.alpha, *ways)

    return SequenceModel(n_items, config, mixing)

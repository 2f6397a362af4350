"""Settings of the two-stream model."""

from dataclasses import dataclass, field
from typing import Literal

from gen_rec.choices import check_choices

STREAMS = ("behavior", "semantic")


@dataclass
class ModelConfig:
    """Shape of the encoder and of the decoders."""

    streams: list[str] = field(default_factory=lambda: list(STREAMS))
    """The code sequences to learn: "behavior", "semantic" or both; one alone is a plain generative recommender."""
    hidden_size: int = 128
    """Width of every state and embedding."""
    num_heads: int = 4
    """Attention heads; they divide hidden_size."""
    inner_size: int = 512
    """Width inside the feed-forward nets."""
    encoder_layers: int = 1
    """Layers over the history."""
    decoder_layers: int = 2
    """Layers over the codes, of each stream; with 0 a stream is a softmax head a level on the encoder's state."""
    dropout: float = 0.3
    """Dropout rate inside attention and feed-forward nets, on every residual branch, and on the decoder's states before
    they score codes."""
    embedding_dropout: float = 0.3
    """Dropout rate on item vectors entering the encoder and on code vectors entering a decoder."""
    max_history: int = 20
    """Most recent items of a history that are read."""
    encoder: Literal["causal", "bidirectional"] = "causal"
    """"causal" supervises every position of a history in one pass; "bidirectional" is the article's encoder and
    learns from one row per target."""
    shared_encoder: bool = True
    """One encoder and one vector an item for both streams (the article). With False each stream has its own: they
    disagree more, so that fusing them gains more, for more time and memory."""
    code_embedding: Literal["prefix", "level"] = "prefix"
    """"prefix" gives every trie node a vector of its own; "level" one per code and level, shared by all parents."""
    item_content: bool = True
    """Add a projection of the item's semantic embedding to its vector in the history."""
    code_content: bool = True
    """With prefix embeddings: add a projection of the mean semantic embedding of the items below a node."""
    content_size: int = 128
    """Principal components of the semantic embedding used as content; 0 takes the embedding whole."""
    tied: Literal["none", "leaves", "nodes"] = "nodes"
    """With prefix embeddings: which nodes' vectors include those that items have in a history: a leaf's its item's
    ("leaves"), every node's the mean of the items below it ("nodes")."""
    look_ahead: bool = True
    """With prefix embeddings: score a first code by its children on the second level (items, in a tree of two levels)
    instead of by a vector of its own. More accurate; costs a softmax over that level, as id-only models have one over
    the items. (With level embeddings all parents share their children's vectors, so there is nothing to see.)"""
    repeat_bias: bool = True
    """Learn how much likelier or less likely an item is for being in the history, by how many items ago it was. Where
    nobody takes a thing twice, raw lists become as good as filtered ones; where people come back, compare with
    False."""
    seed_start: bool = True
    """Add the encoder's state at the last item to every token of a decoder."""

    @property
    def reads_content(self) -> bool:
        """Whether the vectors of items or of nodes know texts. Level embeddings have no nodes that could."""
        return self.item_content or (self.code_content and self.code_embedding == "prefix")

    def __post_init__(self) -> None:
        check_choices(self, "model")
        unknown = [name for name in self.streams if name not in STREAMS]
        if not self.streams or unknown or len(set(self.streams)) != len(self.streams):
            raise ValueError(f"model.streams must be one or both of {list(STREAMS)}, got {self.streams}")
        for name in ("encoder_layers", "hidden_size", "num_heads", "inner_size", "max_history"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"model.num_heads must divide model.hidden_size, got {self.num_heads} and {self.hidden_size}"
            )
        for name in ("decoder_layers", "content_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"model.{name} must not be negative, got {getattr(self, name)}")
        if self.decoder_layers == 0 and not self.seed_start:
            raise ValueError(
                "model.seed_start must be true with model.decoder_layers 0, got false: nothing else would tell a "
                "decoder of the history"
            )
        for name in ("dropout", "embedding_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"model.{name} must lie in [0, 1), got {getattr(self, name)}")

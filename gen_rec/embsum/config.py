"""Settings of EmbSum: what it reads, its shape, how it learns."""

from dataclasses import dataclass, field
from typing import Literal

from gen_rec.choices import check_choices
from gen_rec.training.config import TrainingConfig


@dataclass
class EmbSumConfig:
    """EmbSum (arXiv 2405.11441), the content-based second stage."""

    backbone: str = "t5-small"
    """The encoder-decoder: a Hugging Face name or folder, or ``packaged:all-MiniLM-L6-v2``, which needs no hub: that
    encoder, and a decoder from the same weights with new cross-attention."""
    encoder_layers: int | None = None
    """Layers of the encoder that are kept, the first ones; all when not given."""
    decoder_layers: int | None = None
    """Layers of the decoder that are kept, the first ones; all when not given."""
    frozen_layers: int = 0
    """Layers of the encoder, from the first, that are not trained, nor are then the word vectors of the encoder."""
    dropout: float = 0.0
    """Dropout in the backbone while it learns; a few epochs of fine-tuning need none."""
    max_items: int = 60
    """Most recent items of a history that are read."""
    session_items: int = 5
    """Most items of a session (p). 1 encodes every item by itself: the article's model without grouping."""
    session_gap_hours: float | None = None
    """A pause of more hours than this starts a new session; needs a set with real times."""
    item_tokens: int = 24
    """Most tokens of an item's text, its start token among them; a candidate, read alone, has an end token more."""
    session_tokens: int = 120
    """Most tokens of a session, its end token among them; texts at its end are cut, but each item keeps its start
    token."""
    user_codes: int = 8
    """Queries of the user's poly-embedding (m). 1 is the article's model without user poly-embedding."""
    item_codes: int = 4
    """Queries of the candidate's poly-embedding (n). 1 is the article's model without candidate poly-embedding."""
    code_size: int = 128
    """Width of a query."""
    normalize: bool = True
    """Whether poly-embeddings are scaled to length 1, so that their products are cosines, which sentence encoders are
    made for. The article does not say so."""
    summary_weight: float = 0.05
    """Weight of the summary loss (lambda). 0 learns no summary, and the decoder then only gives the state."""
    summary_share: float = 1.0
    """Share of a batch's histories whose summary is learnt, drawn anew for each step: writing costs as much as reading.
    The loss is the mean over those. With ``state`` "summary" all of them are needed."""
    summary_tokens: int = 64
    """Most tokens of a summary, learnt and generated."""
    state: Literal["start", "summary"] = "start"
    """The decoder's state that joins the item vectors: that at its start token, or that at the end of the summary which
    the model writes. The second is learnt at the end of the teacher's summary, so it needs one of the same history."""
    uniform_negatives: int = 32
    """Items drawn from the whole catalogue that a batch shares as negatives."""
    in_batch_negatives: bool = True
    """Whether the other rows' positives are negatives too."""
    targets: int = 1
    """Items after the cut of a history that are its positives, each of them counted alone."""
    cuts: Literal["last", "random"] = "random"
    """Where a training history ends: before its last item, or at a place drawn anew in each epoch."""
    head_rate: float = 10.0
    """Learning rate of everything that is not pretrained, as a multiple of ``training.learning_rate``."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=2,
            patience=2,
            batch_size=32,
            learning_rate=1e-4,
            warmup_steps=100,
            schedule="cosine",
            gradient_clip=1.0,
            validation_users=1000,
        )
    )
    """Epochs, batch, rates, checkpoints; ``validation_users`` rank the whole catalogue after each epoch."""

    def __post_init__(self) -> None:
        check_choices(self, "embsum")
        least = {
            "encoder_layers": 1, "decoder_layers": 1, "max_items": 1, "session_items": 1, "item_tokens": 1,
            "user_codes": 1, "item_codes": 1, "code_size": 1, "summary_tokens": 2, "targets": 1,
            "frozen_layers": 0, "uniform_negatives": 0,
        }  # fmt: skip
        for name, value in least.items():
            found = getattr(self, name)
            if found is not None and found < value:
                raise ValueError(f"embsum.{name} must be at least {value}, got {found}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"embsum.dropout must lie in [0, 1), got {self.dropout}")
        if self.session_tokens <= self.item_tokens:
            raise ValueError(
                f"embsum.session_tokens ({self.session_tokens}) must hold an item of embsum.item_tokens "
                f"({self.item_tokens}) and an end token"
            )
        if self.session_tokens <= self.session_items:
            raise ValueError(
                f"embsum.session_tokens ({self.session_tokens}) must hold the start tokens of embsum.session_items "
                f"({self.session_items}) and an end token"
            )
        if self.summary_weight < 0:
            raise ValueError(f"embsum.summary_weight must not be negative, got {self.summary_weight}")
        if not 0 < self.summary_share <= 1:
            raise ValueError(f"embsum.summary_share must lie in (0, 1], got {self.summary_share}")
        if self.state == "summary" and self.summary_share < 1:
            raise ValueError("embsum.state summary reads every summary: set embsum.summary_share to 1")
        if self.head_rate <= 0:
            raise ValueError(f"embsum.head_rate must be positive, got {self.head_rate}")
        if self.session_gap_hours is not None and self.session_gap_hours <= 0:
            raise ValueError(f"embsum.session_gap_hours must be positive, got {self.session_gap_hours}")
        if not self.uniform_negatives and not self.in_batch_negatives:
            raise ValueError("embsum needs negatives: set embsum.uniform_negatives or embsum.in_batch_negatives")
        if self.state == "summary" and not self.summary_weight:
            raise ValueError("embsum.state summary needs a learnt summary: set embsum.summary_weight above 0")

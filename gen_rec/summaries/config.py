"""Settings of the teacher's summaries of users."""

from dataclasses import dataclass
from typing import Literal

from gen_rec.choices import check_choices

Backend = Literal["template", "openai", "transformers"]


@dataclass
class SummaryConfig:
    """Who writes the sentences that EmbSum's decoder learns to write."""

    backend: Backend = "template"
    """``template``: sentences from categories, brands and words of the items. ``openai``: a server that speaks the
    OpenAI chat API. ``transformers``: a causal language model in this process."""
    model: str | None = None
    """Name of the language model: as the server knows it, or on the hub, or a folder. The template needs none."""
    max_items: int = 60
    """Most recent items of a history that the summary is about."""
    item_characters: int = 300
    """Characters of an item's text that a language model is shown."""
    max_tokens: int = 120
    """Most tokens a language model may answer with."""
    max_words: int = 90
    """An answer of more words is a failure: three sentences were asked for."""
    temperature: float = 0.0
    """Of a language model's answer; 0 takes the likeliest words."""
    base_url: str | None = None
    """Where the server is, such as ``http://localhost:8000/v1``; that of OpenAI when not given."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the server's key. It may be unset where ``base_url`` is given."""
    concurrency: int = 8
    """Requests that are under way at a time."""
    retries: int = 4
    """Further attempts after a refused, failed or late request, with a growing pause before each."""
    timeout_s: float = 60.0
    """Seconds an attempt may take."""
    stop_after: int = 50
    """Histories that fail in a row before the run stops, since the server seems to be down; 0 never stops."""
    price_in: float = 0.0
    """Price of a million tokens read, in any currency; the cost is reported in the same."""
    price_out: float = 0.0
    """Price of a million tokens written."""
    batch_size: int = 8
    """Histories that ``transformers`` answers at a time."""
    save_every: int = 64
    """Answers after which a part is written; a kill loses at most as many."""

    def __post_init__(self) -> None:
        check_choices(self, "summaries")
        least = {
            "max_items": 1, "item_characters": 1, "max_tokens": 1, "max_words": 1, "temperature": 0,
            "concurrency": 1, "retries": 0, "stop_after": 0, "price_in": 0, "price_out": 0,
            "batch_size": 1, "save_every": 1,
        }  # fmt: skip
        for name, value in least.items():
            found = getattr(self, name)
            if found < value:
                raise ValueError(f"summaries.{name} must be at least {value}, got {found}")
        if self.timeout_s <= 0:
            raise ValueError(f"summaries.timeout_s must be positive, got {self.timeout_s}")
        if self.backend != "template" and not self.model:
            raise ValueError(f"summaries.backend {self.backend} needs a language model: set summaries.model")

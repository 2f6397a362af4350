"""Item embeddings: DIN over interactions (behaviour) and a sentence encoder over texts (semantic)."""

from gen_rec.embeddings.config import DINConfig, EmbeddingsConfig, TextConfig
from gen_rec.embeddings.din_training import train_din
from gen_rec.embeddings.store import load_embeddings, save_embeddings
from gen_rec.embeddings.text import encode_texts, text_metadata

__all__ = [
    "DINConfig",
    "EmbeddingsConfig",
    "TextConfig",
    "encode_texts",
    "load_embeddings",
    "save_embeddings",
    "text_metadata",
    "train_din",
]

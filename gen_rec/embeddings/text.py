"""Semantic item embeddings: any sentence-transformers model over the items' texts, cached text by text."""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from gen_rec.embeddings.config import TextConfig
from gen_rec.embeddings.text_cache import TextCache, text_key
from gen_rec.embeddings.text_job import encode_partitions, finished
from gen_rec.engine import Engine
from gen_rec.errors import DataError
from gen_rec.files import content_hash

logger = logging.getLogger(__name__)

PARTITION_TEXTS = 512
"""Texts that are encoded before their vectors are kept, unless said otherwise: what a killed encoding loses."""


def encode_texts(
    texts: Sequence[str],
    config: TextConfig,
    device: str | torch.device = "cpu",
    cache: Path | None = None,
    engine: Engine | None = None,
    folder: Path | None = None,
    partition_rows: int = PARTITION_TEXTS,
) -> np.ndarray:
    """Embed texts, reading from the cache what it knows and encoding only what it does not.

    Equal texts are encoded once. A text that is empty or blank gets the mean of the other rows' vectors (not
    scaled to length 1 again: it stays near the centre, since nothing is known of it). The texts to encode are cut into
    partitions; each goes into the cache when it is done, so that an interrupted call loses what was in work.

    texts:   n_items strings
    device:  where the encoder runs, without an engine
    cache:   folder of the cache, shared by data sets and encoders; None keeps nothing
    engine:  who encodes; this process when None. The vectors do not depend on it.
    folder:  where partitions are written on their way into the cache; on a cluster, one that all machines share. A
             folder of the system for such things when None
    partition_rows: texts in a partition, rounded up to whole batches
    returns  (n_items, dim) float32
    raises   DataError when no text has any content; MissingExtra without sentence-transformers; GenRecError
             when the model cannot be loaded (it is never replaced by another one).
    """
    texts = [text.strip() for text in texts]
    keys = [text_key(text) for text in texts]
    distinct = {key: text for key, text in zip(keys, texts, strict=True) if text}
    if not distinct:
        raise DataError(
            f"none of the {len(texts):,} items has a text, so there is nothing to embed; name the columns "
            "that describe an item with --data.text"
        )
    encoder = encoder_hash(config)
    store = TextCache(cache / encoder) if cache is not None else None
    vectors = store.find(list(distinct)) if store else {}
    with ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def keep(keys: list[bytes], found: np.ndarray) -> None:
            vectors.update((key, vector) for key, vector in zip(keys, found, strict=True) if key in distinct)
            if store:
                store.add(keys, found)

        finished(folder, encoder, keep)
        new = {key: text for key, text in distinct.items() if key not in vectors}
        logger.info(
            "semantic embeddings with %s: %d distinct texts, %d in the cache, %d to encode",
            config.model, len(distinct), len(vectors), len(new),
        )  # fmt: skip
        if new:
            engine = engine or Engine(device=str(device))
            encode_partitions(new, encoder, config, engine, folder, partition_rows, keep)
            if store:
                store.compact()

    known = np.array([bool(text) for text in texts])
    embeddings = np.empty((len(texts), len(next(iter(vectors.values())))), dtype=np.float32)
    embeddings[known] = np.stack([vectors[key] for key, text in zip(keys, texts, strict=True) if text])
    if not known.all():
        embeddings[~known] = embeddings[known].mean(axis=0, dtype=np.float64)
        logger.warning("%d of %d items have no text; they get the mean embedding", (~known).sum(), len(texts))
    return embeddings


def text_metadata(texts: Sequence[str], config: TextConfig) -> dict[str, str]:
    """What to save with the embeddings of these texts, for ``save_embeddings``."""
    return {
        "kind": "semantic",
        "encoder": config.model,
        "encoder_hash": encoder_hash(config),
        "without_text": str(sum(not text.strip() for text in texts)),
    }


def encoder_hash(config: TextConfig) -> str:
    """Hash of all that decides a text's vector: the model (a folder by its files' content) and the settings.

    The batch size is not part of it: it changes a vector by rounding only.
    """
    folder = Path(config.model)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    settings = [config.max_seq_length, config.prompt, config.normalize, config.dtype]
    return content_hash(config.model, config.revision, *settings, *files)

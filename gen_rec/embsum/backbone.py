"""The encoder-decoder under EmbSum: by its Hugging Face name, or built from the packaged MiniLM."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from gen_rec.embeddings.encoder import PACKAGED, PACKAGED_MODELS
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.errors import GenRecError
from gen_rec.extras import require

LAYERS = {"encoder": ("num_layers", "encoder_layers"), "decoder": ("num_decoder_layers", "decoder_layers")}
"""What Hugging Face configurations call the number of layers (T5, BART)."""
ITEM_TOKEN = "<item>"


@dataclass
class Backbone:
    """An encoder-decoder of Hugging Face and what its tokens mean.

    model:     ``get_encoder()``, ``forward(encoder_outputs=..., decoder_input_ids=...)``, ``generate``
    item:      id of the token that starts an item
    end:       id of the token that ends a session and a summary
    pad:       id that fills
    begin:     id of the decoder's start token
    """

    model: Any
    tokenizer: Any
    item: int
    end: int
    pad: int
    begin: int

    @property
    def hidden_size(self) -> int:
        config = self.model.config
        size = getattr(config, "hidden_size", None) or getattr(config, "d_model", None) or config.encoder.hidden_size
        return int(size)

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> "Backbone":
        """Read the special tokens. A tokenizer without [CLS] gives the first of its sentinels to items, or a new token.

        raises GenRecError where there is no token to end a text or to start the decoder with.
        """
        item = tokenizer.cls_token_id
        if item is None:
            known = tokenizer.get_vocab()
            name = next((name for name in (ITEM_TOKEN, "<extra_id_0>") if name in known), None)
            if name is None:
                tokenizer.add_special_tokens({"additional_special_tokens": [ITEM_TOKEN]})
                model.resize_token_embeddings(len(tokenizer))
                name = ITEM_TOKEN
            item = tokenizer.convert_tokens_to_ids(name)
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        begin = model.config.decoder_start_token_id
        if begin is None:
            begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        if end is None or begin is None:
            raise GenRecError(
                f"the tokenizer of {tokenizer.name_or_path} has no end or start token; name another embsum.backbone"
            )
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
        return cls(model, tokenizer, int(item), int(end), int(pad), int(begin))

    def save(self, folder: Path) -> None:
        """Weights as safetensors, settings and vocabulary, as Hugging Face writes them."""
        with _quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def load_backbone(config: EmbSumConfig) -> Backbone:
    """The backbone that ``config.backbone`` names, with as many layers as the config keeps.

    raises MissingExtra without transformers; GenRecError where the model cannot be loaded.
    """
    if config.backbone.startswith(PACKAGED):
        return _packaged(config)
    library = require("transformers", extra="embsum", purpose="EmbSum")
    with _loading(config.backbone):
        shape = library.AutoConfig.from_pretrained(config.backbone)
        _keep_layers(shape, "encoder", config.encoder_layers)
        _keep_layers(shape, "decoder", config.decoder_layers)
        model = library.AutoModelForSeq2SeqLM.from_pretrained(config.backbone, config=shape)
        tokenizer = library.AutoTokenizer.from_pretrained(config.backbone)
    return Backbone.of(without_dropout(_without_pooler(model), config.dropout), tokenizer)


def saved_backbone(folder: Path, dropout: float) -> Backbone:
    """What ``Backbone.save`` wrote."""
    library = require("transformers", extra="embsum", purpose="EmbSum")
    again = "the folder is damaged or of another version of transformers; train it again"
    with _loading(str(folder), again):
        model, report = library.AutoModelForSeq2SeqLM.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        lost = sorted(name for name in report["missing_keys"] if "pooler" not in name)
        if lost:
            raise ValueError(f"weights are missing: {', '.join(lost[:3])}")
    return Backbone.of(without_dropout(_without_pooler(model), dropout), tokenizer)


def without_dropout(model: Any, dropout: float) -> Any:
    """Set the probability of every dropout of a model, whatever its configuration calls it.

    Some are modules, and some are numbers that an attention or a layer keeps for itself (T5, BART).
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, dropout)
    return model


def _without_pooler(model: Any) -> Any:
    """Drop the encoder's pooler where it has one: nothing reads it, and a saved pair comes back with a new one."""
    encoder = model.get_encoder()
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return model


def _packaged(config: EmbSumConfig) -> Backbone:
    """The packaged encoder; a decoder that starts with its embeddings, self-attention and feed-forward nets."""
    name = config.backbone.removeprefix(PACKAGED)
    if name not in PACKAGED_MODELS:
        known = ", ".join(PACKAGED + each for each in PACKAGED_MODELS)
        raise GenRecError(f"embsum.backbone is {config.backbone!r}, but the packaged models are {known}")
    library = require("transformers", extra="embsum", purpose="EmbSum")
    package = require(PACKAGED_MODELS[name], extra="demo", purpose=f"the backbone {config.backbone}")
    folder = str(package.get_model_path())
    with _loading(config.backbone):
        parts = {}
        for part, kind, layers in (
            ("encoder", "BertModel", config.encoder_layers), ("decoder", "BertLMHeadModel", config.decoder_layers),
        ):  # fmt: skip
            shape = library.BertConfig.from_pretrained(folder)
            shape.num_hidden_layers = layers or shape.num_hidden_layers
            shape.is_decoder = shape.add_cross_attention = part == "decoder"
            options = {"add_pooling_layer": False} if part == "encoder" else {}
            parts[part] = getattr(library, kind).from_pretrained(folder, config=shape, **options)
        tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = library.EncoderDecoderModel(**parts)
    model.config.decoder_start_token_id = tokenizer.cls_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.sep_token_id
    return Backbone.of(without_dropout(model, config.dropout), tokenizer)


def _keep_layers(shape: Any, part: str, layers: int | None) -> None:
    if layers is None:
        return
    name = next((name for name in LAYERS[part] if hasattr(shape, name)), None)
    if name is None:
        raise GenRecError(
            f"embsum.{part}_layers is {layers}, but the configuration of this backbone ({type(shape).__name__}) has "
            f"none of {', '.join(LAYERS[part])}; leave the setting empty"
        )
    setattr(shape, name, min(layers, getattr(shape, name)))


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no warnings of missing layers and heads: they are meant."""
    from transformers.utils import logging as its_log

    level, bars = its_log.get_verbosity(), its_log.is_progress_bar_enabled()
    its_log.set_verbosity_error()
    its_log.disable_progress_bar()
    try:
        yield
    finally:
        its_log.set_verbosity(level)
        if bars:
            its_log.enable_progress_bar()


@contextmanager
def _loading(name: str, advice: str = "") -> Iterator[None]:
    """Quiet, and with one kind of error, which says what to do."""
    advice = advice or (
        f"check --embsum.backbone, or use the one that needs no hub: --embsum.backbone {PACKAGED}all-MiniLM-L6-v2"
    )
    try:
        with _quiet():
            yield
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise GenRecError(
            f"the EmbSum backbone {name!r} could not be loaded ({type(error).__name__}: {first_line}); {advice}"
        ) from error

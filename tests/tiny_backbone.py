"""Encoder-decoders of a few weights, of both kinds that EmbSum knows, with a tokenizer of whole words."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertModel,
    EncoderDecoderModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from gen_rec.embsum.backbone import Backbone

WORDS = [
    "red", "blue", "green", "nail", "polish", "hair", "shampoo", "brush", "soap", "oil", "dry", "soft", "likes", "the",
    "user", "brand", "opi", "essie", ".", ",", "and", "for",
]  # fmt: skip


def tokenizer(kind: str = "t5") -> PreTrainedTokenizerFast:
    """Whole words; with [CLS] and [SEP] as BERT's, or an end token and a sentinel as T5's."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if kind == "bert" else ["<pad>", "<unk>", "</s>", "<extra_id_0>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token=special[1]))
    inner.pre_tokenizer = Whitespace()
    if kind == "bert":
        return PreTrainedTokenizerFast(
            tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="</s>",
        extra_special_tokens=["<extra_id_0>"],
    )  # fmt: skip


def tiny_backbone(kind: str = "t5", hidden: int = 16, seed: int = 0) -> Backbone:
    """An untrained model of two layers a side. kind: "t5" or "bert" """
    words = tokenizer(kind)
    torch.manual_seed(seed)
    if kind == "t5":
        shape = T5Config(
            vocab_size=len(words), d_model=hidden, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=2, num_heads=2,
            dropout_rate=0.0, pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
        )  # fmt: skip
        return Backbone.of(T5ForConditionalGeneration(shape).eval(), words)
    common = {
        "vocab_size": len(words), "hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 128,
    }  # fmt: skip
    encoder = BertModel(BertConfig(**common), add_pooling_layer=False)
    decoder = BertLMHeadModel(BertConfig(**common, is_decoder=True, add_cross_attention=True))
    model = EncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.decoder_start_token_id, model.config.pad_token_id, model.config.eos_token_id = 2, 0, 3
    return Backbone.of(model.eval(), words)

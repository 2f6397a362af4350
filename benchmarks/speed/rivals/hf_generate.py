"""The same model shape in Hugging Face transformers, searched by ``generate`` under ``prefix_allowed_tokens_fn``.

One ``EncoderDecoderModel`` of two BERT configurations for each stream, with keys and values cached, as the library does
by default. Item i is the encoder's token i + 1 (0 pads); code c of level l is the decoder's token
2 + widths[0] + ... + widths[l - 1] + c (0 pads, 1 starts).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import BertConfig, EncoderDecoderConfig, EncoderDecoderModel

from gen_rec.models.config import ModelConfig
from indexing import Trie

PAD, START = 0, 1


class GenerateSearch:
    """One stream: a model with random weights and the dictionary of what may follow each prefix."""

    def __init__(self, config: ModelConfig, trie: Trie) -> None:
        shared = {
            "hidden_size": config.hidden_size, "num_attention_heads": config.num_heads,
            "intermediate_size": config.inner_size, "pad_token_id": PAD,
        }  # fmt: skip
        encoder = BertConfig(
            **shared, vocab_size=trie.n_items + 1, num_hidden_layers=config.encoder_layers,
            max_position_embeddings=config.max_history,
        )  # fmt: skip
        decoder = BertConfig(
            **shared, vocab_size=2 + sum(trie.widths), num_hidden_layers=config.decoder_layers, is_decoder=True,
            add_cross_attention=True, max_position_embeddings=trie.depth + 1,
        )  # fmt: skip
        both = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
        both.decoder_start_token_id, both.pad_token_id, both.eos_token_id = START, PAD, None
        self.model = EncoderDecoderModel(both).eval()
        settings = self.model.generation_config
        settings.decoder_start_token_id, settings.pad_token_id = START, PAD
        settings.bos_token_id, settings.eos_token_id = START, None
        self.depth = trie.depth
        self.first = [2 + sum(trie.widths[:level]) for level in range(trie.depth)]  # token of code 0 of each level
        self.allowed, self.item_of = _dictionaries(trie, self.first)

    def inputs(self, history: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and mask of histories (rows, items) with -1 after the end; an empty one is one padding token."""
        real = torch.arange(history.shape[1]) < lengths.clamp(min=1)[:, None]
        return history + 1, real.long()

    @torch.no_grad()
    def search(self, history: Tensor, lengths: Tensor, beams: int, k: int) -> tuple[list[list[int]], Tensor]:
        """The best ``k`` items of each history and their summed log-probabilities (rows, k), best first."""
        tokens, mask = self.inputs(history, lengths)
        found = self.model.generate(
            input_ids=tokens, attention_mask=mask, num_beams=beams, num_return_sequences=k, do_sample=False,
            max_new_tokens=self.depth, length_penalty=0.0, use_cache=True, prefix_allowed_tokens_fn=self.allow(),
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        codes = found.sequences[:, 1:].view(len(history), k, self.depth).tolist()
        items = [[self.item_of[tuple(code)] for code in row] for row in codes]
        return items, found.sequences_scores.view(len(history), k)

    def allow(self) -> Callable[[int, Tensor], list[int]]:
        """What ``generate`` asks for every beam at every step: the tokens that may follow the ones so far."""
        allowed = self.allowed
        return lambda _, tokens: allowed[tuple(tokens[1:].tolist())]


def _dictionaries(trie: Trie, first: list[int]) -> tuple[dict[tuple[int, ...], list[int]], dict[tuple[int, ...], int]]:
    """Prefix of tokens -> tokens that may follow; whole sequence -> item."""
    path = torch.stack([trie.codes_at(i + 1, trie.item_nodes[:, i]) + first[i] for i in range(trie.depth)], 1)
    follow: dict[tuple[int, ...], set[int]] = {}
    item_of = {}
    for item, tokens in enumerate(path.tolist()):
        item_of[tuple(tokens)] = item
        for level in range(trie.depth):
            follow.setdefault(tuple(tokens[:level]), set()).add(tokens[level])
    return {prefix: sorted(tokens) for prefix, tokens in follow.items()}, item_of

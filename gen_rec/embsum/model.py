"""EmbSum: a history to a few vectors, an item to a few vectors, and their score (arXiv 2405.11441).

    users = model.encode_users(tokens.histories(histories)).vectors  # (rows, m, d)
    items = model.encode_items(tokens.candidates(rows_of_items))  # (items, n, d)
    scores = model.score.all_pairs(users, items)  # (rows, items)

Users and items meet in the score only, so both sides are computed ahead of time.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gen_rec.data.interactions import Int64Array, ranges
from gen_rec.embsum.backbone import Backbone, saved_backbone
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.poly import PairScore, PolyAttention
from gen_rec.embsum.tokens import HistoryTokens, TokenLists
from gen_rec.errors import GenRecError
from gen_rec.files import replace_folder, write_json
from gen_rec.models.packing import take

NOTHING = -100
"""Where a summary has no token."""
GROUP_TOKENS = 4096
"""Tokens, with padding, that the encoder reads in one call; lists of like length share a call."""
COSINE_SCALE = 20.0
"""What cosines are multiplied by at first: the scale that sentence encoders are trained with."""
FRESH = ("crossattention", "cls.predictions.bias", "cls.predictions.transform")
"""Parts of the packaged backbone's decoder that no pretraining has made."""
CONFIG_FILE, HEADS_FILE, BACKBONE_FOLDER = "config.json", "heads.safetensors", "backbone"


class Users(NamedTuple):
    """What the model makes of a batch of histories."""

    vectors: Tensor  # (rows, m, d); zero for an empty history
    summary_loss: Tensor | None  # (rows,) mean cross-entropy of the given summary's tokens, 0 for a row without


class EmbSum(nn.Module):
    """The backbone with the two poly-attentions and the score."""

    def __init__(self, config: EmbSumConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.words = backbone
        self.backbone = backbone.model
        hidden = backbone.hidden_size
        self.user_attention = PolyAttention(hidden, config.user_codes, config.code_size)
        self.item_attention = PolyAttention(hidden, config.item_codes, config.code_size)
        self.score = PairScore(hidden, scale=COSINE_SCALE if config.normalize else hidden**-0.5)
        self._freeze(config.frozen_layers)

    @property
    def hidden_size(self) -> int:
        return self.words.hidden_size

    @property
    def device(self) -> torch.device:
        return self.score.weight.device

    def encode_items(self, candidates: TokenLists) -> Tensor:
        """Poly-embeddings of items, each read alone; (items, n, d)."""
        states = self.encode(candidates)
        return self._scaled(self.item_attention(*padded(states, candidates.offsets)))

    def encode_users(self, histories: HistoryTokens, summaries: Tensor | None = None) -> Users:
        """Poly-embeddings of users.

        summaries: (rows, tokens) int64 of the teacher, each with its end token, then ``NOTHING``. Training only: with
                   ``config.state`` "summary" and none given, the model writes its own.
        """
        rows = len(histories.starts)
        if not len(histories.sessions.ids):
            empty = self.score.weight.new_zeros(rows, self.config.user_codes, self.hidden_size)
            return Users(empty, None if summaries is None else empty[:, 0, 0])
        states = self.encode(histories.sessions)
        real = histories.starts >= 0  # (rows, items)
        items = states[histories.starts.clamp(min=0)]  # (rows, items, d)
        memory, mask = padded(states, histories.row_offsets)
        if summaries is None and self.config.state == "summary":
            summaries = self.write(histories, (memory, mask))
        state, loss = self._read_summary(memory, mask, summaries)
        vectors = torch.cat([items, state[:, None]], 1)
        return Users(self._scaled(self.user_attention(vectors, torch.cat([real, real[:, :1]], 1))), loss)

    def encode(self, lists: TokenLists) -> Tensor:
        """The encoder's states of all tokens, each list read by itself; (total, d)."""
        lengths = np.diff(lists.offsets)
        order = np.argsort(lengths, kind="stable")
        encoder = self.backbone.get_encoder()
        found = []
        for group in _groups(lengths[order]):
            some = order[group]
            column = np.arange(int(lengths[some].max()))
            real = torch.from_numpy(column < lengths[some][:, None]).to(self.device)  # (lists, length)
            ids = torch.full(real.shape, self.words.pad, dtype=torch.int64, device=self.device)
            places = torch.from_numpy(ranges(lists.offsets[some], lengths[some])).to(self.device)
            ids[real] = lists.ids[places]
            states = encoder(input_ids=ids, attention_mask=real.to(torch.int64)).last_hidden_state
            found.append(states[real])  # (tokens, d)
        at = np.empty(len(lists.ids), dtype=np.int64)
        at[ranges(lists.offsets[order], lengths[order])] = np.arange(len(at))
        return take(torch.cat(found), torch.from_numpy(at).to(self.device))

    @torch.no_grad()
    def write(self, histories: HistoryTokens, memory: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The model's own summaries, greedily; (rows, tokens) int64 with the end token, then ``NOTHING``.

        An empty history has nothing but ``NOTHING``. memory: states and mask where they are there already.
        """
        rows = len(histories.starts)
        if not len(histories.sessions.ids):
            return torch.full((rows, 1), NOTHING, device=self.device)
        if memory is None:
            memory = padded(self.encode(histories.sessions), histories.row_offsets)
        states, mask = memory
        written = self.backbone.generate(
            **_as_encoded(states, mask), max_new_tokens=self.config.summary_tokens, num_beams=1, do_sample=False,
            decoder_start_token_id=self.words.begin, pad_token_id=self.words.pad, eos_token_id=self.words.end,
        )[:, 1:]  # fmt: skip
        ended = (written == self.words.end).cumsum(1)
        after = (ended - (written == self.words.end).to(ended.dtype)) > 0
        return written.masked_fill(after | ~mask.any(1, keepdim=True), NOTHING)

    def summary_texts(self, written: Tensor) -> list[str]:
        """Token rows as ``write`` gives them, as text."""
        filled = written.masked_fill(written == NOTHING, self.words.pad)
        return [text.strip() for text in self.words.tokenizer.batch_decode(filled, skip_special_tokens=True)]

    def _read_summary(self, memory: Tensor, mask: Tensor, summaries: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The decoder over [start, summary]: the state that joins the items, and the loss of the summary's tokens.

        memory, mask: (rows, tokens, d), (rows, tokens)
        returns       (rows, d); (rows,) or None without summaries
        """
        if summaries is None:
            return self._decode(memory, mask, memory.new_zeros(len(memory), 0, dtype=torch.int64))[0], None
        has = (summaries != NOTHING).any(1)
        if bool(has.all()):
            return self._decode(memory, mask, summaries)
        given, other = has.nonzero()[:, 0], (~has).nonzero()[:, 0]  # the others end at the start token
        read, loss = self._decode(memory[given], mask[given], summaries[given]) if len(given) else (None, None)
        started, _ = self._decode(memory[other], mask[other], summaries[other, :0])
        state = started.new_zeros(len(memory), started.shape[-1]).index_copy(0, other, started)
        losses = started.new_zeros(len(memory), dtype=torch.float32)
        if read is None or loss is None:
            return state, losses
        return state.index_copy(0, given, read.to(state.dtype)), losses.index_copy(0, given, loss)

    def _decode(self, memory: Tensor, mask: Tensor, summaries: Tensor) -> tuple[Tensor, Tensor]:
        """``_read_summary`` of rows that all have one, or none: then (rows, 0) tokens."""
        rows = len(memory)
        inputs = torch.full((rows, 1), self.words.begin, dtype=torch.int64, device=memory.device)
        inputs = torch.cat([inputs, summaries.masked_fill(summaries == NOTHING, self.words.pad)], 1)
        out = self.backbone(
            **_as_encoded(memory, mask), decoder_input_ids=inputs, output_hidden_states=True, use_cache=False
        )
        states = out.decoder_hidden_states[-1]  # (rows, 1 + tokens, d)
        n = (summaries != NOTHING).sum(1)  # (rows,)
        if not summaries.shape[1]:
            return states[:, 0], states.new_zeros(rows, dtype=torch.float32)
        losses = nn.functional.cross_entropy(
            out.logits[:, :-1].flatten(0, 1).float(), summaries.flatten(), ignore_index=NOTHING, reduction="none"
        )
        loss = losses.view_as(summaries).sum(1) / n.clamp(min=1)
        at = n if self.config.state == "summary" else torch.zeros_like(n)
        return states[torch.arange(rows, device=at.device), at], loss

    def _scaled(self, vectors: Tensor) -> Tensor:
        """Poly-embeddings at length 1 where that is wanted; zero stays zero."""
        return nn.functional.normalize(vectors, dim=-1) if self.config.normalize else vectors

    def _freeze(self, layers: int) -> None:
        if not layers:
            return
        encoder = self.backbone.get_encoder()
        stack = next(module for module in encoder.modules() if isinstance(module, nn.ModuleList))
        frozen = [parameter for module in stack[:layers] for parameter in module.parameters()]
        frozen += [parameter for name, parameter in encoder.named_parameters() if "embed" in name]
        for parameter in frozen:
            parameter.requires_grad_(False)

    def pretrained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Weights that are learnt: those that pretraining has made, and the others."""
        made: list[nn.Parameter] = []
        fresh: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                is_fresh = not name.startswith("backbone.") or any(part in name for part in FRESH)
                (fresh if is_fresh else made).append(parameter)
        return made, fresh

    def save(self, folder: str | Path) -> None:
        """Write everything into a folder that takes the place of the old one as a whole."""
        with replace_folder(folder) as new:
            self.words.save(new / BACKBONE_FOLDER)
            heads = {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}
            save_file({name: value.contiguous() for name, value in heads.items()}, new / HEADS_FILE)
            write_json(new / CONFIG_FILE, asdict(self.config))

    @classmethod
    def load(cls, folder: str | Path) -> "EmbSum":
        """What ``save`` wrote, in evaluation mode. raises GenRecError where the folder is not an EmbSum."""
        folder = Path(folder)
        missing = [name for name in (CONFIG_FILE, HEADS_FILE, BACKBONE_FOLDER) if not (folder / name).exists()]
        if missing:
            raise GenRecError(f"{folder}: not a saved EmbSum, {', '.join(missing)} is missing; train it first")
        try:
            config = read_config(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
            model = cls(config, saved_backbone(folder / BACKBONE_FOLDER, config.dropout))
            result = model.load_state_dict(
                load_file(folder / HEADS_FILE), strict=False
            )  # the backbone is loaded already
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            found = " ".join(str(error).split())[:300]
            raise GenRecError(
                f"{folder}: not a readable EmbSum ({type(error).__name__}: {found}); it is damaged or of another "
                "version, train it again"
            ) from error
        lost = [name for name in result.missing_keys if not name.startswith("backbone.")]
        if lost or result.unexpected_keys:
            raise GenRecError(
                f"{folder / HEADS_FILE}: of another version ({lost + result.unexpected_keys}); train again"
            )
        return model.eval()


def read_config(values: dict[str, Any]) -> EmbSumConfig:
    """Settings from plain values."""
    values = dict(values)
    training = type(EmbSumConfig().training)(**values.pop("training"))
    return EmbSumConfig(**values, training=training)


def padded(states: Tensor, offsets: Int64Array) -> tuple[Tensor, Tensor]:
    """Ragged states as (rows, tokens, d), zero after the end, and their mask (rows, tokens).

    states:  (total, d)
    offsets: (rows + 1,)
    """
    lengths = np.diff(offsets)
    real = torch.from_numpy(np.arange(max(1, int(lengths.max(initial=0)))) < lengths[:, None]).to(states.device)
    full = states.new_zeros(*real.shape, states.shape[-1])
    full[real] = states
    return full, real


def _as_encoded(states: Tensor, mask: Tensor) -> dict[str, Any]:
    """States as a Hugging Face model takes them from its encoder; of nothing, the first, a zero vector, is seen."""
    from transformers.modeling_outputs import BaseModelOutput

    shown = mask.clone()
    shown[:, 0] = True
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=states), "attention_mask": shown.to(torch.int64)}


def _groups(lengths: Int64Array) -> list[slice]:
    """Stretches of ascending lengths of at most ``GROUP_TOKENS`` tokens with padding; at least one list each."""
    groups, start = [], 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or (i + 1 - start) * int(lengths[i]) > GROUP_TOKENS:
            groups.append(slice(start, i))
            start = i
    return groups

"""Beam search as EAGER's published code does it: encoder and decoder run again for every beam at every step.

Nothing is kept between steps: each beam is a row of its own with its whole history, padded to the longest that the
model reads, and all of its codes so far; the scores of the next code come from gathering the siblings of every beam.
The layers are written plainly here, on the weights of our model, so that it finds what our search finds.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from gen_rec.models.attention import Attention
from gen_rec.models.blocks import DecoderLayer, EncoderLayer, FeedForward
from gen_rec.models.decoder import StreamDecoder
from gen_rec.models.two_stream import TwoStreamModel


@torch.no_grad()
def search(
    model: TwoStreamModel, history: Tensor, lengths: Tensor, beams: int, k: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """The best ``k`` items of each history in every stream, with the causal encoder.

    history: (rows, items) int64, -1 after the end; lengths: (rows,)
    returns  stream -> items (rows, k) int64 and their log-probabilities, best first.
    """
    history = functional.pad(history, (0, model.config.max_history - history.shape[1]), value=-1)
    return {stream: _search(model, decoder, history, lengths, beams, k) for stream, decoder in model.streams.items()}


def _search(
    model: TwoStreamModel, decoder: StreamDecoder, history: Tensor, lengths: Tensor, beams: int, k: int
) -> tuple[Tensor, Tensor]:
    trie, rows = decoder.trie, len(history)
    vectors = decoder.node_vectors(model.reader().items.vectors())
    path = torch.zeros(rows, 1, 0, dtype=torch.int64)  # (rows, beams, codes so far) nodes
    held = torch.zeros(rows, 1)
    for level in range(trie.depth):
        n = path.shape[1]
        states, ends = encode(model, history.repeat_interleave(n, 0), lengths.repeat_interleave(n))
        tokens = [decoder.kinds[0].expand(rows * n, -1)]
        tokens += [vectors[i][path[:, :, i].flatten()] + decoder.kinds[i + 1] for i in range(level)]
        state = decode(decoder, torch.stack(tokens, 1), states, ends)[:, -1]  # (rows * beams, d)
        nodes = path[:, :, -1].flatten() if level else torch.zeros(rows, dtype=torch.int64)
        children = trie.children(level, nodes)  # (rows * beams, width)
        siblings = vectors[level][children.clamp(min=0)]  # (rows * beams, width, d)
        logits = (siblings @ state[..., None])[..., 0].masked_fill(children < 0, -torch.inf)
        total = (held[..., None] + logits.log_softmax(-1).view(rows, n, -1)).flatten(1)
        wanted = k if level == trie.depth - 1 else beams
        held, best = total.topk(min(wanted, trie.n_nodes[level + 1], total.shape[1]), 1)
        parent = best // trie.widths[level]
        new = children.view(rows, -1).gather(1, best)
        path = torch.cat([path.gather(1, parent[..., None].expand(-1, -1, level)), new[..., None]], 2)
    leaves = path[..., -1]
    return torch.where(leaves >= 0, trie.leaf_items[leaves.clamp(min=0)], -1), held


def encode(model: TwoStreamModel, history: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """history: (rows, items); returns (rows, items, d) states, and (rows,) the place of the last item."""
    encoder = model.reader().encoder
    position = torch.arange(history.shape[1])
    x = model.reader().items(history.clamp(min=0)) * (position < lengths[:, None])[..., None]
    x = encoder.input_norm(x)
    distance = position[:, None] - position
    hidden = (position >= lengths.clamp(min=1)[:, None])[:, None, None] | (distance < 0)  # (rows, 1, items, items)
    for module, recency in zip(encoder.layers, encoder.recency, strict=True):
        layer = cast(EncoderLayer, module)
        normed = layer.attention_norm(x)
        x = x + attention(layer.attention, normed, normed, recency(distance), hidden)
        x = x + feed_forward(layer.feed_forward, layer.feed_forward_norm(x))
    return encoder.output_norm(x), (lengths - 1).clamp(min=0)


def decode(decoder: StreamDecoder, x: Tensor, states: Tensor, ends: Tensor) -> Tensor:
    """x: (rows, tokens, d); returns normed states like it."""
    position = torch.arange(states.shape[1])
    distance = ends[:, None, None] - position  # (rows, 1, items)
    hidden = (distance < 0)[:, None]
    later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    if decoder.seed_start:
        x = x + states[torch.arange(len(states)), ends][:, None]
    for module, recency in zip(decoder.layers, decoder.recency, strict=True):
        layer = cast(DecoderLayer, module)
        normed = layer.self_norm(x)
        x = x + attention(layer.self_attention, normed, normed, torch.zeros(1), later)
        x = x + attention(layer.cross_attention, layer.cross_norm(x), states, recency(distance), hidden)
        x = x + feed_forward(layer.feed_forward, layer.feed_forward_norm(x))
    return decoder.output_norm(x)  # type: ignore[no-any-return]


def attention(module: Attention, x: Tensor, memory: Tensor, bias: Tensor, hidden: Tensor) -> Tensor:
    """Multi-head attention of (rows, n, d) over (rows, m, d); bias and hidden broadcast to (rows, heads, n, m)."""
    keys, values = module.key_value(memory).chunk(2, -1)
    heads = [part.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for part in (module.query(x), keys, values)]
    scores = heads[0] @ heads[1].transpose(2, 3) * heads[0].shape[-1] ** -0.5 + bias
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return module.output((weights @ heads[2]).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def feed_forward(module: FeedForward, x: Tensor) -> Tensor:
    """x: (rows, n, d); returns like it."""
    return module.outer(functional.gelu(module.inner(x)))  # type: ignore[no-any-return]

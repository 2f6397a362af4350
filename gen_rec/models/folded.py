"""A decoder laid out for search: the same numbers as the modules give, in fewer and larger products.

Nothing is learnt here, so what the weights allow is worked out once, before the first history comes:

- The gain and offset of a norm go into the matrix that follows it, the scale of attention into the queries.
- In cross-attention the products of query and key matrices, and of value and output matrices, are taken before they
  meet a history. Each head then compares normed states with ``d`` numbers an item, and what it reads is already in the
  residual stream: one product for all heads and beams of a row, with nothing to split or merge. What a bias adds to all
  items alike leaves a softmax as it is, and is dropped or added once.
- Self-attention over a few codes merges one earlier token after the other, weighted by a sigmoid. A token that all
  beams of a row share, such as the start, is kept once a row.

The products may run in bfloat16: weights are rounded once, activations where they enter a product. The residual stream,
norms, softmaxes and sums stay as they are.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gen_rec.models.attention import Attention, RecencyBias
from gen_rec.models.blocks import DecoderLayer
from gen_rec.models.decoder import StreamDecoder
from gen_rec.models.embeddings import ItemEmbedding
from gen_rec.models.encoder import Encoded

FULL = 2
"""A level with at most so many places a child keeps its children's vectors a second time, laid out by parent."""

ROWS = 512
"""Tokens that a feed-forward net takes at once: what lies between its two products then stays in the cache."""


class History(NamedTuple):
    """What the layers of a decoder read of a batch of histories, computed once for all steps and beams."""

    seed: Tensor  # (rows, 1, d), added to every token
    keys: list[Tensor]  # a layer: (rows, heads * items, d)
    values: list[Tensor]  # a layer: (rows, heads * items, d)
    biases: list[Tensor]  # a layer: (rows, heads * items, 1); -inf where there is no item


class Token(NamedTuple):
    """What a layer keeps of a token: (rows, 1, d) each where all beams share it, else (rows, beams, d)."""

    key: Tensor
    value: Tensor


Past = list[list[Token]]
"""The tokens read so far, for each layer."""


class FoldedDecoder:
    """The weights of a stream's decoder, for ``run``; a copy that does not follow later changes of the decoder.

    tokens:  level 0..depth - 1 -> (n_nodes[level], d) the token that stands for having reached a node
    vectors: level 0..depth - 1 -> (n_nodes[level + 1], d) what the children of that level's nodes are scored with
    dtype:   what the operands of products are rounded to; None leaves them in the weights' own type
    """

    @torch.no_grad()
    def __init__(self, decoder: StreamDecoder, items: ItemEmbedding, dtype: torch.dtype | None = None) -> None:
        self.trie = decoder.trie
        vectors = [vectors.detach() for vectors in decoder.node_vectors(items.vectors())]
        kinds = decoder.kinds.detach()
        self.dtype = dtype or kinds.dtype
        self.tokens = [kinds[:1]] + [v + kinds[i] for i, v in enumerate(vectors[:-1], 1)]
        self.vectors = [v.to(self.dtype) for v in vectors]
        self.seed_start = decoder.seed_start
        layers = [cast(DecoderLayer, layer) for layer in decoder.layers]
        self.layers = [_FoldedLayer(layer, self.dtype) for layer in layers]
        # of all layers side by side: (d, layers * heads * (2 d + 1)), keys of each head, its values, its bias
        self.history_weight = torch.cat([layer.history_weight for layer in self.layers], 1) if layers else None
        tables = [cast(RecencyBias, recency).table.detach() for recency in decoder.recency]
        self.recency = torch.cat(tables) if tables else None  # (layers * heads, max_history)
        self.output_norm = decoder.output_norm
        self._tables: list[tuple[Tensor, Tensor] | None] = [None] * self.trie.depth
        for level in range(self.trie.depth):
            if self.trie.n_nodes[level] * self.trie.widths[level] <= FULL * self.trie.n_nodes[level + 1]:
                every = torch.arange(self.trie.n_nodes[level], device=kinds.device)
                rows, absent = self.children(level, every)
                self._tables[level] = rows.flatten(1), absent
        self.ahead: tuple[Tensor, Tensor] | None = None  # what the first code is scored with, see all_branch_log_probs
        if decoder.look_ahead:
            self.ahead = self.children(1, torch.arange(self.trie.n_nodes[1], device=kinds.device))

    def children(self, level: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the children of some nodes.

        nodes:  (n,) int64 of ``level``
        returns (n, widths[level], d) in code order, anything finite where there is no child; and (n, 1, widths[level])
                to add to their scores, -inf where there is none and 0 elsewhere.
        """
        width = self.trie.widths[level]
        table = self._tables[level]
        if table is not None and len(nodes) == self.trie.n_nodes[level] and bool((nodes[1:] > nodes[:-1]).all()):
            return table[0].view(len(nodes), width, -1), table[1]  # all of them in order: nothing to copy
        if table is not None:
            return table[0].index_select(0, nodes).view(len(nodes), width, -1), table[1].index_select(0, nodes)
        children = self.trie.children(level, nodes)  # (n, width)
        absent = self.tokens[0].new_zeros(len(nodes), 1, width).masked_fill_((children < 0)[:, None], -torch.inf)
        return nn.functional.embedding(children.clamp_(min=0), self.vectors[level]), absent

    def history(self, encoded: Encoded) -> History:
        """Lay out encoded histories, one target each."""
        rows, items, d = encoded.states.shape
        seed = encoded.last if self.seed_start else torch.zeros_like(encoded.last)
        read = History(seed, [], [], [])
        if self.history_weight is None or self.recency is None:
            return read
        back = encoded.distance.abs().clamp(max=self.recency.shape[1] - 1)  # (rows, 1, items)
        distances = (
            self.recency[:, back].movedim(0, 1)[:, :, 0] + encoded.mask[:, :, 0]
        )  # (rows, layers * heads, items)
        shares = (encoded.states.reshape(-1, d) @ self.history_weight).chunk(len(self.layers), 1)
        for share, distance in zip(shares, distances.chunk(len(self.layers), 1), strict=True):
            heads = share.shape[1] // (2 * d + 1)
            keys, values, bias = share.view(rows, items, -1).split([heads * d, heads * d, heads], 2)
            read.keys.append(keys.to(self.dtype).unflatten(2, (heads, d)).transpose(1, 2).flatten(1, 2))
            read.values.append(values.to(self.dtype).unflatten(2, (heads, d)).transpose(1, 2).flatten(1, 2))
            read.biases.append((distance + bias.transpose(1, 2)).flatten(1)[..., None])
        return read

    def run(self, level: int, nodes: Tensor, history: History, past: Past | None) -> tuple[Tensor, Past]:
        """Read one new token a beam.

        nodes:   (rows, beams) int64 of ``level``
        past:    the tokens of the levels above, in the order of these beams; None at level 0
        returns  (rows, beams, d) normed states, and the past with the new token.
        """
        rows, beams = nodes.shape
        every = nodes.stride(0) == 0 or rows == 1  # all rows read the same tokens
        tokens = self.tokens[level].index_select(0, nodes[0] if every else nodes.reshape(-1))
        x = tokens.view(1 if every else rows, beams, -1) + history.seed
        flat = x.view(rows * beams, -1)  # the same memory: a layer adds to it in place
        now: Past = []
        for i, layer in enumerate(self.layers):
            earlier = [] if past is None else past[i]
            now.append([*earlier, layer.read(flat, x, earlier)])
            layer.look(flat, x, history.keys[i], history.values[i], history.biases[i])
            layer.feed(flat)
        return self.output_norm(x), now


class _FoldedLayer:
    """One layer; every step adds to the residual stream, given as (n, d) and as (rows, beams, d) of one memory."""

    def __init__(self, layer: DecoderLayer, dtype: torch.dtype) -> None:
        self.heads = layer.self_attention.num_heads
        self.eps = layer.self_norm.eps
        own, cross = layer.self_attention, layer.cross_attention
        scale = (own.query.in_features // self.heads) ** -0.5
        query = _after_norm(own.query, layer.self_norm)
        key_value = _after_norm(own.key_value, layer.self_norm)
        self.qkv = _Affine(
            torch.cat([query[0] * scale, key_value[0]], 1), torch.cat([query[1] * scale, key_value[1]]), dtype
        )
        self.output = _Affine(*_transposed(own.output), dtype)
        self.inner = _Affine(*_after_norm(layer.feed_forward.inner, layer.feed_forward_norm), dtype)
        self.outer = _Affine(*_transposed(layer.feed_forward.outer), dtype)
        self.history_weight, self.looked = _folded_cross_attention(cross, layer.cross_norm)

    def read(self, flat: Tensor, x: Tensor, earlier: list[Token]) -> Token:
        """Self-attention of the new tokens over themselves and the earlier ones."""
        rows, beams, d = x.shape
        projected = self.qkv(self._normed(flat)).view(rows, beams, 3 * d)
        query, key, value = projected.split(d, 2)
        mixed = self._by_head(value)  # (rows, beams, heads, d / heads)
        if earlier:
            weight = self._by_head(query * key).sum(3, keepdim=True)  # log of the softmax's sum so far
            for token in earlier:
                score = self._by_head(query * token.key).sum(3, keepdim=True)
                share = torch.sigmoid(score - weight)
                mixed = torch.addcmul(mixed, self._by_head(token.value) - mixed, share)
                if token is not earlier[-1]:
                    weight = torch.logaddexp(weight, score)
        self.output.add_to(flat, mixed.reshape(-1, d))
        return Token(key, value)

    def look(self, flat: Tensor, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> None:
        """Cross-attention of all beams of a row over the row's history.

        Beams come last in the scores: a softmax over a few items is many times faster when they are not side by side.
        """
        queries = self._normed(flat).view(x.shape).transpose(1, 2)  # (rows, d, beams)
        scores = biased_product(bias, keys, queries).unflatten(1, (self.heads, -1))  # (rows, heads, items, beams)
        weights = scores.softmax(2).flatten(1, 2).transpose(1, 2)  # (rows, beams, heads * items)
        x.add_(self.looked)
        if values.dtype == x.dtype:
            x.baddbmm_(weights, values)
        else:
            x.add_(torch.bmm(weights.to(values.dtype), values))

    def feed(self, flat: Tensor) -> None:
        """The feed-forward net."""
        for some in flat.split(ROWS):
            self.outer.add_to(some, nn.functional.gelu(self.inner(self._normed(some))))

    def _normed(self, flat: Tensor) -> Tensor:
        return nn.functional.layer_norm(flat, flat.shape[1:], eps=self.eps)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1))


class _Affine:
    """x @ weight + bias, in one type. weight: (in, out); bias: (out,)"""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.weight, self.bias, self.exact_bias = weight.to(dtype), bias.to(dtype), bias

    def __call__(self, x: Tensor) -> Tensor:
        """x: (n, in) of any type; returns (n, out) of the weight's."""
        return torch.addmm(self.bias, x.to(self.weight.dtype), self.weight)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """Add the result for x, in place, to ``total`` (n, out), which may be of a finer type."""
        total.add_(self.exact_bias)
        if self.weight.dtype == total.dtype:
            total.addmm_(x, self.weight)
        else:
            total.add_(torch.mm(x.to(self.weight.dtype), self.weight))


def biased_product(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """bias + a @ b, for each of n, in the bias's type; the product in the coarser of the types of a and b.

    bias: broadcasts to (n, i, k); a: (n, i, j); b: (n, j, k)
    """
    if a.dtype == b.dtype == bias.dtype:
        return torch.baddbmm(bias, a, b)
    dtype = a.dtype if a.dtype.itemsize < b.dtype.itemsize else b.dtype
    return bias + torch.bmm(a.to(dtype), b.to(dtype))


def _transposed(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight (in, out) and bias."""
    return linear.weight.detach().T.contiguous(), linear.bias.detach()


def _after_norm(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weight (in, out) and bias that do for a plainly normed input what ``linear(norm(x))`` does."""
    weight = linear.weight.detach().T  # (in, out)
    return (norm.weight.detach()[:, None] * weight).contiguous(), linear.bias.detach() + norm.bias.detach() @ weight


def _folded_cross_attention(cross: Attention, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """What makes keys, values and biases of all heads from the encoder's states, and what is added whatever is read.

    With n the normed state of a query without gain and offset, its score of an item's state s is, but for what all
    items share, n . (K s) + u . s, and what the head adds to the residual stream is V s, weighted, plus a constant.

    returns (d, heads * (2 d + 1)): K transposed of every head, V transposed of every head, u of every head; and (d,)
    """
    heads, d = cross.num_heads, cross.query.in_features
    query = cross.query.weight.detach().view(heads, -1, d)  # (heads, d / heads, d)
    key, value = (weight.view(heads, -1, d) for weight in cross.key_value.weight.detach().chunk(2))
    output = cross.output.weight.detach().view(d, heads, -1)  # (d, heads, d / heads)
    scale = (d // heads) ** -0.5
    keys = torch.einsum("hei,hej->ihj", key, query * norm.weight.detach() * scale)  # from state i to query j
    values = torch.einsum("hei,jhe->ihj", value, output)
    offset = query @ norm.bias.detach() + cross.query.bias.detach().view(heads, -1)  # (heads, d / heads)
    bias = torch.einsum("hei,he->ih", key, offset * scale)
    constant = cross.output.bias.detach() + cross.output.weight.detach() @ cross.key_value.bias.detach()[d:]
    return torch.cat([keys.flatten(1), values.flatten(1), bias], 1), constant

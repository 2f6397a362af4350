"""Attention against torch's own, and the recency bias against its formula."""

import pytest
import torch
from tiny_models import TOLERANCE, stir
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from gen_rec.models.attention import Attention, RecencyBias, attend, attend_few, merge_heads, split_heads
from gen_rec.models.blocks import DecoderLayer, EncoderLayer, Places


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_mask(*shape: int) -> torch.Tensor:
    """Random scores, about a third of them -inf, the first key always allowed."""
    bias = random(*shape, seed=9)
    hidden = random(*shape, seed=8) < -0.4
    hidden[..., 0] = False
    return bias.masked_fill(hidden, -torch.inf)


def test_attend_to_scaled_queries_is_scaled_dot_product_attention():
    q, k, v = random(2, 3, 4, 5), random(2, 3, 6, 5, seed=1), random(2, 3, 6, 5, seed=2)
    for shape in ((2, 3, 4, 6), (2, 1, 4, 6), (4, 6), (1, 1, 1, 6)):
        bias = some_mask(*shape)
        expected = scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(2, 3, 4, 6))
        torch.testing.assert_close(attend(q * 5**-0.5, k, v, bias, nn.Identity()), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("tokens", [1, 2, 4])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_of_a_few_tokens_is_the_same(tokens: int, causal: bool):
    q, k, v = (random(7, 3, tokens, 5, seed=seed) for seed in range(3))
    expected = scaled_dot_product_attention(q, k, v, is_causal=causal).permute(2, 0, 1, 3)
    first = (part.permute(2, 0, 1, 3) for part in (q * 5**-0.5, k, v))
    queries, keys, values = first
    found = attend_few(queries[1:] if causal else queries, keys, values, causal, nn.Identity())
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def test_a_hidden_key_gets_no_weight_whatever_it_holds():
    q, k, v, bias = random(2, 3, 4, 5), random(2, 3, 6, 5, seed=1), random(2, 3, 6, 5, seed=2), torch.zeros(6)
    bias[4:] = -torch.inf
    before = attend(q, k, v, bias[None], nn.Identity())
    k[..., 4:, :], v[..., 4:, :] = 1e6, -1e6
    assert torch.equal(attend(q, k, v, bias[None], nn.Identity()), before)


def test_heads_are_consecutive_parts_of_the_vector():
    x = random(2, 5, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 4)
    assert torch.equal(heads[1, 2, 3], x[1, 3, 8:12])
    assert torch.equal(merge_heads(heads), x)


def test_attention_equals_multi_head_attention_of_torch():
    ours = Attention(12, 3, 0.0).double()
    stir(ours, 4)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    x, memory, mask = random(2, 4, 12), random(2, 6, 12, seed=1), some_mask(4, 6)
    expected = theirs(x, memory, memory, attn_mask=mask, need_weights=False)[0]
    found = ours.output(ours(ours.queries(x), ours.keys_values(memory), mask))
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    expected = theirs(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(ours.among(x.transpose(0, 1), False).transpose(0, 1), expected, atol=TOLERANCE, rtol=0)


def test_recency_starts_as_moving_averages_and_reads_its_table_by_distance():
    bias = RecencyBias(num_heads=3, max_distance=4)
    distance = torch.tensor([[0, 1, 3, 7], [-1, 2, -9, 0]])  # (queries, keys)
    assert torch.allclose(bias(distance)[:, 0], torch.tensor([[0.0, -1, -3, -3], [0, -0.5, -1.5, -1.5], [0, 0, 0, 0]]))
    with torch.no_grad():
        bias.table.copy_(torch.arange(12.0).view(3, 4))
    expected = torch.tensor([[0.0, 1, 3, 3], [1, 2, 3, 0]])  # what is after the query counts by its size
    assert torch.equal(bias(distance), torch.stack([expected, expected + 4, expected + 8]))
    batched = bias(torch.stack([distance, distance.flip(0)]))  # (batch, heads, queries, keys)
    assert batched.shape == (2, 3, 2, 4)
    assert torch.equal(batched[0], bias(distance))
    assert torch.equal(batched[1], bias(distance).flip(1))


def test_fresh_layers_pass_their_input_on():
    """The branch that reads the history starts silent, in the encoder the feed-forward one."""
    decoder, encoder = DecoderLayer(12, 3, 16, 0.0).double(), EncoderLayer(12, 3, 16, 0.0).double()
    x, places = random(4, 3, 12), Places(torch.tensor([0, 2, 3]), 2, 2)
    out = decoder(x, decoder.memory(random(2, 5, 12)), torch.zeros(1, 1, 2, 5), places)
    assert torch.equal(out, x)
    assert torch.equal(encoder.feed_forward(x), torch.zeros_like(x))


def test_decoder_layer_equals_one_target_at_a_time():
    """Written out: pre-norm self-attention, cross-attention, feed-forward, for each real target of a row alone."""
    layer = DecoderLayer(12, 3, 16, 0.0).double()
    stir(layer, 6)
    places = Places(torch.tensor([0, 1, 2, 4]), 2, 3)  # row 0 has three targets, row 1 only its second
    x, states, bias = random(4, 4, 12), random(2, 5, 12, seed=1), some_mask(2, 3, 3, 5)
    out = layer(x, layer.memory(states), bias, places)

    def plain(attention: Attention, queries: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        k, v = attention.key_value(memory).chunk(2, -1)
        q, k, v = (t.view(len(t), 3, 4).transpose(0, 1) for t in (attention.query(queries), k, v))
        return attention.output(scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1).flatten(1))

    order = torch.zeros(4, 4, dtype=torch.float64)
    order = order.masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(1), -torch.inf)
    for i, (row, target) in enumerate([(0, 0), (0, 1), (0, 2), (1, 1)]):
        h = x[:, i]
        normed = layer.self_norm(h)
        h = h + plain(layer.self_attention, normed, normed, order)
        mask = bias[row, :, target][:, None].expand(3, 4, 5)
        h = h + plain(layer.cross_attention, layer.cross_norm(h), states[row], mask)
        inner = nn.functional.gelu(layer.feed_forward.inner(layer.feed_forward_norm(h)))
        h = h + layer.feed_forward.outer(inner)
        torch.testing.assert_close(out[:, i], h, atol=TOLERANCE, rtol=0)

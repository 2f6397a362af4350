"""The rivals of the search rows are equals: the same lists as ours, or as their own model's exact ranking."""

import itertools

import numpy as np
import pytest
import torch

from benchmarks.speed.rivals import re_encoding
from benchmarks.speed.rivals.hf_generate import START, GenerateSearch
from benchmarks.speed.rivals.sasrec import SASRec
from benchmarks.speed.rivals.trie_rivals import DictionaryTrie, EveryRow
from benchmarks.speed.workload import fresh_model, published_shape
from benchmarks.trie_layout import random_codes
from gen_rec.retrieval import SearchConfig, search
from indexing import Trie

N_ITEMS = 60


@pytest.fixture(scope="module")
def model():
    """Of the published shape over tiny trees, every branch with something to say."""
    model = fresh_model(N_ITEMS, branching=8).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


@pytest.fixture(scope="module")
def histories():
    history = torch.randint(N_ITEMS, (5, 7), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([7, 1, 3, 0, 5])
    return history.masked_fill(torch.arange(7) >= lengths[:, None], -1), lengths


@pytest.mark.parametrize("beams", [3, 8])
def test_re_encoding_finds_what_our_search_finds(model, histories, beams):
    (ours,) = search(model, *histories, 6, [None], SearchConfig("beam", beams))
    theirs = re_encoding.search(model, *histories, beams, 6)
    for stream, (items, scores) in theirs.items():
        assert torch.equal(ours.streams[stream].items, items)
        torch.testing.assert_close(ours.streams[stream].scores, scores, atol=1e-4, rtol=0)  # sums of float32


@torch.no_grad()
def test_generate_ranks_as_its_own_model_scores(histories):
    """With as many beams as there are prefixes nothing is pruned: the truth is every item's teacher-forced score."""
    trie = fresh_model(N_ITEMS, branching=8).streams["behavior"].trie
    torch.manual_seed(0)
    rival = GenerateSearch(published_shape(), trie)
    history, lengths = histories[0][[0, 2, 4]], histories[1][[0, 2, 4]]
    items, scores = rival.search(history, lengths, beams=N_ITEMS, k=N_ITEMS)
    codes = torch.stack([trie.codes_at(i + 1, trie.item_nodes[:, i]) + rival.first[i] for i in range(trie.depth)], 1)
    tokens, mask = rival.inputs(history, lengths)
    truth = torch.zeros(3, N_ITEMS)
    for item, code in enumerate(codes.tolist()):
        read = torch.tensor([[START, *code[:-1]]] * 3)
        out = rival.model(input_ids=tokens, attention_mask=mask, decoder_input_ids=read).logits.log_softmax(-1)
        truth[:, item] = sum(out[:, level, token] for level, token in enumerate(code))
    for row in range(3):
        assert sorted(items[row]) == list(range(N_ITEMS))
        torch.testing.assert_close(scores[row], truth[row, items[row]], atol=1e-4, rtol=0)
        assert bool((scores[row].diff() <= 0).all())


def test_sasrec_does_not_look_ahead_and_leaves_out_the_history():
    torch.manual_seed(0)
    model = SASRec(N_ITEMS, width=16, max_history=9).eval()
    history = torch.tensor([[3, 1, 4, 5]])
    items, scores = model.top(history, N_ITEMS)
    assert set(items[0, :-4].tolist()) == set(range(N_ITEMS)) - {3, 1, 4, 5}
    assert bool((scores[0, :-4].diff() <= 0).all())
    torch.testing.assert_close(scores[0, :5], model.scores(history)[0, items[0, :5]])


@pytest.mark.parametrize("level", [1, 2, 3])
def test_all_masks_are_equal(level):
    codes = random_codes(400)[:, [0, 1, 2, 3]] % 7  # few codes, so that nodes have several children
    codes = np.unique(codes, axis=0)
    trie = Trie.from_codes(codes, (7,) * 4)
    prefixes = np.unique(codes[:, :level], axis=0)
    expected = torch.zeros(len(prefixes), 7, dtype=torch.bool)
    for (i, prefix), code in itertools.product(enumerate(prefixes), range(7)):
        expected[i, code] = bool((codes[:, : level + 1] == [*prefix, code]).all(1).any())
    assert torch.equal(trie.mask(level, torch.arange(len(prefixes))), expected)
    assert torch.equal(DictionaryTrie(codes, 7).mask([tuple(prefix) for prefix in prefixes.tolist()]), expected)
    assert torch.equal(EveryRow(codes, 7).mask(torch.from_numpy(prefixes).long()), expected)

"""Vectors of items and nodes against sums written out, and the difference between the two kinds of code vectors."""

import torch
from tiny_models import N_ITEMS, TOLERANCE, random_trie, stir, tiny_content, tiny_model, tiny_tries

from gen_rec.models.embeddings import ItemEmbedding, LevelCodeEmbedding, PrefixCodeEmbedding, node_means


def test_node_means_equal_a_mean_over_the_items_below():
    trie = random_trie(N_ITEMS, (3, 4, 5), 2)
    values = tiny_content().double()
    for level, means in enumerate(node_means(values, trie, trie.depth), 1):
        assert means.shape == (trie.n_nodes[level], 5)
        for node in range(trie.n_nodes[level]):
            below = [item for item in range(N_ITEMS) if trie.item_nodes[item, level - 1] == node]
            torch.testing.assert_close(means[node], values[below].mean(0), atol=TOLERANCE, rtol=0)


def test_item_vectors_are_a_free_part_and_what_the_text_says():
    content = tiny_content()
    items = ItemEmbedding(N_ITEMS, 8, content)
    stir(items, 0)
    expected = items.table.weight + content @ items.project.weight.T
    torch.testing.assert_close(items.vectors(), expected)
    some = torch.tensor([[4, 4], [0, 22]])
    torch.testing.assert_close(items(some), expected[some])
    plain = ItemEmbedding(N_ITEMS, 8, None)
    assert [name for name, _ in plain.named_parameters()] == ["table.weight"]
    assert torch.equal(plain(some), plain.vectors()[some])


def test_prefix_gives_every_node_its_own_vector_and_level_one_per_code():
    trie = random_trie(N_ITEMS, (3, 4, 5), 2)
    prefix, level_wise = PrefixCodeEmbedding(trie, 8, None), LevelCodeEmbedding(trie, 8)
    for level in range(1, 4):
        vectors, codes = level_wise.vectors(level), trie.node_codes(level)
        assert prefix.vectors(level).shape == vectors.shape == (trie.n_nodes[level], 8)
        assert len(prefix.vectors(level).unique(dim=0)) == trie.n_nodes[level]
        assert len(vectors.unique(dim=0)) == len(codes.unique())
        for node in range(trie.n_nodes[level]):
            assert torch.equal(vectors[node], level_wise.tables[level - 1][codes[node]])
    assert [len(table) for table in prefix.tables] == list(trie.n_nodes[1:])
    assert [len(table) for table in level_wise.tables] == list(trie.widths)


def test_prefix_vectors_add_the_projected_mean_content():
    trie, content = random_trie(N_ITEMS, (6, 7), 1), tiny_content()
    codes = PrefixCodeEmbedding(trie, 8, content)
    stir(codes, 0)
    for level, mean in enumerate(node_means(content, trie, trie.depth), 1):
        expected = codes.tables[level - 1] + mean @ codes.project[level - 1].weight.T
        torch.testing.assert_close(codes.vectors(level), expected)


def test_tied_leaves_add_the_item_that_the_leaf_names():
    tied = tiny_model(tied="leaves")
    for decoder in tied.decoders.values():
        vectors, free = decoder.node_vectors(tied.reader().items.vectors()), decoder.codes.vectors(decoder.trie.depth)
        for item in range(N_ITEMS):
            leaf = decoder.trie.item_nodes[item, -1]
            torch.testing.assert_close(vectors[-1][leaf], free[leaf] + tied.reader().items.vectors()[item])
        assert torch.equal(vectors[0], decoder.codes.vectors(1))
    shared = tiny_model(tied="nodes", code_embedding="level")  # a shared table has no leaf of its own
    for decoder in shared.decoders.values():
        assert torch.equal(
            decoder.node_vectors(shared.reader().items.vectors())[-1], decoder.codes.vectors(decoder.trie.depth)
        )


def test_tied_nodes_add_the_mean_of_the_items_below():
    tied = tiny_model(tied="nodes")
    for decoder in tied.decoders.values():
        for level, vectors in enumerate(decoder.node_vectors(tied.reader().items.vectors()), 1):
            for node in range(decoder.trie.n_nodes[level]):
                below = decoder.trie.item_nodes[:, level - 1] == node
                expected = decoder.codes.vectors(level)[node] + tied.reader().items.vectors()[below].mean(0)
                torch.testing.assert_close(vectors[node], expected)


def test_frozen_content_is_no_parameter_and_only_one_copy_is_saved():
    model = tiny_model()
    assert not any("content" in name for name, _ in model.named_parameters())
    assert all(not buffer.requires_grad for buffer in model.buffers())
    assert [name for name in model.state_dict() if "content" in name or "codes_" in name] == ["content"]
    without = tiny_model(item_content=False, code_content=False)
    assert not any("project" in name for name, _ in without.named_parameters())


def test_the_trie_follows_the_model_to_its_device():
    """Checked on torch's meta device, which has no data but refuses to mix as an accelerator does."""
    model = tiny_model()
    kept = tiny_tries()["behavior"]
    assert torch.equal(model.decoders["behavior"].trie.leaf_items, kept.leaf_items)
    same = model.decoders["behavior"].trie
    assert model.to("cpu").decoders["behavior"].trie is same
    assert all(decoder.trie.device.type == "meta" for decoder in model.to("meta").decoders.values())

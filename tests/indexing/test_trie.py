"""The trie against a dictionary of prefixes, the CSR layout against the dense one, and what it refuses."""

import numpy as np
import pytest
import torch
from catalogues import catalogues
from hypothesis import given, settings

from indexing import Trie


def prefixes(codes: np.ndarray, level: int) -> list[tuple[int, ...]]:
    return sorted({tuple(row[:level]) for row in codes.tolist()})


@pytest.mark.parametrize("layout", ["dense", "csr", "auto"])
@settings(max_examples=60, deadline=None)
@given(catalogue=catalogues())
def test_agrees_with_a_dictionary(layout, catalogue):
    codes, widths = catalogue
    trie = Trie.from_codes(codes, widths, layout)
    depth = codes.shape[1]
    assert (trie.depth, trie.n_items, trie.widths) == (depth, len(codes), widths)
    assert trie.n_nodes == tuple(len(prefixes(codes, level)) for level in range(depth + 1))
    for level in range(depth):
        upper, lower = prefixes(codes, level), prefixes(codes, level + 1)
        number = {prefix: node for node, prefix in enumerate(lower)}
        expected = torch.tensor([[number.get((*p, c), -1) for c in range(widths[level])] for p in upper])
        nodes = torch.arange(len(upper))
        assert torch.equal(trie.children(level, nodes), expected)
        assert torch.equal(trie.mask(level, nodes), expected >= 0)
        every = torch.arange(widths[level]).expand_as(expected)
        assert torch.equal(trie.child(level, nodes[:, None].expand_as(expected), every), expected)
        assert trie.parents(level + 1).tolist() == [upper.index(p[:-1]) for p in lower]
        assert trie.node_codes(level + 1).tolist() == [p[-1] for p in lower]
        first = trie.first_child(level)
        counts = [sum(p[:-1] == q for p in lower) for q in upper]
        assert first.tolist() == [0, *np.cumsum(counts).tolist()]
    for item, code in enumerate(codes.tolist()):
        path = [prefixes(codes, level).index(tuple(code[:level])) for level in range(1, depth + 1)]
        assert trie.item_nodes[item].tolist() == path
        assert int(trie.leaf_items[path[-1]]) == item


@settings(max_examples=60, deadline=None)
@given(catalogue=catalogues())
def test_csr_equals_dense(catalogue):
    codes, widths = catalogue
    dense, csr = (
        Trie.from_codes(codes, widths, "dense"),
        Trie.from_codes(torch.from_numpy(codes), widths, "csr"),
    )
    assert set(dense.layouts) == {"dense"}
    assert set(csr.layouts) == {"csr"}
    for level in range(dense.depth):
        nodes = torch.arange(dense.n_nodes[level]).repeat(3).view(3, -1)  # any shape goes in
        children = dense.children(level, nodes)
        assert children.shape == (*nodes.shape, widths[level])
        assert torch.equal(children, csr.children(level, nodes))
        assert torch.equal(dense.mask(level, nodes), csr.mask(level, nodes))
    assert torch.equal(dense.item_nodes, csr.item_nodes)


def test_codes_too_long_for_one_number_are_sorted_all_the_same():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (300, 40))  # 4^40 > 2^63: several stable sorts
    codes[:, :30] = 3
    codes = np.unique(codes, axis=0)
    shuffled = rng.permutation(codes)
    wide = [1 << 20] * 40
    trie = Trie.from_codes(shuffled, wide, "csr")
    assert np.array_equal(shuffled[trie.leaf_items.numpy()], codes)  # np.unique is lexicographic
    assert trie.n_nodes[:31] == (1,) * 31


def test_widths_are_found_and_auto_chooses_by_size_and_fill(monkeypatch):
    codes = np.array([[0, 3], [2, 1], [2, 0]])
    trie = Trie.from_codes(codes)
    assert trie.widths == (3, 4)
    assert trie.layouts == ("dense", "dense")
    monkeypatch.setattr("indexing.trie.DENSE_CELLS", 4)  # root: 3 cells, next level: 2 x 4
    assert Trie.from_codes(codes).layouts == ("dense", "dense")  # 8 cells for 3 children: well filled
    monkeypatch.setattr("indexing.trie.DENSE_PER_CHILD", 2)
    assert Trie.from_codes(codes).layouts == ("dense", "csr")


def test_to_moves_everything_and_bytes_are_counted():
    trie = Trie.from_codes(np.array([[0, 1], [1, 0]]))
    before = trie.nbytes
    assert trie.item_nodes.shape == (2, 2)
    assert trie.nbytes == before + 2 * 2 * 8
    moved = trie.to("cpu")
    assert moved.device.type == "cpu"
    assert torch.equal(moved.children(1, torch.tensor([0, 1])), trie.children(1, torch.tensor([0, 1])))
    assert trie.to("meta").device.type == "meta"


@pytest.mark.parametrize(
    ("codes", "widths", "message"),
    [
        ([[0, 1], [1, 1], [0, 1]], None, r"rows 0 and 2 are both \[0, 1\]"),
        ([[0, 1], [0, -1]], None, "row 1, level 1: found -1"),
        ([[0, 1], [0, 7]], (1, 4), "row 1, level 1: found 7.*below its width 4"),
        ([[0, 1]], (2,), "widths has 1 entries, but codes has 2 levels"),
        (np.zeros((0, 2), dtype=np.int64), None, r"at least one of each, got \(0, 2\)"),
        ([0, 1], None, r"\(n_items, depth\)"),
        ([[0.0, 1.0]], None, "must be integers"),
    ],
)
def test_bad_codes_are_refused_by_name(codes, widths, message):
    with pytest.raises(ValueError, match=message):
        Trie.from_codes(np.asarray(codes), widths)


def test_unknown_layout():
    with pytest.raises(ValueError, match="layout must be"):
        Trie.from_codes(np.array([[0]]), layout="sparse")

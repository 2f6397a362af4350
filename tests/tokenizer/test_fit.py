"""Codes from embeddings: the promises that hold for any input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import Codes, TokenizerConfig, balanced, fit_codes, hierarchical
from tokenizer.balanced import balanced_kmeans
from tokenizer.prepare import standardize
from tokenizer.report import group_inertia


def embeddings(n: int, d: int, seed: int, distinct: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((distinct or n, d)).astype(np.float32)
    return values if distinct is None else values[rng.integers(distinct, size=n)]


def assert_balanced(codes: Codes) -> None:
    """Every node of more than one item has min(width, size) children, sizes within one; single items go on
    with 0."""
    for level in range(codes.depth):
        parent = np.zeros(codes.n_items, dtype=np.int64) if level == 0 else codes.item_nodes[:, level - 1]
        for node in range(parent.max() + 1):
            held = codes.codes[parent == node, level]
            sizes = np.bincount(held)
            assert len(sizes) == min(len(held), codes.widths[level])
            assert sizes.max() - sizes.min() <= 1
            if len(held) == 1:
                assert held[0] == 0


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 90),
    k=st.integers(2, 12),
    d=st.integers(1, 6),
    distinct=st.sampled_from([None, 1, 2, 5]),
    method=st.sampled_from(["balanced", "random"]),
    seed=st.integers(0, 3),
)
def test_trees_are_balanced_unique_and_repeatable(
    n: int, k: int, d: int, distinct: int | None, method: str, seed: int
) -> None:
    values = embeddings(n, d, seed, distinct)
    config = TokenizerConfig(method=method, branching=k, max_rounds=4)
    codes = fit_codes(values, config, seed)
    depth = next(depth for depth in range(1, 99) if k**depth >= n)
    assert codes.widths == (k,) * depth
    assert len(np.unique(codes.codes, axis=0)) == n
    assert_balanced(codes)
    assert np.array_equal(codes.codes, fit_codes(values, config, seed).codes)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 80),
    k=st.integers(2, 9),
    distinct=st.sampled_from([None, 1, 3]),
    levels=st.integers(1, 3),
)
def test_residual_codes_have_no_collisions(n: int, k: int, distinct: int | None, levels: int) -> None:
    values = embeddings(n, 3, n, distinct)
    config = TokenizerConfig(method="residual", branching=k, residual_levels=levels)
    codes = fit_codes(values, config, 0)
    assert codes.depth == levels + 1
    assert len(np.unique(codes.codes, axis=0)) == n
    # The last level counts 0, 1, 2, ... within each prefix, and its width is the largest collision.
    _, group, sizes = np.unique(codes.codes[:, :-1], axis=0, return_inverse=True, return_counts=True)
    for number in range(len(sizes)):
        assert sorted(codes.codes[group.reshape(-1) == number, -1]) == list(range(sizes[number]))
    assert codes.widths == (*[k] * levels, sizes.max())


def test_clusters_that_are_there_are_found() -> None:
    # Four groups of six, far apart: the first code must be the group.
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 6)
    values = 100 * np.eye(4)[group] + rng.standard_normal((24, 4))
    for method in ("balanced", "residual"):
        codes = fit_codes(values, TokenizerConfig(method=method, branching=4), 0)
        assert len({(a, b) for a, b in zip(group, codes.codes[:, 0], strict=True)}) == 4


def test_equal_sizes_beat_a_random_tree_and_more_starts_never_hurt() -> None:
    values = embeddings(400, 8, 0)
    inertia = {}
    for name, config in {
        "one": TokenizerConfig(branching=10),
        "four": TokenizerConfig(branching=10, n_init=4),
        "random": TokenizerConfig(branching=10, method="random"),
    }.items():
        inertia[name] = group_inertia(values, fit_codes(values, config, 0).codes[:, 0])
    assert inertia["four"] <= inertia["one"] * (1 + 1e-6)  # the first start is the same
    assert inertia["one"] < 0.85 * inertia["random"]


@pytest.mark.parametrize("distinct", [None, 40])
def test_the_quick_way_of_large_fits_keeps_every_promise(monkeypatch: pytest.MonkeyPatch, distinct: int | None) -> None:
    values, config = embeddings(3000, 8, 4, distinct), TokenizerConfig(branching=16)
    slow = fit_codes(values, config, 0)
    monkeypatch.setattr(hierarchical, "QUICK_FROM", 3000)
    quick = fit_codes(values, config, 0)
    assert_balanced(quick)
    assert len(np.unique(quick.codes, axis=0)) == 3000
    assert np.array_equal(quick.codes, fit_codes(values, config, 0).codes)
    for level in (1, 2):
        groups = [np.unique(codes.codes[:, :level], axis=0, return_inverse=True)[1] for codes in (slow, quick)]
        before, after = (group_inertia(values, group.reshape(-1)) for group in groups)
        # 1 % at 30,000 items; chance plays a larger part at 3,000, and most among 40 distinct points.
        assert after <= (1.02 if distinct is None else 1.15) * before


@pytest.mark.parametrize("n", [3000, 3007])
def test_centres_learnt_on_a_sample_do_for_all(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    # 150 groups in 16 clusters: what a tenth of the points shows is there in the others too.
    rng = np.random.default_rng(5)
    values = embeddings(n, 8, 5, distinct=150) + 0.3 * rng.standard_normal((n, 8)).astype(np.float32)
    points = standardize(values)[0][None]
    all_points = balanced_kmeans(points, 16, np.random.default_rng(0), quick=True)
    monkeypatch.setattr(balanced, "LEARN_PER_CENTRE", 20)
    sampled = balanced_kmeans(points, 16, np.random.default_rng(0), quick=True)
    sizes = np.bincount(sampled.labels[0].numpy(), minlength=16)
    assert sizes.max() - sizes.min() <= 1
    # The two end in different optima, and at this size chance decides which is the lower one.
    assert sampled.inertia.item() <= 1.05 * all_points.inertia.item()


def test_the_result_ignores_scale_shift_and_number_format() -> None:
    values = embeddings(150, 4, 1)
    config = TokenizerConfig(branching=6)
    base = fit_codes(values, config, 0).codes
    # Powers of two, so that float32 rounds the same way.
    assert np.array_equal(base, fit_codes(values * 2.0**60, config, 0).codes)
    assert np.array_equal(base, fit_codes(values * 2.0**-60, config, 0).codes)
    assert np.array_equal(base, fit_codes(values.astype(np.float64), config, 0).codes)


def test_normalize_ignores_length_and_keeps_zero_rows() -> None:
    values = embeddings(60, 4, 2)
    values[7] = 0
    stretched = values * 2.0 ** np.random.default_rng(0).integers(-3, 4, size=(60, 1))
    config = TokenizerConfig(branching=4, normalize=True)
    assert np.array_equal(fit_codes(values, config, 0).codes, fit_codes(stretched, config, 0).codes)


@pytest.mark.parametrize("quick_from", [hierarchical.QUICK_FROM, 700])
def test_threads_do_not_change_the_codes(monkeypatch: pytest.MonkeyPatch, quick_from: int) -> None:
    monkeypatch.setattr(hierarchical, "QUICK_FROM", quick_from)
    monkeypatch.setattr(hierarchical, "QUICK_ENTRIES_AT_ONCE", 1 << 12)  # several groups of nodes
    monkeypatch.setattr(hierarchical, "NODES_IN_ORDER_AT_ONCE", 3)
    values, config, before = embeddings(700, 32, 3), TokenizerConfig(branching=16), torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(fit_codes(values, config, 0).codes)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*results)


def test_widths_of_their_own() -> None:
    codes = fit_codes(embeddings(100, 3, 0), TokenizerConfig(widths=[3, 5, 8]), 0)
    assert codes.widths == (3, 5, 8)
    assert_balanced(codes)
    with pytest.raises(ValueError, match=r"tokenizer.widths \[3, 5\] make 15 leaves, too few for 100 items"):
        fit_codes(embeddings(100, 3, 0), TokenizerConfig(widths=[3, 5]), 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_numbers_name_their_row(value: float) -> None:
    values = embeddings(20, 3, 0)
    values[13, 2] = value
    with pytest.raises(ValueError, match="embeddings, row 13: column 2 is"):
        fit_codes(values, TokenizerConfig(branching=4), 0)


@pytest.mark.parametrize("shape", [(5,), (5, 0), (0, 3)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="embeddings"):
        fit_codes(np.zeros(shape), TokenizerConfig(branching=4), 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("branching", 1),
        ("method", "kd"),
        ("widths", []),
        ("widths", [4, 1]),
        ("n_init", 0),
        ("sibling_order", "x"),
    ],
)
def test_settings_name_the_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^tokenizer\.{field} must"):
        TokenizerConfig(**{field: value})

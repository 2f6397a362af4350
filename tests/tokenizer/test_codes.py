"""Codes: lookups against a dict, files, new items."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import Codes, TokenizerConfig, fit_codes


def some_codes(n: int = 60, k: int = 4, method: str = "balanced", seed: int = 0, **more: object) -> Codes:
    values = np.random.default_rng(seed).standard_normal((n, 5)).astype(np.float32)
    return fit_codes(values, TokenizerConfig(method=method, branching=k, **more), seed)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), depth=st.integers(1, 4), width=st.integers(1, 6))
def test_lookups_agree_with_a_dict(data: st.DataObject, depth: int, width: int) -> None:
    row = st.tuples(*[st.integers(0, width - 1)] * depth)
    rows = data.draw(st.lists(row, min_size=1, max_size=30, unique=True))
    asked = np.array(data.draw(st.lists(st.tuples(*[st.integers(-2, width + 1)] * depth), min_size=1, max_size=20)))
    codes = Codes(np.array(rows), (width,) * depth)
    where = {code: item for item, code in enumerate(rows)}
    assert codes.items_of(asked).tolist() == [where.get(tuple(code), -1) for code in asked.tolist()]
    assert codes.items_of(codes.codes).tolist() == list(range(len(rows)))
    assert codes.of_items(np.array([len(rows) - 1, 0])).tolist() == [list(rows[-1]), list(rows[0])]
    # Nodes are numbered in the order of their prefixes.
    for level in range(depth):
        prefixes = sorted({code[: level + 1] for code in rows})
        assert codes.item_nodes[:, level].tolist() == [prefixes.index(code[: level + 1]) for code in rows]
    assert codes.leaf_items.tolist() == [where[code] for code in sorted(rows)]


def test_very_long_codes_do_not_overflow() -> None:
    rows = np.random.default_rng(0).integers(1 << 20, size=(50, 40))
    codes = Codes(rows, (1 << 20,) * 40)
    assert codes.items_of(rows).tolist() == list(range(50))


def test_codes_are_frozen_and_leave_the_given_array_alone() -> None:
    given_rows = np.array([[0], [1]], dtype=np.int32)
    codes = Codes(given_rows, (2,))
    with pytest.raises(ValueError, match="read-only"):
        codes.codes[0] = 1
    given_rows[0] = 1
    assert codes.codes.tolist() == [[0], [1]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1], [1, 0], [0, 1]], r"rows 0 and 2: both are \[0, 1\]"),
        ([[0, 1], [0, 2]], r"row 1: \[0, 2\] is outside the widths \[2, 2\]"),
        ([[0, -1]], "row 0"),
        ([[0]], "must have shape"),
    ],
)
def test_impossible_codes_are_refused(rows: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Codes(np.array(rows), (2, 2))


def test_unknown_items_are_refused() -> None:
    with pytest.raises(ValueError, match="place 1: 60 is not an item"):
        some_codes().of_items(np.array([0, 60]))


@pytest.mark.parametrize("method", ["balanced", "residual", "random"])
def test_a_saved_file_says_the_same(tmp_path, method: str) -> None:
    codes = some_codes(method=method, normalize=True)
    codes.save(tmp_path / "run" / "v1.5")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["v1.5.json", "v1.5.safetensors"]
    for name in ("v1.5", "v1.5.safetensors", "v1.5.json"):
        again = Codes.load(tmp_path / "run" / name)
        assert np.array_equal(again.codes, codes.codes)
        assert (again.widths, again.method, again.normalize) == (codes.widths, codes.method, codes.normalize)
        assert again.settings == codes.settings
        assert all(np.array_equal(a, b) for a, b in zip(again.centres, codes.centres, strict=True))


def test_missing_and_damaged_files_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no codes there"):
        Codes.load(tmp_path / "x")
    some_codes().save(tmp_path / "x")
    file = tmp_path / "x.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match="damaged"):
        Codes.load(tmp_path / "x")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    old = some_codes(seed=0)
    old.save(tmp_path / "x")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("tokenizer.codes.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        some_codes(seed=1).save(tmp_path / "x")
    assert np.array_equal(Codes.load(tmp_path / "x").codes, old.codes)
    assert len(list(tmp_path.iterdir())) == 2


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 70),
    m=st.integers(0, 60),
    k=st.integers(2, 8),
    method=st.sampled_from(["balanced", "residual", "random"]),
    seed=st.integers(0, 5),
)
def test_new_items_move_nobody(n: int, m: int, k: int, method: str, seed: int) -> None:
    codes = some_codes(n, k, method, seed)
    fresh = np.random.default_rng(seed + 9).standard_normal((m, 5)).astype(np.float32)
    grown = codes.assign(fresh)
    assert grown.n_items == n + m
    assert np.array_equal(grown.codes[:n], codes.codes)
    assert grown.widths[:-1] == codes.widths[:-1]
    assert grown.widths[-1] >= codes.widths[-1]
    assert len(np.unique(grown.codes, axis=0)) == n + m
    if grown.widths[-1] > codes.widths[-1]:  # it grew no more than it had to
        assert grown.codes[:, -1].max() == grown.widths[-1] - 1
    again = grown.assign(fresh)  # and once more, from the larger one
    assert np.array_equal(again.codes[: n + m], grown.codes)


def test_new_items_go_to_the_nearest_node_and_take_its_first_free_code() -> None:
    values = np.array([[0.0], [1.0], [10.0], [11.0], [20.0], [21.0]])
    codes = fit_codes(values, TokenizerConfig(widths=[3, 3]), 0)
    fresh = np.array([[10.4], [0.2], [10.6], [10.5]])
    grown = codes.assign(fresh)
    node = codes.codes[[0, 2], 0]
    assert grown.codes[6:].tolist() == [[node[1], 2], [node[0], 2], [node[1], 3], [node[1], 4]]
    assert grown.widths == (3, 5)


def test_a_full_node_opens_a_sibling_before_the_level_grows() -> None:
    codes = Codes(
        np.array([[0, 0], [0, 1], [2, 0], [2, 1]]),
        (4, 2),
        centres=(np.array([[0.0], [10.0]], dtype=np.float32),),
    )
    grown = codes.assign(np.array([[1.0], [9.0], [1.5], [1.2], [0.8], [0.9]]))
    # Node 0 is full: its five go, two by two, to the absent children 1 and 3; node 2's one is third in line.
    assert grown.codes[4:].tolist() == [[1, 0], [2, 2], [1, 1], [3, 0], [3, 1], [0, 2]]
    assert grown.widths == (4, 3)
    assert grown.centres[0][:, 0].tolist() == pytest.approx([0.0, 1.25, 10.0, 1.0])


def test_new_items_are_checked() -> None:
    with pytest.raises(ValueError, match="new_embeddings have 4 columns, the codes were fitted on 5"):
        some_codes().assign(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="new_embeddings, row 1"):
        some_codes().assign(np.array([[0.0] * 5, [np.nan] * 5]))

"""What EmbSum learns from, against slices of every user's own list."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_backbone import tokenizer
from tiny_embsum import TEXTS, sequences, tiny_config

from gen_rec.data.interactions import Dataset, offsets_of
from gen_rec.embsum.batches import EmbSumBatch, Examples, case_times, case_tokens, summary_tokens, train_times
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.model import NOTHING
from gen_rec.embsum.tokens import HistoryTokens, ItemTokens, TokenLists

ITEM, END = 2, 3
CPU = torch.device("cpu")
USERS = [[0, 1, 2, 3], [5], [6, 7, 6, 8, 9, 6], [], [10, 11], [3, 4, 0, 4, 4], [9, 8, 7]]
"""Training parts; those of users 1 and 3 are too short to learn from; items come again."""
LEARNT = [0, 2, 4, 5, 6]
"""The users of rows 0, 1, ..."""


def item_tokens(config: EmbSumConfig) -> ItemTokens:
    return ItemTokens.of(TEXTS, tokenizer("bert"), ITEM, END, config)


def examples(seed: int = 0, teacher: Any = None, times: Any = None, **settings: Any) -> Examples:
    config = tiny_config(**settings)
    return Examples(sequences(USERS), item_tokens(config), config, tokenizer("bert"), teacher, seed, times)


def as_lists(lists: TokenLists) -> list[list[int]]:
    ids = lists.ids.tolist()
    return [ids[a:b] for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


def same(a: HistoryTokens, b: HistoryTokens) -> bool:
    ragged = as_lists(a.sessions) == as_lists(b.sessions) and np.array_equal(a.row_offsets, b.row_offsets)
    return ragged and torch.equal(a.starts, b.starts)


def same_batch(a: EmbSumBatch, b: EmbSumBatch) -> bool:
    tensors = [(a.rows, b.rows), (a.positives, b.positives), (a.negative, b.negative)]
    if a.summaries is not None and b.summaries is not None:
        tensors.append((a.summaries, b.summaries))
    return (
        same(a.histories, b.histories)
        and as_lists(a.candidates) == as_lists(b.candidates)
        and all(torch.equal(x, y) for x, y in tensors)
    )


def candidate_items(batch: EmbSumBatch, tokens: ItemTokens) -> list[int]:
    """Which items the candidates are; the texts of the shop differ."""
    known = {tuple(one): item for item, one in enumerate(as_lists(tokens.candidates(np.arange(tokens.n_items))))}
    return [known[tuple(one)] for one in as_lists(batch.candidates)]


@pytest.mark.parametrize("cuts", ["last", "random"])
@pytest.mark.parametrize("targets", [1, 3])
def test_histories_and_positives_are_slices(cuts: str, targets: int) -> None:
    made = examples(cuts=cuts, targets=targets)
    assert len(made) == made.n_targets == len(LEARNT)
    seen = set()
    for epoch in range(50):
        rows = np.array([3, 0, 4, 1])
        ends = made.cuts(epoch)[rows]
        batch = made.batch(rows, CPU, epoch)
        histories = [USERS[LEARNT[row]][:end] for row, end in zip(rows, ends, strict=True)]
        following = [USERS[LEARNT[row]][end : end + targets] for row, end in zip(rows, ends, strict=True)]
        assert all(histories)
        assert all(following)
        assert same(batch.histories, item_tokens(made.config).histories(sequences(histories)))
        items = candidate_items(batch, made.items)
        assert items == sorted(set(items))
        owner, positive = batch.rows.tolist(), [items[i] for i in batch.positives.tolist()]
        assert list(zip(owner, positive, strict=True)) == [
            (i, item) for i, some in enumerate(following) for item in some
        ]
        assert batch.n_targets == sum(map(len, following))
        seen |= {(row, end) for row, end in zip(rows.tolist(), ends.tolist(), strict=True)}
    if cuts == "last":
        assert seen == {(row, len(USERS[LEARNT[row]]) - 1) for row in (3, 0, 4, 1)}
    else:  # every place there is: one is missed with a chance of .8^50 or less
        assert seen == {(row, end) for row in (3, 0, 4, 1) for end in range(1, len(USERS[LEARNT[row]]))}


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True), st.integers(0, 3), st.integers(0, 3),
    st.booleans(), st.integers(1, 12), st.integers(1, 3),
)  # fmt: skip
def test_negatives_are_shared_and_never_of_the_user(
    rows: list[int], seed: int, epoch: int, in_batch: bool, uniform: int, targets: int
) -> None:
    made = examples(seed, in_batch_negatives=in_batch, uniform_negatives=uniform, targets=targets)
    batch = made.batch(np.array(rows), CPU, epoch)
    items = candidate_items(batch, made.items)
    positives = {items[i] for i in batch.positives.tolist()}
    drawn = set(items) - positives  # drawn for sure; a positive may have been drawn too
    assert len(drawn) <= uniform
    for i, row in enumerate(rows):
        own = set(USERS[LEARNT[row]])
        against = {item for item, is_one in zip(items, batch.negative[i].tolist(), strict=True) if is_one}
        assert not against & own
        assert drawn - own <= against
        if in_batch:
            assert against == set(items) - own
    assert not batch.negative[batch.rows, batch.positives].any()
    if not in_batch:
        counted = {item for j, item in enumerate(items) if batch.negative[:, j].any()}
        assert len(counted) <= uniform  # of the drawn ones only
        for j, item in enumerate(items):
            if item in counted:  # and against everybody but its owners
                assert batch.negative[:, j].tolist() == [item not in USERS[LEARNT[row]] for row in rows]


def test_without_uniform_negatives_the_candidates_are_the_positives() -> None:
    made = examples(uniform_negatives=0, cuts="last")
    batch = made.batch(np.array([0, 2]), CPU, 0)
    assert candidate_items(batch, made.items) == [3, 11]
    assert batch.negative.tolist() == [[False, True], [True, False]]
    alone = made.batch(np.array([0]), CPU, 0)
    assert alone.negative.tolist() == [[False]]


def test_uniform_negatives_come_from_the_whole_catalogue() -> None:
    """Of 4 x 300 draws each of 12 items is expected 100 times; 5 deviations are 48."""
    made = examples(in_batch_negatives=False, uniform_negatives=4, cuts="last")
    counts = np.zeros(12)
    for epoch in range(300):
        batch = made.batch(np.array([2, 4]), CPU, epoch)  # users of items 10, 11 and of 9, 8, 7
        for item, is_one in zip(candidate_items(batch, made.items), batch.negative.any(0).tolist(), strict=True):
            counts[item] += is_one
    # a batch counts an item once, however often it was drawn
    expected = 300 * (1 - (11 / 12) ** 4)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_batches_depend_on_seed_epoch_and_rows_only() -> None:
    rows = np.array([4, 1, 0])

    def teacher(histories: Sequence[Any]) -> list[str | None]:
        return ["soft " * len(history) for history in histories]

    first, second = examples(1, teacher), examples(1, teacher)
    second.batch(np.array([2, 3]), CPU, 0)  # what was asked before does not matter
    second.batch(rows, CPU, 1)
    assert same_batch(first.batch(rows, CPU, 0), second.batch(rows, CPU, 0))
    assert same_batch(first.batch(rows, CPU, 3), first.batch(rows, CPU, 3))
    assert not same_batch(first.batch(rows, CPU, 0), first.batch(rows, CPU, 1))
    assert not same_batch(first.batch(rows, CPU, 0), examples(2, teacher).batch(rows, CPU, 0))


def test_steps_have_every_row_once() -> None:
    made = examples()
    for epoch in range(3):
        steps = made.steps(2, 0, epoch, 1)
        assert sorted(np.concatenate(steps).tolist()) == [0, 1, 2, 3, 4]
        assert all(np.array_equal(a, b) for a, b in zip(steps, made.steps(2, 0, epoch, 1), strict=True))


def test_sessions_are_cut_at_the_gaps_of_the_right_items() -> None:
    pauses = {2: [0, 90, 1, 1, 90, 1]}  # minutes, of user 2 and of the others
    times = [60 * np.cumsum(pauses.get(u, [0, 1, 90, 1, 1, 90])[: len(user)]) for u, user in enumerate(USERS)]
    flat = np.concatenate(times).astype(np.int64)
    made = examples(times=flat, session_gap_hours=1.0, session_items=4, cuts="last")
    batch = made.batch(np.array([1, 3]), CPU, 0)
    histories = [USERS[2][:-1], USERS[5][:-1]]
    when = np.concatenate([times[2][:-1], times[5][:-1]]).astype(np.int64)
    assert same(batch.histories, item_tokens(made.config).histories(sequences(histories), when))
    sessions = [one.count(ITEM) for one in as_lists(batch.histories.sessions)]
    assert sessions == [1, 3, 1, 2, 2]


def test_the_teacher_is_asked_for_the_histories_as_they_were_cut() -> None:
    asked: list[list[int]] = []

    def teacher(histories: Sequence[Any]) -> list[str | None]:
        asked.extend(history.tolist() for history in histories)
        return ["red nail", None]

    made = examples(teacher=teacher, cuts="last")
    batch = made.batch(np.array([1, 0]), CPU, 0)
    assert asked == [USERS[2][:-1], USERS[0][:-1]]
    red, nail = tokenizer("bert").convert_tokens_to_ids(["red", "nail"])
    assert batch.summaries is not None
    assert batch.summaries.tolist() == [[red, nail, END], [NOTHING] * 3]
    assert examples(cuts="last").batch(np.array([1]), CPU, 0).summaries is None


def test_a_share_of_the_rows_is_taught_summaries_others_each_epoch() -> None:
    def teacher(histories: Sequence[Any]) -> list[str | None]:
        return ["soft " * len(history) for history in histories]

    rows, taught = np.array([3, 1, 0, 4]), set()
    whole = examples(teacher=teacher, cuts="last").batch(rows, CPU, 0).summaries
    assert whole is not None
    made = examples(teacher=teacher, cuts="last", summary_share=0.5)
    for epoch in range(20):
        found = made.batch(rows, CPU, epoch).summaries
        assert found is not None
        has = (found != NOTHING).any(1)
        assert has.sum() == 2
        assert all(
            torch.equal(row[row != NOTHING], own[own != NOTHING])
            for row, own in zip(found[has], whole[has], strict=True)
        )
        taught |= set(has.nonzero().flatten().tolist())
    assert taught == {0, 1, 2, 3}


def test_summaries_by_hand() -> None:
    words = tokenizer("bert")
    the, user, likes = words.convert_tokens_to_ids(["the", "user", "likes"])
    found = summary_tokens(["the user likes", "", None, "likes"], words, END, 3)
    assert found.tolist() == [[the, user, END], [END, NOTHING, NOTHING], [NOTHING] * 3, [likes, END, NOTHING]]
    assert summary_tokens([None, None], words, END, 3).tolist() == [[NOTHING], [NOTHING]]


def test_rows_are_described_by_their_users() -> None:
    assert (
        examples().describe(np.array([1, 4])) == "2 training rows, of users [2, 6] (rows of users.parquet) and others"
    )


def test_times_of_the_training_part_and_of_cases() -> None:
    """Against loops over a set whose user 1 has nothing to learn from and whose user 2 is only in training."""
    users = [
        [(0, 10, 0), (1, 20, 0), (2, 30, 1), (3, 40, 2)],
        [(4, 5, 2)],
        [(5, 1, 0), (6, 2, 0)],
        [(7, 3, 0), (8, 9, 2)],
    ]
    rows = [row for user in users for row in user]
    items = pl.DataFrame({"item_id": [str(i) for i in range(12)], "title": TEXTS, "text": TEXTS})
    dataset = Dataset(
        items, np.array(list("abcd"), dtype=object), offsets_of(np.array([len(user) for user in users])),
        np.array([row[0] for row in rows], dtype=np.int32), np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows], dtype=np.uint8),
    )  # fmt: skip
    assert train_times(dataset).tolist() == [10, 20, 1, 2, 3]
    assert len(train_times(dataset)) == dataset.train_sequences().offsets[-1]
    cases = dataset.cases("test")
    assert case_times(dataset, cases).tolist() == [10, 20, 30, 3]  # of users 0, 1 (none) and 3
    config = replace(tiny_config(), session_items=4, session_gap_hours=8 / 3600)
    tokens = item_tokens(config)
    some = case_tokens(tokens, cases, np.array([2, 0]), case_times(dataset, cases))
    assert same(some, tokens.histories(sequences([[7], [0, 1, 2]]), np.array([3, 10, 20, 30])))
    assert len(some.sessions.offsets) - 1 == 4
    plain = item_tokens(replace(config, session_gap_hours=None))
    assert same(case_tokens(plain, cases, np.array([1, 0])), plain.histories(sequences([[], [0, 1, 2]])))

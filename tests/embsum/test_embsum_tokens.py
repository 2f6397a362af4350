"""Tokens of items and of histories' sessions, against a builder that goes item by item."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_backbone import tokenizer
from tiny_embsum import sequences

from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.tokens import HistoryTokens, ItemTokens, TokenLists

START, END = 2, 3
CONFIG = EmbSumConfig(max_items=6, session_items=3, item_tokens=4, session_tokens=9)
TEXTS = ["red nail polish", "", "hair shampoo brush soap oil dry", "  soft ", "nothing known", "opi"]


def made(config: EmbSumConfig = CONFIG, texts: list[str] | None = None) -> ItemTokens:
    return ItemTokens.of(TEXTS if texts is None else texts, tokenizer("bert"), START, END, config)


def as_lists(lists: TokenLists) -> list[list[int]]:
    ids = lists.ids.tolist()
    return [ids[a:b] for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


def words_of(text: str, config: EmbSumConfig) -> list[int]:
    """An item's words as they are kept, without the start token."""
    ids = tokenizer("bert")(text, add_special_tokens=False)["input_ids"]
    return list(ids)[: config.item_tokens - 1]


def slow(
    histories: list[list[int]], times: list[list[int]] | None, config: EmbSumConfig
) -> tuple[list[list[list[int]]], list[list[int]], dict[str, int]]:
    """Sessions of each row as lists of tokens, the places of each row's start tokens, and what was cut."""
    cut = {"sessions": 0, "histories": 0}
    rows: list[list[list[int]]] = []
    places: list[list[int]] = []
    total = 0
    gap = None if config.session_gap_hours is None else 3600 * config.session_gap_hours
    for i, history in enumerate(histories):
        cut["histories"] += len(history) > config.max_items
        recent = history[-config.max_items :]
        when = None if times is None else times[i][-config.max_items :]
        groups: list[list[int]] = []
        for j, item in enumerate(recent):
            pause = gap is not None and when is not None and j > 0 and when[j] - when[j - 1] > gap
            if not groups or len(groups[-1]) == config.session_items or pause:
                groups.append([])
            groups[-1].append(item)
        sessions, starts = [], []
        for group in groups:
            room = config.session_tokens - 1 - len(group)  # words, beside the start tokens and the end token
            tokens: list[int] = []
            was_cut = False
            for item in group:
                words = words_of(TEXTS[item], config)
                was_cut |= len(words) > room
                starts.append(total + len(tokens))
                tokens += [START, *words[:room]]
                room -= min(room, len(words))
            cut["sessions"] += was_cut
            sessions.append([*tokens, END])
            total += len(sessions[-1])
        rows.append(sessions)
        places.append(starts)
    return rows, places, cut


def check(found: HistoryTokens, rows: list[list[list[int]]], places: list[list[int]]) -> None:
    assert as_lists(found.sessions) == [session for sessions in rows for session in sessions]
    width = max(1, max(map(len, places), default=0))
    assert found.starts.tolist() == [[*row, *[-1] * (width - len(row))] for row in places]
    sizes = [sum(map(len, sessions)) for sessions in rows]
    assert found.row_offsets.tolist() == np.cumsum([0, *sizes]).tolist()


def test_items_have_a_start_token_and_are_cut() -> None:
    tokens = made()
    known = tokenizer("bert")
    red, nail, polish, hair, shampoo, brush, soft, opi = known.convert_tokens_to_ids(
        ["red", "nail", "polish", "hair", "shampoo", "brush", "soft", "opi"]
    )
    unknown = known.unk_token_id
    expected = [
        [START, red, nail, polish],
        [START],
        [START, hair, shampoo, brush],  # of six words the first three
        [START, soft],
        [START, unknown, unknown],
        [START, opi],
    ]
    lists = [tokens.ids[a:b].tolist() for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]
    assert lists == expected
    assert tokens.truncated == {"items": 1, "sessions": 0, "histories": 0}
    assert tokens.n_items == 6
    order = np.array([5, 1, 0, 5])
    assert as_lists(tokens.candidates(order)) == [[*expected[item], END] for item in order]
    assert as_lists(tokens.candidates(np.array([], dtype=np.int64))) == []


def test_texts_are_tokenized_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made()
    monkeypatch.setattr("gen_rec.embsum.tokens.TEXTS_AT_ONCE", 4)
    parts = made()
    assert parts.ids.tolist() == whole.ids.tolist()
    assert parts.offsets.tolist() == whole.offsets.tolist()
    assert parts.truncated == whole.truncated


def test_no_text_at_all() -> None:
    tokens = made(texts=["", "  "])
    assert tokens.ids.tolist() == [START, START]
    found = tokens.histories(sequences([[0, 1, 1, 0]]))
    assert as_lists(found.sessions) == [[START, START, START, END], [START, END]]
    assert made(texts=[]).n_items == 0


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=9), max_size=4),
    st.integers(1, 8), st.integers(1, 5), st.integers(1, 6), st.integers(1, 12), st.booleans(),
)  # fmt: skip
def test_histories_are_those_of_the_slow_builder(
    drawn: list[list[tuple[int, int]]], max_items: int, session_items: int, item_tokens: int, more: int, gaps: bool
) -> None:
    config = EmbSumConfig(
        max_items=max_items, session_items=session_items, item_tokens=item_tokens,
        session_tokens=max(item_tokens, session_items) + more, session_gap_hours=2 if gaps else None,
    )  # fmt: skip
    histories = [[item for item, _ in row] for row in drawn]
    times = [np.cumsum([3600 * pause for _, pause in row]).astype(int).tolist() for row in drawn]
    flat = np.array([time for row in times for time in row], dtype=np.int64)
    tokens = made(config)
    found = tokens.histories(sequences(histories), flat)
    rows, places, cut = slow(histories, times, config)
    check(found, rows, places)
    assert {name: tokens.truncated[name] for name in cut} == cut
    lists = as_lists(found.sessions)
    assert all(len(session) <= config.session_tokens for session in lists)
    assert all(0 < session.count(START) <= session_items for session in lists)
    ids = found.sessions.ids.numpy()
    assert (ids == START).sum() == sum(min(len(row), max_items) for row in histories)  # each item has its own
    assert (ids[found.starts[found.starts >= 0].numpy()] == START).all()


def test_a_full_session_keeps_the_start_token_of_every_item() -> None:
    config = replace(CONFIG, session_tokens=5)  # three start tokens, an end token and one word
    tokens = made(config)
    found = tokens.histories(sequences([[0, 2, 0]]))
    red = tokenizer("bert").convert_tokens_to_ids("red")
    assert as_lists(found.sessions) == [[START, red, START, START, END]]
    assert found.starts.tolist() == [[0, 2, 3]]
    assert tokens.truncated["sessions"] == 1
    tokens.histories(sequences([[0, 2, 0], [5]]))
    assert tokens.truncated["sessions"] == 2  # of all that were built


def test_of_a_long_history_the_most_recent_items_are_read() -> None:
    tokens = made()
    history = [5, 4, 0, 1, 2, 3, 0, 1]
    found = tokens.histories(sequences([history, [3]]))
    alone = tokens.histories(sequences([history[-6:], [3]]))
    assert as_lists(found.sessions) == as_lists(alone.sessions)
    assert found.starts.tolist() == alone.starts.tolist()
    assert tokens.truncated["histories"] == 1


def test_an_empty_history_has_no_token() -> None:
    tokens = made()
    found = tokens.histories(sequences([[], [5], []]))
    assert found.row_offsets.tolist() == [0, 0, 3, 3]
    assert found.starts.tolist() == [[-1], [0], [-1]]
    for rows in ([], [[]], [[], []]):
        found = tokens.histories(sequences(rows))
        assert found.sessions.ids.shape == (0,)
        assert found.sessions.offsets.tolist() == [0]
        assert found.starts.tolist() == [[-1]] * len(rows)
        assert found.row_offsets.tolist() == [0] * (len(rows) + 1)


def test_gaps_need_times() -> None:
    tokens = made(replace(CONFIG, session_gap_hours=1.0))
    with pytest.raises(ValueError, match="session_gap_hours"):
        tokens.histories(sequences([[0, 1]]))

"""Where sessions begin, against a loop that walks along every history."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_rec.data.interactions import offsets_of
from gen_rec.embsum.sessions import session_starts

TIMED = st.lists(st.lists(st.integers(0, 20), max_size=12).map(sorted), max_size=5)
"""The times of some histories."""


def walk(histories: list[list[int]], p: int, gap: float | None) -> list[bool]:
    starts = []
    for times in histories:
        inside = 0  # items of the session so far
        for i, time in enumerate(times):
            pause = gap is not None and i > 0 and time - times[i - 1] > gap
            starts.append(i == 0 or inside == p or pause)
            inside = 1 if starts[-1] else inside + 1
    return starts


def cut(histories: list[list[int]], p: int, gap: float | None) -> list[bool]:
    offsets = offsets_of(np.array([len(times) for times in histories], dtype=np.int64))
    times = np.array([time for times in histories for time in times], dtype=np.int64)
    found: list[bool] = session_starts(offsets, p, times, gap).tolist()
    return found


@given(TIMED, st.integers(1, 6), st.none() | st.sampled_from([0.5, 1, 3, 7.5]))
def test_sessions_are_those_of_a_walk(histories: list[list[int]], p: int, gap: float | None) -> None:
    assert cut(histories, p, gap) == walk(histories, p, gap)


@given(TIMED.filter(bool), st.integers(1, 6), st.none() | st.sampled_from([1, 3]), st.integers(0, 10), st.data())
def test_an_item_more_changes_no_session_before(
    histories: list[list[int]], p: int, gap: float | None, later: int, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(histories) - 1))
    before = cut(histories, p, gap)
    grown = [list(times) for times in histories]
    grown[row].append((grown[row][-1] if grown[row] else 0) + later)
    after = cut(grown, p, gap)
    end = sum(map(len, grown[: row + 1])) - 1  # where the new item lies
    assert after[:end] + after[end + 1 :] == before


def test_by_hand() -> None:
    offsets = offsets_of(np.array([5, 0, 3]))
    assert np.flatnonzero(session_starts(offsets, 2)).tolist() == [0, 2, 4, 5, 7]
    times = np.array([0, 10, 11, 12, 13, 5, 6, 100])
    # the pause before the second item starts the count anew; the jump between two histories is none
    assert np.flatnonzero(session_starts(offsets, 2, times, 9)).tolist() == [0, 1, 3, 5, 7]
    assert np.flatnonzero(session_starts(offsets, 2, times, 10)).tolist() == [0, 2, 4, 5, 7]  # a pause of just 10


def test_one_item_a_session_is_every_item_by_itself() -> None:
    assert session_starts(offsets_of(np.array([3, 0, 1, 4])), 1).all()


def test_no_history_has_no_session() -> None:
    assert session_starts(offsets_of(np.array([], dtype=np.int64)), 3).shape == (0,)
    assert session_starts(offsets_of(np.array([0, 0])), 3, np.array([], dtype=np.int64), 1.0).shape == (0,)


def test_gaps_need_times() -> None:
    offsets = offsets_of(np.array([3]))
    with pytest.raises(ValueError, match="session_gap_hours"):
        session_starts(offsets, 2, None, 3600.0)
    with pytest.raises(ValueError, match="session_gap_hours"):
        session_starts(offsets, 2, np.array([1, 2]), 3600.0)

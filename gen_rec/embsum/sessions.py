"""A history cut into sessions: stretches of a few items that are read together, each by itself."""

import numpy as np
from numpy.typing import NDArray

from gen_rec.data.interactions import Int64Array


def session_starts(
    offsets: Int64Array, session_items: int, times: Int64Array | None = None, gap_seconds: float | None = None
) -> NDArray[np.bool_]:
    """Where sessions begin in histories laid end to end.

    Counting starts at the oldest item (and anew after a gap), so that an item more at the end of a history leaves all
    sessions but the last as they were.

    offsets:       (rows + 1,) history i is items ``offsets[i]:offsets[i + 1]``, oldest first
    session_items: most items of a session
    times:         (total,) seconds, needed for ``gap_seconds``
    gap_seconds:   a longer pause between two items starts a session; None looks at no times
    returns        (total,) True at the first item of each session.
    """
    index = np.arange(offsets[-1])
    first = np.zeros(len(index), dtype=bool)
    first[offsets[:-1][np.diff(offsets) > 0]] = True
    if gap_seconds is not None:
        if times is None or len(times) != len(index):
            raise ValueError("sessions cut at time gaps need the time of every item; set embsum.session_gap_hours null")
        first[1:] |= np.diff(times) > gap_seconds
    began = np.maximum.accumulate(np.where(first, index, 0))
    return first | ((index - began) % session_items == 0)

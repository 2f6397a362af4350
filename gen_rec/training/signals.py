"""Ctrl-C and SIGTERM as a wish that a training loop grants at its next step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set once a signal has come; ``signum`` is which."""

    def __init__(self) -> None:
        self.signum = 0

    def __bool__(self) -> bool:
        return self.signum != 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM within the block; a second one acts as it would have without us."""
    request = StopRequest()
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {signum: signal.getsignal(signum) for signum in handled}

    def note(signum: int, frame: FrameType | None) -> None:
        request.signum = signum
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for signum in handled:
            signal.signal(signum, note)
    except ValueError:  # not the main thread: signals go to whoever owns it
        yield request
        return
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

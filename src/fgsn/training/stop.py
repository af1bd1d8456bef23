"""Ctrl-C and SIGTERM end a training after its step, with a checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fgsn.progress import say


class StopRequests:
    """Whether SIGINT or SIGTERM came: called, it says so."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._at_once = False

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self._number is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first is a request, a second one stops at once."""
        if self._at_once or self():
            raise KeyboardInterrupt(signal.Signals(number).name)
        self._number = number
        say("fgsn: stopping after this step; once more stops at once")

    def obey(self) -> None:
        """Become the KeyboardInterrupt that a request would have been."""
        if self._number is not None:
            raise KeyboardInterrupt(signal.Signals(self._number).name)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In the body, which takes minutes and is repeated by a resumed run, a first signal stops at once."""
        self.obey()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Turn the first SIGINT or SIGTERM into a request, which becomes a KeyboardInterrupt on exit."""
    stop = StopRequests()
    try:
        before = {number: signal.signal(number, stop.note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: leave signals to the caller
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    stop.obey()

"""Progress on stderr: a bar in a terminal, lines of text elsewhere; with rate and time left once they are known."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from fgsn import ranks
from fgsn.errors import one_line

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_NOTES = 10.0, 0.5
LEAST_UNITS, LEAST_SECONDS = 3, 5.0
"""Units and seconds to measure before a rate is shown; less would predict the time left poorly."""


def say(message: str) -> None:
    """Print a message for the user on stderr; a stderr that nobody reads does not end the work."""
    if sys.stderr is None:  # closed by whoever started this process
        return
    with contextlib.suppress(OSError):
        print(one_line(message), file=sys.stderr, flush=True)


class Meter:
    """A progress display for one long task, shown by the first rank only.

    Use it as a context manager, and call `step()` after each unit of work, with a short note if there is one.
    """

    def __init__(self, title: str, total: int, done: int = 0, unit: str = "") -> None:
        self.title, self.total, self.done, self.unit = title, total, done, unit
        self._first, self._note = done, ""
        self._start = self._last_line = time.monotonic()
        self._pace: tuple[float, int] | None = None
        self._bar: Progress | None = None
        if sys.stderr is not None and sys.stderr.isatty() and ranks.first():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TaskProgressColumn(show_speed=True),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._bar:
            self._bar.stop()
        elif failure[0] is None and self.done > self._first:
            ended = "done in" if self.done >= self.total else "stopped after"
            self._line(f"{ended} {_clock(time.monotonic() - self._start)}")

    def step(self, note: str | Callable[[], str] = "", count: int = 1) -> None:
        """Count `count` more units as done; a note that is a function is called only when it is shown."""
        self.done += count
        now = time.monotonic()
        if self._pace is None:
            self._pace = now, self.done  # the first unit includes the start-up
        due = now - self._last_line > (SECONDS_BETWEEN_NOTES if self._bar else SECONDS_BETWEEN_LINES)
        if due:
            self._last_line = now
        if due or isinstance(note, str):
            self._note = note if isinstance(note, str) else note()
        if self._bar:
            self._bar.update(self._task, completed=self.done, note=self._note)
        elif due:
            seconds, units = now - self._pace[0], self.done - self._pace[1]
            if units >= LEAST_UNITS and seconds >= LEAST_SECONDS:
                rate = units / seconds
                self._note = f"{rate:.2g}{self.unit}/s, {_clock((self.total - self.done) / rate)} left  {self._note}"
            self._line(self._note)

    def _line(self, text: str) -> None:
        if ranks.first():
            say(f"{self.title}: {self.done}/{self.total}, {text}".rstrip(", "))


def tracked(items: Iterable[Item], title: str, total: int, unit: str = "") -> Iterator[Item]:
    """Iterate over `items` with a progress display."""
    with Meter(title, total, unit=unit) as meter:
        for item in items:
            yield item
            meter.step()


def _clock(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} h" if hours else f"{minutes}:{seconds:02d} min"

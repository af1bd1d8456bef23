"""Lines that describe problems: one per problem, which names the file, what is wrong and, if needed, what to do."""

import itertools
from collections.abc import Callable, Iterable

from fgsn.errors import FgsnError

MOST_LINES = 20
"""Lines shown for one kind of problem."""


def failure(action: Callable[[], object]) -> str | None:
    """The error message of an action, None if it succeeds."""
    try:
        action()
    except FgsnError as error:
        return str(error)
    return None


def limited(lines: Iterable[str]) -> list[str]:
    """The first lines of one kind, and the number of the others."""
    lines = iter(lines)
    first = list(itertools.islice(lines, MOST_LINES))
    more = sum(1 for _ in lines)
    return [*first, f"... and {more} more like the last one"] if more else first

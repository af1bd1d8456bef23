"""Errors that are reported to the user in one line: what is wrong, where, and what to do."""

import difflib
import operator
from collections.abc import Iterable
from typing import Any

LONGEST = 1000
"""Maximum number of characters of a message."""
MOST_NAMES = 30
"""Names listed in a message, at most."""


class FgsnError(Exception):
    """An error in the input; the command prints this one line and ends with exit code 1."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UsageError(FgsnError):
    """Wrong usage of a command (a flag, a key, a range); exit code 2."""

    exit_code = 2


class MissingExtraError(FgsnError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}': install it with pip install 'fgsn[{extra}]'")


class CannotWriteError(FgsnError):
    """A file cannot be written: nothing that a broken input explains, so work on other inputs must not go on."""


class NoMatchesError(FgsnError):
    """The matches of one query cannot be found; other queries may have theirs."""


def one_line(text: str) -> str:
    """A text as one printable line: characters that cannot be printed are escaped, a long text is cut in the middle.

    >>> one_line("a\\tb")
    'a\\\\tb'
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 200]} ... {text[-190:]}"
    return printable(text)


def printable(text: str) -> str:
    """A text with characters escaped that cannot be printed: a file's own codes must not reach the terminal.

    >>> printable("\x1b[31m")
    '\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(error: BaseException, longest: int | None = None) -> str:
    """What an error of a library says, in one line of at most `longest` characters; its type where it says nothing."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def whole_number(name: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    """A value from a caller as an int.

    Raises:
        FgsnError: it is no whole number, or outside `least` to `most`; the message has its name.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or not least <= operator.index(value) <= most:
        limit = f" to {most}" if most < 2**63 - 1 else " or more"
        raise FgsnError(f"{name} should be a whole number, {least}{limit}, not {value!r}")
    return operator.index(value)


def nearest(word: str, known: Iterable[str]) -> str:
    """End of a message about an unknown word: suggests the nearest known word, or lists those that are known.

    >>> nearest("clutsers", ["clusters", "seed"])
    "did you mean 'clusters'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known are: {', '.join(known[:MOST_NAMES])}" + (
        f" and {len(known) - MOST_NAMES} more" * (len(known) > MOST_NAMES)
    )

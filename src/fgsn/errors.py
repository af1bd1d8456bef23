"""What the user is told when something is wrong: one line that says what, where, and what to do."""

import difflib
from collections.abc import Iterable

LONGEST = 1000
"""Characters of an error; what it quotes may be longer."""


class FgsnError(Exception):
    """Something is wrong with the input; the command ends with exit code 1 and this one line."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UsageError(FgsnError):
    """The command was called wrongly (a flag, a key, a range); exit code 2."""

    exit_code = 2


class MissingExtraError(FgsnError):
    """An optional part of fgsn is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}': install it with pip install 'fgsn[{extra}]'")


class NoMatchesError(FgsnError):
    """The matches of one query cannot be found; other queries may have theirs."""


def one_line(text: str) -> str:
    """A text as one line that a terminal can show: what a broken file made us quote is escaped, and cut in its middle.

    >>> one_line("a\\tb")
    'a\\\\tb'
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 200]} ... {text[-190:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """End of an error sentence about an unknown word: names the nearest known one, else lists all.

    >>> nearest("clutsers", ["clusters", "seed"])
    "did you mean 'clusters'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else "known are: " + ", ".join(known)

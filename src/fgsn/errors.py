"""What the user is told when something is wrong: one line that says what, where, and what to do."""

import difflib
from collections.abc import Iterable


class FgsnError(Exception):
    """Something is wrong with the input; the command ends with exit code 1 and this one line."""

    exit_code = 1


class UsageError(FgsnError):
    """The command was called wrongly (a flag, a key, a range); exit code 2."""

    exit_code = 2


class MissingExtraError(FgsnError):
    """An optional part of fgsn is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}': install it with pip install 'fgsn[{extra}]'")


def nearest(word: str, known: Iterable[str]) -> str:
    """End of an error sentence about an unknown word: names the nearest known one, else lists all.

    >>> nearest("clutsers", ["clusters", "seed"])
    "did you mean 'clusters'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else "known are: " + ", ".join(known)

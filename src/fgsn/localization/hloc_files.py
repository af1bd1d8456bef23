"""Which files of an hloc folder are meant: hloc names them after its settings, so they are known by their content."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py

from fgsn.errors import FgsnError
from fgsn.localization.hloc import pair_keys
from fgsn.localization.lists import numbered_lines

FIXED = {"pairs": "pairs.txt", "features": "features.h5", "matches": "matches.h5"}


class HlocFiles(NamedTuple):
    """The files that localization needs."""

    pairs: Path
    features: Path
    matches: Path


def find_hloc_files(folder: Path, queries: Sequence[str]) -> HlocFiles:
    """Find the pairs of the queries, their key points and their matches in a folder that hloc filled.

    Files called pairs.txt, features.h5 and matches.h5 are taken for what they say; else the one whose content fits.

    Args:
        folder: hloc's outputs.
        queries: their names.

    Raises:
        FgsnError: the folder is none, a file is not there, or several files fit.
    """
    if not folder.is_dir():
        raise FgsnError(f"{folder} is no folder; --hloc wants the one with hloc's outputs")
    known = set(queries)
    pairs = _one(folder, "pairs", "list of pairs 'query database' of these queries", lambda path: _pair(path, known))
    pair = _pair(pairs, known, deep=True)
    if pair is None:
        raise FgsnError(f"{pairs} has no pairs of the query '{queries[0]}'")
    query, database = pair
    features = _one(
        folder, "features", f"key points of '{query}'", lambda path: _holds(path, [f"{query}/keypoints"])
    )  # fmt: skip
    keys = [f"{key}/matches0" for key, _ in pair_keys(query, database)]
    matches = _one(
        folder, "matches", f"matches of '{query}' with '{database}'", lambda path: _holds(path, keys)
    )  # fmt: skip
    return HlocFiles(pairs, features, matches)


def _one(folder: Path, kind: str, what: str, fits: Callable[[Path], object]) -> Path:
    fixed = folder / FIXED[kind]
    if fixed.is_file():
        return fixed
    found = sorted(path for path in folder.glob(f"*{fixed.suffix}") if path.is_file() and fits(path))
    if not found:
        raise FgsnError(f"{folder} holds no *{fixed.suffix} file with the {what}; call it {fixed.name} if it is there")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise FgsnError(f"{folder} holds several files with the {what}: {names}; link the right one as {fixed.name}")
    return found[0]


def _pair(path: Path, known: set[str], deep: bool = False) -> tuple[str, str] | None:
    """The first pair of a list, if its first image is a query; `deep` looks further down for one that is."""
    try:
        lines = [line.split() for _, line in numbered_lines(path)]
    except FgsnError:
        if deep:
            raise
        return None  # no text, and not what is looked for
    found = ((names[0], names[1]) for names in (lines if deep else lines[:1]) if len(names) == 2 and names[0] in known)
    return next(found, None)


def _holds(path: Path, keys: Sequence[str]) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return any(key in file for key in keys)
    except OSError:
        return False

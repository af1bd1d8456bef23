"""Which files of an hloc folder are meant: hloc names them after its settings, so they are known by their content."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py

from fgsn.errors import FgsnError
from fgsn.formats.hloc import pair_keys
from fgsn.formats.lists import numbered_lines

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
    pairs = _one(folder, "pairs", "list of pairs 'query database' of these queries", lambda path: _begins(path, known))
    found = _pairs(pairs, known)
    if not found:
        raise FgsnError(f"{pairs} has no pairs of the query '{queries[0]}'")
    query, database = found[0]
    features = _one(
        folder, "features", f"key points of '{query}'",
        lambda path: _first_in(path, [[f"{name}/keypoints"] for name, _ in found]),
    )  # fmt: skip
    matches = _one(
        folder, "matches", f"matches of '{query}' with '{database}'",
        lambda path: _first_in(path, [[f"{key}/matches0" for key, _ in pair_keys(*pair)] for pair in found]),
    )  # fmt: skip
    return HlocFiles(pairs, features, matches)


def _one(folder: Path, kind: str, what: str, rank: Callable[[Path], int | None]) -> Path:
    """The file called as it should be, else the one that ranks first, 0 being the best and None no rank."""
    fixed = folder / FIXED[kind]
    if fixed.is_file():
        return fixed
    ranks = {path: rank(path) for path in sorted(folder.glob(f"*{fixed.suffix}")) if path.is_file()}
    first = min((number for number in ranks.values() if number is not None), default=-1)
    found = [path for path, number in ranks.items() if number == first]
    if not found:
        raise FgsnError(f"{folder} holds no *{fixed.suffix} file with the {what}; call it {fixed.name} if it is there")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise FgsnError(f"{folder} holds several files with the {what}: {names}; link the right one as {fixed.name}")
    return found[0]


def _pairs(path: Path, known: set[str]) -> list[tuple[str, str]]:
    """The pairs of a list whose first image is a query."""
    lines = (line.split() for _, line in numbered_lines(path))
    return [(names[0], names[1]) for names in lines if len(names) == 2 and names[0] in known]


def _begins(path: Path, known: set[str]) -> int | None:
    """0 for a list whose first pair is one of a query."""
    try:
        names = next((line.split() for _, line in numbered_lines(path)), [])
    except FgsnError:
        return None  # no text, and not what is looked for
    return 0 if len(names) == 2 and names[0] in known else None


def _first_in(path: Path, wanted: Sequence[Sequence[str]]) -> int | None:
    """Which is the first that a file has under any of its keys; an image or a pair may be missing in it."""
    try:
        with h5py.File(path, "r") as file:
            return next((number for number, keys in enumerate(wanted) if any(key in file for key in keys)), None)
    except OSError:
        return None

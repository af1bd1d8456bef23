"""hloc's files: pairs of images, key points (features.h5) and their matches (matches.h5).

hloc's key points have pixel centres at integers, as everywhere in fgsn.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError, NoMatchesError
from fgsn.files import numbered_lines
from fgsn.formats.hdf5 import member, opened, stored_array
from fgsn.formats.lists import shortened

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
FIXED = {"pairs": "pairs.txt", "features": "features.h5", "matches": "matches.h5"}


class HlocFiles(NamedTuple):
    """The files that localization needs."""

    pairs: Path
    features: Path
    matches: Path


def find_hloc_files(folder: Path, queries: Sequence[str]) -> HlocFiles:
    """Find the pairs of the queries, their key points and their matches in hloc's output folder.

    hloc names files after its settings. A file called pairs.txt, features.h5 or matches.h5 is taken as such; otherwise
    the file is chosen by its content. Raises FgsnError if the folder or a file is missing, or several files fit.
    """
    if not folder.is_dir():
        raise FgsnError(f"{folder} is not a folder; --hloc requires the folder with hloc's outputs")
    known = set(queries)
    pairs = _one(folder, "pairs", "list of pairs 'query database' of these queries", lambda path: _begins(path, known))
    found = [(query, name) for query, names in read_pairs(pairs).items() if query in known for name in names]
    if not found:
        raise FgsnError(f"{pairs} has no pairs of the query '{queries[0]}'")
    query, database = found[0]
    features = _one(
        folder, "features", f"key points of '{query}'",
        lambda path: _first_in(path, [[f"{name}/keypoints"] for name, _ in found]),
    )  # fmt: skip
    matches = _one(
        folder, "matches", f"matches of '{query}' with '{database}'",
        lambda path: _first_in(path, [[f"{key}/matches0" for key, _ in _pair_keys(*pair)] for pair in found]),
    )  # fmt: skip
    return HlocFiles(pairs, features, matches)


def read_pairs(path: Path | str) -> dict[str, list[str]]:
    """Read hloc's list of pairs, `query database` per line: the database images of every query, in order.

    Raises:
        FgsnError: the file is missing, contains no pair, or a line does not contain exactly two names.
    """
    pairs: dict[str, list[str]] = {}
    for number, line in numbered_lines(path):
        names = line.split()
        if len(names) != 2:
            raise FgsnError(f"{path}:{number}: expected 'query database', two names without spaces: {shortened(line)}")
        others = pairs.setdefault(names[0], [])
        if names[1] not in others:
            others.append(names[1])
    if not pairs:
        raise FgsnError(f"{path} contains no pairs")
    return pairs


def read_key_points(path: Path, name: str) -> Floats:
    """Key points (P, 2) of an image.

    Raises:
        NoMatchesError: the file does not contain them.
        FgsnError: the file is missing or damaged, or they are not finite points.
    """
    what = f"key points of '{name}'"
    with opened(path) as file:
        values = _array(file, f"{name}/keypoints", what)
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind not in "fiu":
        raise FgsnError(f"{path}: the {what} should be (N, 2), not {values.shape}")
    pixels = values[:, :2].astype(np.float64)
    if not np.isfinite(pixels).all():
        raise FgsnError(f"{path}: the {what} are not finite")
    return pixels


def read_image_size(path: Path, name: str) -> tuple[int, int] | None:
    """Width and height of the image that key points were found in; None if the file does not say.

    Raises FgsnError if the file is missing or damaged.
    """
    with opened(path) as file:
        if member(file, f"{name}/image_size") is None:
            return None
        width, height = stored_array(file, f"{name}/image_size").ravel()[:2].astype(np.int64).tolist()
        return width, height


def read_pair_matches(
    path: Path, query: str, database: str, in_query: int, in_database: int
) -> tuple[Rows, Rows, Floats]:
    """Read the matches of a query with a database image, of which the numbers of key points are given.

    Returns:
        Matched key points of the query (n,), of the database image (n,), and their scores (n,).

    Raises:
        NoMatchesError: the file does not contain the pair.
        FgsnError: the file is missing or damaged, or the matches do not fit the number of key points.
    """
    what = f"matches of '{query}' with '{database}'"
    with opened(path) as file:
        known = [(key, turned) for key, turned in _pair_keys(query, database) if member(file, key) is not None]
        if not known:
            raise NoMatchesError(f"{path} has no {what}")
        key, reverse = known[0]
        partner = _array(file, f"{key}/matches0", what).ravel()
        scored = member(file, f"{key}/matching_scores0") is not None
        scores = _array(file, f"{key}/matching_scores0", what).ravel() if scored else np.ones(len(partner))
    first, second = (in_database, in_query) if reverse else (in_query, in_database)
    if partner.dtype.kind not in "iu" or len(partner) != len(scores) or len(partner) > first:
        raise FgsnError(f"{path}: the {what} are {len(partner)} for {first} key points: not of these features")
    partner = partner.astype(np.int64)  # may end at the last matched key point, as from LoFTR
    if len(partner) and not -1 <= partner.min() <= partner.max() < second:
        raise FgsnError(f"{path}: the {what} name a key point that is not there: not of these features")
    matched = np.nonzero(partner >= 0)[0]
    scores = np.nan_to_num(scores[matched].astype(np.float64))
    return (partner[matched], matched, scores) if reverse else (matched, partner[matched], scores)


def image_names(file: h5py.File) -> list[str]:
    """Names of the images that a features.h5 has key points of, sorted."""
    names: list[str] = []
    ending = "/keypoints"
    file.visititems(lambda name, _: names.append(name.removesuffix(ending)) if name.endswith(ending) else None)
    return sorted(names)


def _array(file: h5py.File, key: str, what: str) -> NDArray[Any]:
    if not isinstance(member(file, key), h5py.Dataset):
        raise NoMatchesError(f"{file.filename} has no {what}")
    return stored_array(file, key)


def _pair_keys(query: str, database: str) -> list[tuple[str, bool]]:
    """The groups in which the matches of a pair may be, and whether each has the images the other way round.

    A pair is a group in a group or, in files of older versions, one group with both names; either image may be first.
    """
    one, other = query.replace("/", "-"), database.replace("/", "-")
    return [(f"{one}/{other}", False), (f"{other}/{one}", True), (f"{one}_{other}", False), (f"{other}_{one}", True)]


def _one(folder: Path, kind: str, what: str, rank: Callable[[Path], int | None]) -> Path:
    """The file with the fixed name, or else the one with the lowest rank; None is no rank."""
    fixed = folder / FIXED[kind]
    if fixed.is_file():
        return fixed
    ranks = {path: rank(path) for path in sorted(folder.glob(f"*{fixed.suffix}")) if path.is_file()}
    first = min((number for number in ranks.values() if number is not None), default=-1)
    found = [path for path, number in ranks.items() if number == first]
    if not found:
        raise FgsnError(f"{folder} contains no *{fixed.suffix} file with the {what}; name it {fixed.name} if it exists")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise FgsnError(f"{folder} contains several files with the {what}: {names}; link the right one as {fixed.name}")
    return found[0]


def _begins(path: Path, known: set[str]) -> int | None:
    """0 for a list whose first pair is one of a query."""
    try:
        names = next((line.split() for _, line in numbered_lines(path)), [])
    except FgsnError:
        return None  # not a text file
    return 0 if len(names) == 2 and names[0] in known else None


def _first_in(path: Path, candidates: Sequence[Sequence[str]]) -> int | None:
    """The first candidate that the file contains under any of its keys; some images or pairs may be missing."""
    try:
        with opened(path) as file:
            found = (any(member(file, key) is not None for key in keys) for keys in candidates)
            return next((number for number, there in enumerate(found) if there), None)
    except FgsnError:
        return None

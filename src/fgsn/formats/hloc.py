"""hloc's files: pairs of images, key points (features.h5) and their matches (matches.h5).

hloc matches key points of image pairs. A query's key point that matches a database key point where the database image
observes a map point is a match of the query with that point.

hloc's key points have pixel centres at integers, as everywhere in fgsn; COLMAP's lie at +0.5, which `read_model` has
taken off.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.formats.hdf5 import stored_array
from fgsn.formats.lists import numbered_lines, shortened
from fgsn.localization.labelled_map import LabelledMap
from fgsn.localization.matches import REACH, Matches2D3D, NoMatchesError, points_at, unique_matches
from fgsn.progress import say

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


def read_pairs(path: Path | str) -> dict[str, list[str]]:
    """Read hloc's list of pairs, `query database` per line: the database images of every query, in order.

    Raises:
        FgsnError: the file is missing, holds no pair, or a line holds other than two names.
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
        raise FgsnError(f"{path} holds no pairs")
    return pairs


@dataclass(frozen=True, eq=False)
class HlocMatches:
    """hloc's files beside a map; made by `open_hloc_matches`."""

    map: LabelledMap
    image_rows: dict[str, int]
    """Row of every image of the map."""
    pairs: dict[str, list[str]]
    """The database images of every query."""
    pairs_file: Path
    matches: h5py.File
    features: h5py.File
    database_features: h5py.File
    reach: float
    _points: dict[str, Rows] = field(default_factory=dict)

    def of(self, query: str) -> Matches2D3D:
        """The matches of one query with map points.

        Raises:
            NoMatchesError: the query has no pairs, an image no key points, or a pair no matches.
            FgsnError: a file is damaged, or the matches are of other key points.
        """
        if query not in self.pairs:
            raise NoMatchesError(f"{self.pairs_file} has no pairs of the query '{query}'")
        pixels = _key_points(self.features, query)
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        for name in self.pairs[query]:
            if name in self.image_rows:
                points = self._points_of(name)
                of_query, of_database, scores = _pair(self.matches, query, name, len(pixels), len(points))
                known = points[of_database] >= 0
                found.append((of_query[known], points[of_database[known]], scores[known]))
        of_query, points, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return unique_matches(pixels, of_query, points, scores)

    def _points_of(self, name: str) -> Rows:
        """The map point (P,) at every key point of a database image, -1 for none; found once."""
        if name not in self._points:
            image, key_points = self.image_rows[name], _key_points(self.database_features, name)
            pixels, points = self.map.pixels_of(image), self.map.points_of(image)
            self._points[name] = points_at(key_points, pixels, points, self.map.observations, self.reach)
        return self._points[name]


@contextmanager
def open_hloc_matches(
    labelled: LabelledMap,
    pairs: Path | str,
    features: Path | str,
    matches: Path | str,
    database_features: Path | str | None = None,
    reach: float = REACH,
) -> Iterator[HlocMatches]:
    """Open hloc's files; database images that the map lacks are passed over, and told of in one line.

    Args:
        labelled: the map, with or without labels.
        pairs: list of `query database`.
        features: .h5 file with the queries' key points.
        matches: .h5 file with the matches of the pairs.
        database_features: .h5 file with the database images' key points, where it is another.
        reach: how far a key point may be from an observation of the map to be that observation, in pixels.

    Raises:
        FgsnError: a file is missing or damaged, or the map holds no database image of any pair.
    """
    lists = read_pairs(pairs)
    rows = {name: row for row, name in enumerate(labelled.names)}
    database = {name for names in lists.values() for name in names}
    absent = sorted(database - rows.keys())
    if len(absent) == len(database):
        hint = f"is called for example '{labelled.names[0]}' in the map"
        raise FgsnError(f"{pairs}: no database image is in the map: '{absent[0]}' is not; an image {hint}")
    if absent:
        say(f"{pairs}: {len(absent)} of {len(database)} database images are not in the map, first '{absent[0]}'")
    with ExitStack() as stack:
        files = {features, matches, database_features or features}
        opened = {path: stack.enter_context(_opened(Path(path))) for path in files}
        yield HlocMatches(
            labelled, rows, lists, Path(pairs), opened[matches], opened[features],
            opened[database_features or features], reach,
        )  # fmt: skip


def _opened(path: Path) -> h5py.File:
    if not path.is_file():
        raise FgsnError(f"{path} does not exist or is not a file")
    try:
        return h5py.File(path, "r")
    except OSError:
        raise FgsnError(f"{path} is no HDF5 file, or it is damaged") from None


def _key_points(file: h5py.File, name: str) -> Floats:
    """Key points (P, 2) of an image."""
    values = _dataset(file, f"{name}/keypoints", f"key points of '{name}'")
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind not in "fiu":
        raise FgsnError(f"{file.filename}: the key points of '{name}' should be (N, 2), not {values.shape}")
    pixels = values[:, :2].astype(np.float64)
    if not np.isfinite(pixels).all():
        raise FgsnError(f"{file.filename}: the key points of '{name}' are not finite")
    return pixels


def pair_keys(query: str, database: str) -> list[tuple[str, bool]]:
    """The groups in which the matches of a pair may be, and whether each has the images the other way round.

    A pair is a group in a group or, in files of older versions, one group with both names; either image may be first.
    """
    one, other = query.replace("/", "-"), database.replace("/", "-")
    return [(f"{one}/{other}", False), (f"{other}/{one}", True), (f"{one}_{other}", False), (f"{other}_{one}", True)]


def _pair(file: h5py.File, query: str, database: str, in_query: int, in_database: int) -> tuple[Rows, Rows, Floats]:
    """Matched key points of the query (n,), of the database image (n,), and their scores (n,)."""
    what = f"matches of '{query}' with '{database}'"
    with _reading(file, what):
        key, reverse = next(((key, turned) for key, turned in pair_keys(query, database) if key in file), ("", False))
    if not key:
        raise NoMatchesError(f"{file.filename} has no {what}")
    partner = _dataset(file, f"{key}/matches0", what).ravel()
    with _reading(file, what):
        scored = f"{key}/matching_scores0" in file
    scores = _dataset(file, f"{key}/matching_scores0", what).ravel() if scored else np.ones(len(partner))
    first, second = (in_database, in_query) if reverse else (in_query, in_database)
    if scores.dtype.kind not in "fiu" or partner.dtype.kind not in "iu" or not len(partner) == len(scores) == first:
        raise FgsnError(f"{file.filename}: the {what} are {len(partner)} for {first} key points: not of these features")
    partner = partner.astype(np.int64)
    if len(partner) and not -1 <= partner.min() <= partner.max() < second:
        raise FgsnError(f"{file.filename}: the {what} name a key point that is not there: not of these features")
    matched = np.nonzero(partner >= 0)[0]
    scores = np.nan_to_num(scores[matched].astype(np.float64))
    return (partner[matched], matched, scores) if reverse else (matched, partner[matched], scores)


def _dataset(file: h5py.File, key: str, what: str) -> NDArray[Any]:
    """An array of a file."""
    with _reading(file, what):
        if isinstance(file.get(key), h5py.Dataset):
            return stored_array(file, key)
    raise NoMatchesError(f"{file.filename} has no {what}")


@contextmanager
def _reading(file: h5py.File, what: str) -> Iterator[None]:
    """What h5py raises over a damaged file, in one line."""
    try:
        yield
    except FgsnError as error:
        raise FgsnError(f"{file.filename}: the {what} cannot be read: {error}") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, AttributeError):
        raise FgsnError(f"{file.filename} is damaged: the {what} cannot be read") from None

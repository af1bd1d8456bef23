"""Matches of queries with map points, from hloc's files."""

from dataclasses import dataclass
from pathlib import Path

from fgsn.errors import FgsnError, NoMatchesError
from fgsn.formats.hdf5 import opened
from fgsn.formats.hloc import Floats, Rows, read_image_size, read_key_points, read_pair_matches, read_pairs
from fgsn.localization.labelled_map import LabelledMap
from fgsn.localization.matches import MatchSource
from fgsn.progress import say


@dataclass(frozen=True, eq=False)
class HlocMatches(MatchSource):
    """Matches from hloc's files; made by `open_hloc_matches`."""

    pairs: dict[str, list[str]]
    """The database images of every query."""
    pairs_file: Path
    features: Path
    matches: Path

    def partners(self, query: str) -> list[str]:
        """The query's database images that are in the map."""
        if query not in self.pairs:
            raise NoMatchesError(f"{self.pairs_file} has no pairs of the query '{query}'")
        return [name for name in self.pairs[query] if name in self.row_of]

    def stored_size(self, name: str) -> tuple[int, int] | None:
        """The image_size in features.h5."""
        return read_image_size(self.features, name)

    def key_points(self, name: str) -> Floats:
        """From features.h5."""
        return read_key_points(self.features, name)

    def pair(self, query: str, image: str, in_query: int, in_image: int) -> tuple[Rows, Rows, Floats]:
        """From matches.h5."""
        return read_pair_matches(self.matches, query, image, in_query, in_image)


def open_hloc_matches(
    labelled: LabelledMap, pairs: Path | str, features: Path | str, matches: Path | str
) -> HlocMatches:
    """Check hloc's files and read the pairs; database images that the map lacks are skipped and reported in one line.

    Args:
        labelled: the map, with or without labels.
        pairs: list of `query database`.
        features: .h5 file with the key points of queries and database images.
        matches: .h5 file with the matches of the pairs.

    Raises:
        FgsnError: a file is missing or damaged, or the map contains no database image of any pair.
    """
    lists = read_pairs(pairs)
    database, known = {name for names in lists.values() for name in names}, set(labelled.names)
    absent = sorted(database - known)
    if len(absent) == len(database):
        hint = f"is called for example '{labelled.names[0]}' in the map"
        raise FgsnError(f"{pairs}: no database image is in the map: '{absent[0]}' is not; an image {hint}")
    if absent:
        say(f"{pairs}: {len(absent)} of {len(database)} database images are not in the map, first '{absent[0]}'")
    found = HlocMatches(labelled, lists, Path(pairs), Path(features), Path(matches))
    for path in (found.features, found.matches):
        with opened(path):
            pass
    return found

"""Matches of the local features of two images, and the files that keep them: hloc's matches.h5."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from fgsn.errors import FgsnError
from fgsn.formats.hdf5 import stamped_arrays, write_stamp, written

FeatureMatches = tuple[Int64[np.ndarray, "matches 2"], Float32[np.ndarray, " matches"]]
"""Rows of the matched features in both images, and the score of each match, 0 to 1."""


def no_matches() -> FeatureMatches:
    """The matches of two images that have none."""
    return np.empty((0, 2), np.int64), np.empty(0, np.float32)


def write_matches(path: Path, a: str, b: str, count: int, matches: FeatureMatches, stamp: str = "") -> None:
    """Write the matches of the images `a` and `b` in hloc's layout, atomically; `a` has `count` features."""
    rows, scores = matches
    partners, certainty = np.full(count, -1, np.int32), np.zeros(count, np.float32)
    partners[rows[:, 0]], certainty[rows[:, 0]] = rows[:, 1], scores
    with written(path) as file:
        write_stamp(file, stamp)
        group = file.create_group(_group(a, b))
        group["matches0"], group["matching_scores0"] = partners, certainty


def read_matches(path: Path, a: str, b: str, stamp: str | None = None) -> FeatureMatches | None:
    """Read the matches of a pair from hloc's matches.h5 or a file of `write_matches`.

    Returns:
        Rows in both images, and scores; None if the file does not exist, has another stamp, or lacks the pair.

    Raises:
        FgsnError: the file is damaged or has another layout.
    """
    try:
        arrays = stamped_arrays(path, _group(a, b), ("matches0", "matching_scores0"), stamp)
    except FgsnError as error:
        raise FgsnError(f"{path} contains no matches in hloc's layout: {error}") from None
    if arrays is None:
        return None
    partners, scores = arrays[0].astype(np.int64), arrays[1].astype(np.float32)
    if partners.ndim != 1 or partners.shape != scores.shape:
        raise FgsnError(f"{path} contains matches of shape {partners.shape} with scores of shape {scores.shape}")
    rows = np.nonzero(partners >= 0)[0]
    return np.stack([rows, partners[rows]], axis=1), scores[rows]


def _group(a: str, b: str) -> str:
    return "/".join(name.replace("/", "-") for name in (a, b))

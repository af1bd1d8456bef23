"""Which images to match: by a list, all, by order along the route, by position, or by likeness."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from fgsn.errors import FgsnError, nearest
from fgsn.files import natural_order, read_lines

Pairs = list[tuple[str, str]]
"""Names of a reference image and of a target image, each pair once."""

_EARTH_RADIUS = 6_371_000.0  # metres


def listed_pairs(path: Path, reference: Sequence[str], targets: Sequence[str]) -> Pairs:
    """Pairs of a text file, one `reference target` per line; turned round where the target comes first.

    Raises:
        FgsnError: a line does not hold two names, or not a reference image and a target image that exist.
    """
    here, there = set(reference), set(targets)
    pairs: dict[tuple[str, str], None] = {}
    for line in read_lines(path):
        names = line.split()
        if len(names) != 2:
            raise FgsnError(f"{path}: '{line}' should be two image names, parted by a space")
        for name in names:
            if name not in here and name not in there:
                raise FgsnError(f"{path} lists '{name}', which is none of the images; {nearest(name, here | there)}")
        if names[0] not in here:
            names.reverse()
        if names[0] not in here or names[1] not in there:
            raise FgsnError(f"{path}: '{line}' should be a reference image and an image of another condition")
        pairs[names[0], names[1]] = None
    return list(pairs)


def all_pairs(reference: Sequence[str], targets: Sequence[str]) -> Pairs:
    """Every reference image with every target image."""
    return [(a, b) for a in reference for b in targets]


def pairs_in_order(reference: Sequence[str], targets: Sequence[str], count: int) -> Pairs:
    """Each reference image with the `count` target images that are as far along the route, by the order of names.

    Where both conditions have equally many images the first belongs to the first, the second to the second, and so on.
    """
    here, there = sorted(reference, key=natural_order), sorted(targets, key=natural_order)
    pairs = []
    for place, name in enumerate(here):
        middle = place * (len(there) - 1) / max(len(here) - 1, 1)
        ranks = sorted(range(len(there)), key=lambda rank: (abs(rank - middle), rank))
        pairs += [(name, there[rank]) for rank in sorted(ranks[:count])]
    return pairs


def neighbours_in_order(names: Sequence[str], count: int) -> Pairs:
    """Each image with the `count` next ones of its traversal, by the order of names."""
    ordered = sorted(names, key=natural_order)
    return [(name, other) for place, name in enumerate(ordered) for other in ordered[place + 1 : place + 1 + count]]


def pairs_by_position(
    reference: Sequence[str],
    targets: Sequence[str],
    positions: Mapping[str, Float[np.ndarray, " axes"]],
    count: int,
    farthest: float,
) -> Pairs:
    """Each reference image with the `count` nearest target images.

    Args:
        reference: names.
        targets: names.
        positions: of images, in metres or another unit; those without one get no pair.
        count: how many, at most.
        farthest: distance that is too far, in the unit of the positions.

    Raises:
        FgsnError: no image of one side has a position.
    """
    here, there = ([name for name in names if name in positions] for names in (reference, targets))
    if not here or not there:
        raise FgsnError("no reference image or no target image has a position; check the names in the positions file")
    tree = KDTree([positions[name] for name in there])
    distance, rank = tree.query([positions[name] for name in here], k=min(count, len(there)))
    distance, rank = np.reshape(distance, (len(here), -1)), np.reshape(rank, (len(here), -1))
    return [
        (name, there[rank[row, column]])
        for row, name in enumerate(here)
        for column in range(rank.shape[1])
        if distance[row, column] <= farthest
    ]


def read_positions(path: Path, geographic: bool = False) -> dict[str, Float[np.ndarray, " axes"]]:
    """Read a text file of positions, one `name x y [z]` per line (commas may part them, too).

    Args:
        path: the file.
        geographic: the numbers are latitude and longitude in degrees (and a height in metres, which is left out), to
            be turned into metres east and north of the first one.

    Raises:
        FgsnError: a line is of another form, or degrees are out of range.
    """
    positions: dict[str, Float[np.ndarray, " axes"]] = {}
    for line in read_lines(path):
        name, *values = line.replace(",", " ").split()
        try:
            position = np.array([float(value) for value in values])
        except ValueError:
            position = np.empty(0)
        if len(position) not in (2, 3) or not np.isfinite(position).all():
            raise FgsnError(f"{path}: '{line}' should be an image name and two or three numbers")
        if geographic and (abs(position[0]) > 90 or abs(position[1]) > 360):
            raise FgsnError(f"{path}: '{line}' should be a latitude within 90 and a longitude within 360 degrees")
        positions[name] = position
    if len({len(position) for position in positions.values()}) > 1:
        raise FgsnError(f"{path}: some lines have two numbers and some three")
    return _metres(positions) if geographic and positions else positions


def _metres(positions: dict[str, Float[np.ndarray, " axes"]]) -> dict[str, Float[np.ndarray, " axes"]]:
    """Degrees to metres on the plane that touches the sphere at the first position."""
    first = np.radians(next(iter(positions.values()))[:2])
    found = {}
    for name, position in positions.items():
        north, east = np.radians(position[:2]) - first
        east = (east + np.pi) % (2 * np.pi) - np.pi
        found[name] = _EARTH_RADIUS * np.array([east * np.cos(first[0]), north])
    return found

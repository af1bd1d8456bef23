"""Which images to match: listed pairs, all, by order along the route, or by position."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from fgsn.errors import FgsnError, nearest
from fgsn.files import natural_order, read_lines

Pairs = list[tuple[str, str]]
"""Names of a reference and a target image, each pair once."""


def listed_pairs(path: Path, reference: Sequence[str], targets: Sequence[str], broken: Collection[str] = ()) -> Pairs:
    """Read the pairs of a text file, one `reference target` per line; swapped where the target comes first.

    Pairs of `broken` images, which are not among the others, are left out.

    Raises:
        FgsnError: a line is not the names of a known reference image and a known target image.
    """
    here, there = set(reference), set(targets)
    pairs: dict[tuple[str, str], None] = {}
    for line in read_lines(path):
        names = line.split()
        if len(names) != 2:
            raise FgsnError(f"{path}: '{line}' should be two image names separated by a space")
        for name in names:
            if name not in here and name not in there and name not in broken:
                raise FgsnError(f"{path} lists the unknown image '{name}'; {nearest(name, here | there)}")
        if not set(names).isdisjoint(broken):
            continue
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
    """Each reference image with the `count` target images at about the same place in the order of names.

    If both conditions have the same number of images, the first goes with the first, the second with the second, ...
    """
    here, there = sorted(reference, key=natural_order), sorted(targets, key=natural_order)
    pairs = []
    for row, name in enumerate(here):
        middle = row * (len(there) - 1) / max(len(here) - 1, 1)
        near = range(max(0, int(middle) - count), min(len(there), int(middle) + count + 2))
        ranks = sorted(near, key=lambda rank: (abs(rank - middle), rank))
        pairs += [(name, there[rank]) for rank in sorted(ranks[:count])]
    return pairs


def neighbours_in_order(names: Sequence[str], count: int) -> Pairs:
    """Each image with the next `count` images of its traversal, in the order of names."""
    ordered = sorted(names, key=natural_order)
    return [(name, other) for row, name in enumerate(ordered) for other in ordered[row + 1 : row + 1 + count]]


def pairs_by_position(
    reference: Sequence[str],
    targets: Sequence[str],
    positions: Mapping[str, Float[np.ndarray, " axes"]],
    count: int,
    farthest: float,
) -> Pairs:
    """Each reference image with the `count` nearest target images, those up to `farthest` away, in the positions' unit.

    Images without a position get no pair.

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


def read_positions(path: Path) -> dict[str, Float[np.ndarray, " axes"]]:
    """Read a text file of positions, one `name x y [z]` per line (commas may separate them).

    Raises:
        FgsnError: a line has another form.
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
        positions[name] = position
    if len({len(position) for position in positions.values()}) > 1:
        raise FgsnError(f"{path}: some lines have two numbers, others three")
    return positions

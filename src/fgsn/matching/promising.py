"""Which candidate pairs are worth a slow matcher: those whose nearest neighbours agree with one another."""

from collections import defaultdict
from collections.abc import Callable, Hashable

import numpy as np

from fgsn.matching.candidates import Pairs
from fgsn.matching.features import Features
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.nearest import mutual_nearest
from fgsn.matching.pair import RefusedPair
from fgsn.matching.two_view import consistent, usual_noise
from fgsn.progress import tracked

LEAST_SHARE = 0.1
"""Share of agreeing neighbours below which two images show different places; by chance, 0.02 to 0.1 of them agree."""
LEAST_OF_BEST = 0.4
"""Agreeing neighbours that a pair needs, relative to the best pair of its group."""
SPARE = 1
"""Pairs to match beyond those that are wanted: the pair with the most agreeing neighbours is not always the best."""
OTHER_PLACE, OTHERS_BETTER = "skipped: too few key points agree", "skipped: other pairs agree better"


def promising(
    features: Features, pairs: Pairs, group_of: Callable[[str, str], Hashable], count: int
) -> tuple[Pairs, list[RefusedPair]]:
    """Choose the pairs that a slow matcher is likely to match, before it sees any.

    Args:
        features: of the images.
        pairs: candidates.
        group_of: the group of a pair.
        count: number of matched pairs that are wanted of each group.

    Returns:
        The pairs to match, at most `count + SPARE` per group, and the others with the reason.
    """
    groups: dict[Hashable, list[tuple[int, float, tuple[str, str]]]] = defaultdict(list)
    for pair in tracked(pairs, "comparing candidates", len(pairs), unit=" pairs"):
        groups[group_of(*pair)].append((*agreement(features[pair[0]], features[pair[1]]), pair))
    chosen: Pairs = []
    skipped: list[RefusedPair] = []
    for group in groups.values():
        group.sort(key=lambda row: -row[0])
        for rank, (agreeing, share, pair) in enumerate(group):
            if share < LEAST_SHARE:
                skipped.append(RefusedPair(*pair, OTHER_PLACE))
            elif rank >= count + SPARE or agreeing < LEAST_OF_BEST * group[0][0]:
                skipped.append(RefusedPair(*pair, OTHERS_BETTER))
            else:
                chosen.append(pair)
    return chosen, skipped


def agreement(a: Keypoints, b: Keypoints) -> tuple[int, float]:
    """Number of mutual nearest neighbours that agree with those around them, and their share of all."""
    rows, _ = mutual_nearest(a.descriptors, b.descriptors)
    if not len(rows):
        return 0, 0.0
    pixels_a, pixels_b = a.pixels[rows[:, 0]].astype(np.float64), b.pixels[rows[:, 1]].astype(np.float64)
    diagonal = max(float(np.hypot(*size)) for size in (a.size, b.size))
    agreeing = int(consistent(pixels_a, pixels_b, diagonal, usual_noise((a.size, b.size))).sum())
    return agreeing, agreeing / len(rows)

"""Which matches of two images are right, by the correspondences that are known between them."""

import numpy as np
from jaxtyping import Float

from fgsn.data.correspondences import Correspondences
from fgsn.matching.local import Points, predict

RIGHT, WRONG = 0.01, 0.025
"""Distance from the true partner up to which a match is right, and beyond which it is wrong, in diagonals."""
_KNOWN = 0.05  # largest distance, in diagonals, of the correspondences that tell the true partner of a key point
_NOISE = 0.002  # typical error of a correspondence, in diagonals

Size = tuple[int, int]


def distance_from_truth(
    pair: Correspondences, reference: Points, target: Points, sizes: tuple[Size, Size]
) -> Float[np.ndarray, " matches"]:
    """How far matches lie from their true partners, which the correspondences around them tell.

    Returns:
        Distances in diagonals of the target image; NaN where no correspondences surround the key point.
    """
    if not len(reference) or not len(pair.points_ref):
        return np.full(len(reference), np.nan)
    of_reference, of_target = (float(np.hypot(*size)) for size in sizes)
    true = predict(pair.points_ref, pair.points_tgt, reference.astype(np.float64), _NOISE * of_target)
    distance = np.linalg.norm(target - true.points, axis=1) / of_target
    return np.where(true.surrounded & (true.reach < _KNOWN * of_reference), distance, np.nan)

"""From pairs of images to correspondences: match, verify, refine, and densify on request."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.matching.densify import densify, largest_good_error, smoothed
from fgsn.matching.features import Features
from fgsn.matching.pair import MatchedPair, RefusedPair
from fgsn.matching.two_view import LEAST_MATCHES, TwoView, verify
from fgsn.progress import Meter

_APART = 0.005  # of the diagonal: smallest distance of a grid point from a match


def match_images(
    features: Features,
    pairs: Sequence[tuple[str, str]],
    dense: bool = False,
    cameras: Mapping[str, Camera] | None = None,
) -> Iterator[MatchedPair | RefusedPair]:
    """Find the correspondences of pairs of images, with progress; cached matches are reused.

    Yields:
        For every pair, in order, its correspondences with estimated errors, or the reason why it is refused.
    """
    features.extract(name for pair in pairs for name in pair)
    features.match_all(pairs)
    with Meter("verifying", len(pairs), unit=" pairs") as meter:
        for reference, target in pairs:
            yield match_pair(features, reference, target, dense, cameras)
            meter.step()


def match_pair(
    features: Features, reference: str, target: str, dense: bool = False, cameras: Mapping[str, Camera] | None = None
) -> MatchedPair | RefusedPair:
    """Find the correspondences of one pair; see `match_images`."""
    try:
        view, points_ref, points_tgt = verified_matches(features, reference, target, cameras)
    except FgsnError as error:
        return RefusedPair(reference, target, str(error))
    if view.refusal:
        return RefusedPair(reference, target, view.refusal)
    sizes = features[reference].size, features[target].size
    refined = smoothed(points_ref[view.inliers], points_tgt[view.inliers], view, sizes)
    inside = ((refined[1] >= 0) & (refined[1] <= np.array(sizes[1]) - 1)).all(axis=1)
    good = inside & (refined[2] < largest_good_error(sizes))
    columns = [column[good] for column in refined]
    if good.sum() < LEAST_MATCHES:
        return RefusedPair(reference, target, f"only {good.sum()} of {len(good)} verified matches are accurate enough")
    if dense:
        more = densify(points_ref[view.inliers], points_tgt[view.inliers], view, sizes)
        apart = KDTree(columns[0]).query(more[0])[0] > _APART * np.hypot(*sizes[0])
        columns = [np.concatenate([column, extra[apart]]) for column, extra in zip(columns, more, strict=True)]
    return MatchedPair(reference, target, *columns)


def verified_matches(
    features: Features, a: str, b: str, cameras: Mapping[str, Camera] | None = None
) -> tuple[TwoView, Float[np.ndarray, "matches 2"], Float[np.ndarray, "matches 2"]]:
    """Match two images and verify the matches.

    Returns:
        The two-view geometry with its inliers, and the pixels of all matches in both images.

    Raises:
        FgsnError: an image is unknown or damaged.
    """
    rows, _ = features.match(a, b)
    sizes = features[a].size, features[b].size
    points_a, points_b = features[a].pixels[rows[:, 0]], features[b].pixels[rows[:, 1]]
    known = (cameras[a], cameras[b]) if cameras and a in cameras and b in cameras else None
    view = verify(points_a, points_b, sizes, known)
    return view, points_a.astype(np.float64), points_b.astype(np.float64)

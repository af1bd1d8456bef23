"""Check poses by verified image matches: that they are read as they are meant, and that conditions share a frame.

Surfaces cannot be compared instead: between seasons they are not the same ones, where leaves stand for bare twigs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fgsn import extras
from fgsn.correspond.point_map import LARGEST_ERROR
from fgsn.errors import FgsnError, MissingExtraError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages, join
from fgsn.geometry.readings import EXPECTED, other_readings
from fgsn.matching.features import Features
from fgsn.matching.pairwise import verified_matches
from fgsn.matching.similar import similar_pairs
from fgsn.matching.triangulate import consistent
from fgsn.matching.two_view import LEAST_MATCHES, pinhole, undistorted

Array = NDArray[np.float64]
Match = tuple[str, str, Array, Array]  # two names, and the pixels (N, 2) of verified matches in both images
_IMAGES, _TARGETS, _SIMILAR = 12, 24, 2  # images of the reference, of a condition, and the most similar ones of those
_PAIRS = 2  # fewer localized images say nothing about a frame
_READING_PAIRS = 40
_NEAR = 0.01  # of the diagonal: where a match takes its depth from a point of the map
_PRECISE = 2.0  # pixels
_LEAST_SHARE, _CLEARLY = 0.3, 1.5  # of the matches that another meaning must explain, and times what the given one does


def verified(features: Features, images: PosedImages, pairs: Sequence[tuple[str, str]]) -> list[Match]:
    """The pairs whose matches are verified, without the use of poses; images that cannot be read are left out."""
    cameras = {name: images.camera(row) for row, name in enumerate(images.names)}
    found: list[Match] = []
    for one, other in pairs:
        try:
            view, here, there = verified_matches(features, one, other, cameras)
        except MissingExtraError:
            raise
        except FgsnError:
            continue
        if not view.refusal:
            found.append((one, other, here[view.inliers], there[view.inliers]))
    return found


def check_reading(images: PosedImages, features: Features, pairs: Sequence[tuple[str, str]], source: str) -> None:
    """Require that no other meaning of the poses explains the matches of neighbouring images far better.

    Args:
        images: images with poses, as they were read from `source`.
        pairs: names of images that were taken one after another.

    Raises:
        FgsnError: another meaning does: camera centres, inverted poses, quaternions with w last.
    """
    matches = verified(features, images, pairs[:: max(1, len(pairs) // _READING_PAIRS)])
    row = {name: number for number, name in enumerate(images.names)}

    def share(poses: Pose) -> float:
        read = PosedImages(images.names, images.cameras, images.camera_of, poses)
        fits = [consistent(read, row[one], row[other], here, there, _PRECISE) for one, other, here, there in matches]
        return float(np.concatenate(fits).mean()) if fits else 0.0

    given = share(images.camera_from_world)
    shares = {name: share(poses) for name, poses in other_readings(images.camera_from_world).items()}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > max(_LEAST_SHARE, _CLEARLY * given):
        raise FgsnError(
            f"{source} contains {best}: {given:.0%} of the verified matches of neighbouring images fit the poses as "
            f"given, but {shares[best]:.0%} if they are read so; {EXPECTED}"
        )


def check_frames(
    maps: Mapping[str, Reconstruction], features: Features, reference: str, trusted: bool
) -> tuple[dict[str, float], list[str]]:
    """Require that the maps of all conditions share the frame of the reference's.

    Images of one condition are localized in the map of another by their verified matches, and compared with their
    poses.

    Args:
        maps: a map of every condition.
        features: of the images, by the names in the maps; they need not be computed yet.
        trusted: report differences instead of refusing the maps (--trust-poses).

    Returns:
        The displacement of each other condition in pixels, 0 if it is unknown, and warnings.

    Raises:
        FgsnError: images of a condition are displaced by more than LARGEST_ERROR.
    """
    displaced, doubts = {}, []
    for condition, theirs in maps.items():
        if condition == reference:
            continue
        why = f"too few images of '{reference}' and '{condition}' match"
        try:
            shifts = _displacements(maps[reference], theirs, features)
        except MissingExtraError as error:
            shifts, why = [], str(error)
        shift = displaced[condition] = float(np.median(shifts)) if len(shifts) >= _PAIRS else 0.0
        if len(shifts) < _PAIRS:
            doubts.append(f"{condition}: not checked that its poses share the frame of '{reference}': {why}")
        if shift > LARGEST_ERROR:
            message = (
                f"the poses of '{reference}' and '{condition}' are in different frames: verified matches between "
                f"them put images {shift:.3g} pixels from their poses (median of {len(shifts)})"
            )
            if not trusted:
                raise FgsnError(f"{message}; register them to each other, or insist with --trust-poses")
            doubts.append(message)
            displaced[condition] = 0.0
    return displaced, doubts


def _displacements(ours: Reconstruction, theirs: Reconstruction, features: Features) -> list[float]:
    """How far pairs of images are from where verified matches with the other's map put them, in pixels."""
    pairs = _pairs(ours, theirs, features)
    features.match_all(pairs)
    shifts = []
    for one, other, here, there in verified(features, join([ours, theirs]), pairs):
        row, target = ours.names.index(one), theirs.names.index(other)
        both = _shift(ours, row, here, theirs, target, there), _shift(theirs, target, there, ours, row, here)
        shifts.append(max((shift for shift in both if shift is not None), default=None))
    return [shift for shift in shifts if shift is not None]


def _pairs(ours: Reconstruction, theirs: Reconstruction, features: Features) -> list[tuple[str, str]]:
    """Images all along the reference, each with the nearest one by pose and the most similar ones by appearance."""
    mine = _spread([row for row, name in enumerate(ours.names) if name in features.images], _IMAGES)
    others = np.array([row for row, name in enumerate(theirs.names) if name in features.images], np.int64)
    if not len(mine) or not len(others):
        return []
    apart = np.linalg.norm(
        ours.camera_from_world.centre[mine][:, None] - theirs.camera_from_world.centre[others][None], axis=2
    )
    looking = ours.camera_from_world.rotation[mine, 2] @ theirs.camera_from_world.rotation[others, 2].T
    near = others[np.argmin(apart + (looking < 0.5) * apart.max(), axis=1)]
    targets = np.union1d(_spread(others.tolist(), _TARGETS), near)
    names, target_names = [ours.names[row] for row in mine], [theirs.names[row] for row in targets]
    broken = features.extract([*names, *target_names])
    names, target_names = ([one for one in some if one not in broken] for some in (names, target_names))
    pairs = [(ours.names[one], theirs.names[other]) for one, other in zip(mine, near, strict=True)]
    pairs += similar_pairs(features, names, target_names, _SIMILAR) if names and target_names else []
    return [pair for pair in dict.fromkeys(pairs) if not broken.keys() & set(pair)]


def _shift(
    ours: Reconstruction, image: int, here: Array, theirs: Reconstruction, target: int, there: Array
) -> float | None:
    """Localize the target image in our map by matches (N, 2) with one of its images.

    Returns:
        The median distance in pixels between where its given and its estimated pose put the matched points, beyond the
        errors of the matches; None if these do not determine a pose.
    """
    seen = ours.track_image == image
    camera, other = ours.camera(image), theirs.camera(target)
    if seen.sum() < 1:
        return None
    apart, nearest = KDTree(ours.track_pixels[seen]).query(here)
    pose = ours.camera_from_world[image]
    depth = pose.transform(ours.points[ours.track_point[seen][nearest]])[:, 2]
    good = (apart < _NEAR * np.hypot(*camera.size)) & (depth > 0)
    if good.sum() < LEAST_MATCHES:
        return None
    world = pose.inverse().transform(camera.unproject(here[good], depth[good]))
    options = extras.poselib_options("RansacOptions", max_reproj_error=4 * LARGEST_ERROR)
    found, info = extras.poselib().estimate_absolute_pose(
        undistorted(other, there[good]), world, pinhole(other), options, {}
    )
    inliers = np.asarray(info["inliers"], bool)
    if inliers.sum() < LEAST_MATCHES:
        return None
    localized = other.project(Pose(np.asarray(found.R), np.asarray(found.t)).transform(world[inliers]))[0]
    given = theirs.project(target, world[inliers])[0]
    noise, shift = (
        float(np.median(np.nan_to_num(np.linalg.norm(localized - those, axis=1), nan=np.hypot(*other.size))))
        for those in (there[good][inliers], given)
    )
    return float(np.sqrt(max(shift**2 - noise**2, 0.0)))  # a localized pose is no better than its matches


def _spread(rows: Sequence[int], count: int) -> NDArray[np.int64]:
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    return np.asarray(rows, np.int64)[chosen]

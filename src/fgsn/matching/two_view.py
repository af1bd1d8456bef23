"""Which matches of two images can be one rigid scene, and whether the pair can be trusted at all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fgsn import extras
from fgsn.geometry.camera import Camera
from fgsn.matching.local import supported

Points = Float[np.ndarray, "matches 2"]

LEAST_MATCHES = 20
"""Verified matches below which a pair is refused."""
LEAST_SHARE = 0.1
"""Of the matches that must be verified."""
LEAST_SPREAD = 0.05
"""Share of both images' cells that verified matches must fall in."""
_SUPPORT = 3  # neighbours that move alike
_RADIUS = 0.12  # of the diagonal: how far neighbours may be
_PLANAR = 0.9  # of the inliers that a homography explains, too
_GRID = (12, 8)  # cells across and down


@dataclass(frozen=True, eq=False)
class TwoView:
    """What the matches of two images have in common."""

    kind: str
    """`essential` (with intrinsics), `fundamental` (without), `homography` (a plane, or a camera that only turned)."""
    fundamental: Float[np.ndarray, "3 3"] | None
    """target' F reference = 0, in pixels with centres at integers; None for a homography, or where lenses distort."""
    homography: Float[np.ndarray, "3 3"] | None
    """target ~ H reference; None unless it explains all, and where lenses distort."""
    inliers: Bool[np.ndarray, " matches"]
    """Which matches agree with it, and with their neighbours."""
    errors: Float[np.ndarray, " matches"]
    """Distance in pixels of every match from it: to epipolar lines (Sampson), or to where the homography puts it."""
    spread: float
    """Share of cells of the image that hold an inlier; the smaller one of both images."""
    refusal: str
    """Why the pair cannot be trusted; empty if it can."""


def verify(
    points_ref: Points,
    points_tgt: Points,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    cameras: tuple[Camera, Camera] | None = None,
    tolerance: float = 0.0,
) -> TwoView:
    """Tell right matches from wrong ones by their neighbours and by two-view geometry.

    Args:
        points_ref: (N, 2) pixels in the reference image.
        points_tgt: (N, 2) pixels in the target image.
        sizes: width and height of both images.
        cameras: of both images, if known.
        tolerance: how far a right match may be from the geometry, in pixels; 0 takes `usual_noise`.

    Raises:
        MissingExtraError: poselib is not installed.
    """
    diagonal = max(float(np.hypot(*size)) for size in sizes)
    tolerance = tolerance or usual_noise(sizes)
    points_ref, points_tgt = np.asarray(points_ref, np.float64), np.asarray(points_tgt, np.float64)
    count = len(points_ref)
    nothing = TwoView("none", None, None, np.zeros(count, bool), np.full(count, np.nan), 0.0, "")
    if count < LEAST_MATCHES:
        return _refused(nothing, f"only {count} matches")
    rows = np.nonzero(_alike(points_ref, points_tgt, diagonal, tolerance))[0]
    if len(rows) < LEAST_MATCHES:
        return _refused(nothing, f"only {len(rows)} of {count} matches move like their neighbours")
    straight_ref, straight_tgt = points_ref, points_tgt
    if cameras is not None:
        straight_ref, straight_tgt = (_straight(*one) for one in zip(cameras, (points_ref, points_tgt), strict=True))
        rows = rows[np.isfinite(straight_ref[rows] + straight_tgt[rows]).all(axis=1)]
    kind, fundamental = _epipolar(straight_ref[rows], straight_tgt[rows], cameras, tolerance)
    errors = sampson(fundamental, straight_ref, straight_tgt)
    inside = errors[rows] < tolerance
    homography, plane_errors = _plane(straight_ref, straight_tgt, rows[inside], tolerance)
    if homography is not None:
        kind, fundamental, errors = "homography", None, plane_errors
        inside = errors[rows] < 2 * tolerance
    rows = rows[inside]
    rows = rows[_alike(points_ref[rows], points_tgt[rows], diagonal, tolerance)]
    inliers = np.zeros(count, bool)
    inliers[rows] = True
    spread = min(_spread(points[rows], size) for points, size in zip((points_ref, points_tgt), sizes, strict=True))
    if cameras is not None and not all(camera.is_pinhole for camera in cameras):
        fundamental = homography = None  # they hold for straightened pixels only
    found = TwoView(kind, fundamental, homography, inliers, errors, spread, "")
    if len(rows) < LEAST_MATCHES:
        return _refused(found, f"only {len(rows)} of {count} matches agree on a geometry")
    if len(rows) < LEAST_SHARE * count:
        return _refused(found, f"only {len(rows)} of {count} matches agree on a geometry, which may be chance")
    if spread < LEAST_SPREAD:
        return _refused(found, f"the {len(rows)} verified matches lie together in {spread:.0%} of the image")
    return found


def sampson(
    fundamental: Float[np.ndarray, "3 3"], points_ref: Points, points_tgt: Points
) -> Float[np.ndarray, " matches"]:
    """First-order distance of matches from an epipolar geometry, in pixels (Hartley and Zisserman, section 11.4.3)."""
    ref = np.column_stack([points_ref, np.ones(len(points_ref))])
    tgt = np.column_stack([points_tgt, np.ones(len(points_tgt))])
    lines_tgt, lines_ref = ref @ fundamental.T, tgt @ fundamental
    residual = np.einsum("ij,ij->i", tgt, lines_tgt)
    slope = np.sqrt((lines_tgt[:, :2] ** 2).sum(axis=1) + (lines_ref[:, :2] ** 2).sum(axis=1))
    return np.abs(residual) / np.maximum(slope, 1e-12)


def transfer(homography: Float[np.ndarray, "3 3"], points: Points) -> Points:
    """Where a homography puts points."""
    moved = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return moved[:, :2] / moved[:, 2:]


def usual_noise(sizes: tuple[tuple[int, int], tuple[int, int]]) -> float:
    """What a right match across seasons is usually off by, in pixels: 0.2 % of the diagonal, at least 1.5."""
    return max(1.5, 0.002 * max(float(np.hypot(*size)) for size in sizes))


def _alike(points_ref: Points, points_tgt: Points, diagonal: float, noise: float) -> Bool[np.ndarray, " matches"]:
    """Matches that their neighbours in the reference image support, and those in the target image too."""
    radius = _RADIUS * diagonal
    forth = supported(points_ref, points_tgt, radius, _SUPPORT, noise)
    return forth & supported(points_tgt, points_ref, radius, _SUPPORT, noise)


def _epipolar(
    points_ref: Points, points_tgt: Points, cameras: tuple[Camera, Camera] | None, tolerance: float
) -> tuple[str, Float[np.ndarray, "3 3"]]:
    poselib = extras.poselib()
    options = {"max_epipolar_error": tolerance, "max_iterations": 10000, "min_iterations": 500, "success_prob": 0.9999}
    if cameras is None:
        fundamental, _ = poselib.estimate_fundamental(points_ref, points_tgt, options, {})
        return "fundamental", np.asarray(fundamental)
    pose, _ = poselib.estimate_relative_pose(points_ref, points_tgt, *(_pinhole(c) for c in cameras), options, {})
    x, y, z = pose.t
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ pose.R
    inverse = [np.linalg.inv(_matrix(camera)) for camera in cameras]
    return "essential", inverse[1].T @ essential @ inverse[0]


def _plane(
    points_ref: Points, points_tgt: Points, rows: np.ndarray, tolerance: float
) -> tuple[Float[np.ndarray, "3 3"] | None, Float[np.ndarray, " matches"]]:
    """The homography of nearly all of the rows, if there is one, and the distance of all matches from it."""
    none = np.full(len(points_ref), np.nan)
    if len(rows) < 8:
        return None, none
    options = {"max_reproj_error": tolerance, "max_iterations": 2000, "min_iterations": 200}
    homography, _ = extras.poselib().estimate_homography(points_ref[rows], points_tgt[rows], options, {})
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.linalg.norm(transfer(np.asarray(homography), points_ref) - points_tgt, axis=1)
    errors = np.where(np.isfinite(errors), errors, np.inf)
    if np.mean(errors[rows] < 2 * tolerance) < _PLANAR:
        return None, none
    return np.asarray(homography), errors


def _spread(points: Points, size: tuple[int, int]) -> float:
    cells = np.clip((points + 0.5) / size * _GRID, 0, np.array(_GRID) - 1).astype(int)
    return len(np.unique(cells, axis=0)) / (_GRID[0] * _GRID[1])


def _straight(camera: Camera, points: Points) -> Points:
    """Where a pinhole camera of the same focal lengths would see points."""
    return points if camera.is_pinhole else camera.rays(points)[:, :2] * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def _matrix(camera: Camera) -> Float[np.ndarray, "3 3"]:
    return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])


def _pinhole(camera: Camera) -> dict[str, Any]:
    """For poselib, with pixel centres at integers as the points have them."""
    values = [camera.fx, camera.fy, camera.cx, camera.cy]
    return {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": values}


def _refused(found: TwoView, reason: str) -> TwoView:
    return TwoView(found.kind, found.fundamental, found.homography, found.inliers, found.errors, found.spread, reason)

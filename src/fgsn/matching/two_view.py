"""Verification of the matches of two images by their neighbours and by two-view geometry."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fgsn import extras
from fgsn.geometry.camera import Camera
from fgsn.matching.local import locally_consistent

Points = Float[np.ndarray, "matches 2"]

LEAST_MATCHES = 20
"""A pair with fewer verified matches is refused."""
LEAST_SHARE = 0.1
"""A pair with a smaller share of verified matches is refused."""
LEAST_SPREAD = 0.05
"""A pair whose verified matches cover a smaller share of either image's cells is refused."""
_SUPPORT = 3  # neighbours with a similar displacement that a match needs
_RADIUS = 0.12  # of the diagonal: largest distance of a neighbour
_PLANAR = 0.9  # share of the inliers that a homography must explain to replace epipolar geometry
_GRID = (12, 8)  # columns and rows of cells


@dataclass(frozen=True, eq=False)
class TwoView:
    """The two-view geometry of a pair, and the matches that agree with it."""

    kind: str
    """`essential` (with intrinsics), `fundamental` (without), `homography` (a plane, or a pure rotation)."""
    fundamental: Float[np.ndarray, "3 3"] | None
    """target' F reference = 0, in pixels with centres at integers; None for a homography or distorted cameras."""
    homography: Float[np.ndarray, "3 3"] | None
    """target ~ H reference; None unless it explains the inliers, and for distorted cameras."""
    inliers: Bool[np.ndarray, " matches"]
    """Which matches agree with the geometry and with their neighbours."""
    errors: Float[np.ndarray, " matches"]
    """Error of every match in pixels: Sampson distance, or transfer error of the homography."""
    spread: float
    """Share of the image's cells that contain an inlier; the smaller of both images."""
    refusal: str
    """Why the pair is refused; empty if it is not."""


def verify(
    points_ref: Points,
    points_tgt: Points,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    cameras: tuple[Camera, Camera] | None = None,
) -> TwoView:
    """Separate correct from wrong matches by local consistency and two-view geometry; `cameras` if they are known.

    Raises:
        MissingExtraError: poselib is not installed.
    """
    diagonal = max(float(np.hypot(*size)) for size in sizes)
    tolerance = usual_noise(sizes)  # largest error of an inlier
    points_ref, points_tgt = np.asarray(points_ref, np.float64), np.asarray(points_tgt, np.float64)
    count = len(points_ref)
    nothing = TwoView("none", None, None, np.zeros(count, bool), np.full(count, np.nan), 0.0, "")
    if count < LEAST_MATCHES:
        return replace(nothing, refusal=f"only {count} matches")
    rows = np.nonzero(consistent(points_ref, points_tgt, diagonal, tolerance))[0]
    if len(rows) < LEAST_MATCHES:
        return replace(nothing, refusal=f"only {len(rows)} of {count} matches agree with their neighbours")
    pinhole_ref, pinhole_tgt = points_ref, points_tgt
    if cameras is not None:
        pinhole_ref, pinhole_tgt = (undistorted(*one) for one in zip(cameras, (points_ref, points_tgt), strict=True))
        rows = rows[np.isfinite(pinhole_ref[rows] + pinhole_tgt[rows]).all(axis=1)]
    kind, fundamental = _epipolar(pinhole_ref[rows], pinhole_tgt[rows], cameras, tolerance)
    errors = sampson(fundamental, pinhole_ref, pinhole_tgt)
    inside = errors[rows] < tolerance
    homography, plane_errors = _plane(pinhole_ref, pinhole_tgt, rows[inside], tolerance)
    if homography is not None:
        kind, fundamental, errors = "homography", None, plane_errors
        inside = errors[rows] < 2 * tolerance
    rows = rows[inside]
    rows = rows[consistent(points_ref[rows], points_tgt[rows], diagonal, tolerance)]
    inliers = np.zeros(count, bool)
    inliers[rows] = True
    spread = min(_spread(points[rows], size) for points, size in zip((points_ref, points_tgt), sizes, strict=True))
    if cameras is not None and not all(camera.is_pinhole for camera in cameras):
        fundamental = homography = None  # they are valid for undistorted pixels only
    found = TwoView(kind, fundamental, homography, inliers, errors, spread, "")
    if len(rows) < LEAST_MATCHES:
        return replace(found, refusal=f"only {len(rows)} of {count} matches agree on a geometry")
    if len(rows) < LEAST_SHARE * count:
        return replace(found, refusal=f"only {len(rows)} of {count} matches agree on a geometry; it may be chance")
    if spread < LEAST_SPREAD:
        return replace(found, refusal=f"the {len(rows)} verified matches cover only {spread:.0%} of the image")
    return found


def sampson(
    fundamental: Float[np.ndarray, "3 3"], points_ref: Points, points_tgt: Points
) -> Float[np.ndarray, " matches"]:
    """Sampson distance of matches from an epipolar geometry, in pixels (Hartley and Zisserman, section 11.4.3)."""
    ref = np.column_stack([points_ref, np.ones(len(points_ref))])
    tgt = np.column_stack([points_tgt, np.ones(len(points_tgt))])
    lines_tgt, lines_ref = ref @ fundamental.T, tgt @ fundamental
    residual = np.einsum("ij,ij->i", tgt, lines_tgt)
    slope = np.sqrt((lines_tgt[:, :2] ** 2).sum(axis=1) + (lines_ref[:, :2] ** 2).sum(axis=1))
    return np.abs(residual) / np.maximum(slope, 1e-12)


def transfer(homography: Float[np.ndarray, "3 3"], points: Points) -> Points:
    """Map points by a homography."""
    moved = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return moved[:, :2] / moved[:, 2:]


def usual_noise(sizes: tuple[tuple[int, int], tuple[int, int]]) -> float:
    """Typical error of a correct match across seasons, in pixels: 0.2 % of the diagonal, at least 1.5."""
    return max(1.5, 0.002 * max(float(np.hypot(*size)) for size in sizes))


def consistent(points_ref: Points, points_tgt: Points, diagonal: float, noise: float) -> Bool[np.ndarray, " matches"]:
    """Matches that are consistent with their neighbours in both images."""
    radius = _RADIUS * diagonal
    forth = locally_consistent(points_ref, points_tgt, radius, _SUPPORT, noise)
    return forth & locally_consistent(points_tgt, points_ref, radius, _SUPPORT, noise)


def _epipolar(
    points_ref: Points, points_tgt: Points, cameras: tuple[Camera, Camera] | None, tolerance: float
) -> tuple[str, Float[np.ndarray, "3 3"]]:
    poselib = extras.poselib()
    options = extras.poselib_options(
        "RansacOptions", max_epipolar_error=tolerance, max_iterations=10000, min_iterations=500, success_prob=0.9999
    )
    if cameras is None:
        fundamental, _ = poselib.estimate_fundamental(points_ref, points_tgt, options, {})
        return "fundamental", np.asarray(fundamental)
    pose, _ = poselib.estimate_relative_pose(points_ref, points_tgt, *(pinhole(c) for c in cameras), options, {})
    x, y, z = pose.t
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ pose.R
    inverse = [np.linalg.inv(camera.matrix) for camera in cameras]
    return "essential", inverse[1].T @ essential @ inverse[0]


def _plane(
    points_ref: Points, points_tgt: Points, rows: np.ndarray, tolerance: float
) -> tuple[Float[np.ndarray, "3 3"] | None, Float[np.ndarray, " matches"]]:
    """The homography that explains nearly all of the rows, if any, and the transfer error of all matches."""
    none = np.full(len(points_ref), np.nan)
    if len(rows) < 8:
        return None, none
    options = extras.poselib_options(
        "RansacOptions", max_reproj_error=tolerance, max_iterations=2000, min_iterations=200
    )
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


def undistorted(camera: Camera, points: Points) -> Points:
    """The pixels of points in a pinhole camera of the same focal lengths."""
    return points if camera.is_pinhole else camera.rays(points)[:, :2] * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def pinhole(camera: Camera) -> dict[str, Any]:
    """The camera as poselib expects it, with pixel centres at integers like the points."""
    values = [camera.fx, camera.fy, camera.cx, camera.cy]
    return {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": values}

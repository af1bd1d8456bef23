"""The pose of a camera from matches of its pixels with map points, most of which may be wrong."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn import extras
from fgsn.errors import FgsnError
from fgsn.extras import poselib_options
from fgsn.geometry.camera import Camera
from fgsn.geometry.gravity import UP, upright_rotation
from fgsn.geometry.pose import Pose

Array = NDArray[np.float64]

BATCH = 500
"""Samples between two checks whether enough have been drawn."""
REFINED = 3
"""Hypotheses of a batch that are refined: the best one before refinement need not be the best one after."""
MIN_SAMPLES = 1000
LOCAL = 30
"""Samples drawn from the matches near a hypothesis, to improve it."""


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """The result of a robust estimator."""

    camera_from_world: Pose | None
    """None if there is no pose; `reason` says why."""
    inliers: NDArray[np.bool_]
    """(N,) matches that agree with the pose."""
    samples: int = 0
    """Number of minimal samples drawn."""
    reason: str = ""


def estimate_pose(
    camera: Camera,
    pixels: ArrayLike,
    points_world: ArrayLike,
    weights: ArrayLike | None = None,
    gravity: ArrayLike | None = None,
    *,
    votes: ArrayLike | None = None,
    evenly: float = 0.2,
    up: ArrayLike = UP,
    max_error: float = 8.0,
    confidence: float = 0.9999,
    max_samples: int = 100_000,
    min_inliers: int = 4,
    seed: int = 0,
) -> PoseEstimate:
    """Estimate the pose of a camera from 2D-3D matches by LO-RANSAC with truncated squared errors (MSAC).

    All matches vote. Without weights, votes and gravity this is poselib's estimator; with them, minimal samples are
    drawn here and solved and refined by poselib. Pixels are undistorted first, so errors are in pixels of the pinhole
    camera with the same focal lengths.

    Args:
        camera: of the query, any model.
        pixels: (N, 2).
        points_world: (N, 3).
        weights: (N,) how likely each match is to be drawn, not negative; by default all equally.
        gravity: (3,) approximate direction of gravity (down) in the camera frame: samples are then pairs instead of
            triplets, and the refinement corrects gravity's error.
        votes: (N,) how much each match counts when poses are compared, not negative; 1 by default.
        evenly: share of the samples drawn without the weights, so that wrong weights cost time but not the pose.
        up: (3,) the direction in the world that is opposite to gravity.
        max_error: largest error of an inlier in pixels.
        confidence: probability of having drawn a sample of inliers at which sampling stops.
        max_samples: largest number of samples.
        min_inliers: with fewer there is no pose.
        seed: of the sampling; the same seed gives the same pose.

    Raises:
        FgsnError: arrays do not fit together, or weights or votes are negative.
        MissingExtraError: poselib is not installed, or pycolmap and the camera is distorted.
    """
    pixels, points = np.asarray(pixels, np.float64), np.asarray(points_world, np.float64)
    count = len(pixels)
    if pixels.shape != (count, 2) or points.shape != (count, 3):
        raise FgsnError(f"matches require pixels (N, 2) and points (N, 3), not {pixels.shape} and {points.shape}")
    weights, votes = _per_match(weights, count, "weights"), _per_match(votes, count, "votes")
    poselib = extras.poselib()
    nothing = np.zeros(count, bool)
    if count < min_inliers:
        return PoseEstimate(None, nothing, reason="too few matches")

    # A far origin, as of UTM coordinates, would cost the digits that the errors need.
    finite = points[np.isfinite(points).all(axis=1)]
    origin = np.median(finite, axis=0) if len(finite) else np.zeros(3)
    problem = _PoseProblem(camera, camera.rays(pixels), points - origin, votes, max_error, poselib)
    if weights is None and votes is None and gravity is None:
        pose, samples = _poselib_ransac(problem, confidence, max_samples, seed)
    else:
        solver = _P3P(problem) if gravity is None else _GravityP2P(problem, gravity, up)
        if np.count_nonzero(problem.finite) < max(solver.size, min_inliers):
            return PoseEstimate(None, nothing, reason="too few matches are finite")
        sampler = _Sampler(problem.finite, weights, evenly, solver.size)
        pose, samples = _weighted_ransac(problem, solver, sampler, confidence, max_samples, seed)
    if pose is None:
        return PoseEstimate(None, nothing, samples, "no sample of the matches yields a pose")
    inliers = problem.squared_errors(pose.Rt[None])[0] <= max_error**2
    if np.count_nonzero(inliers) < min_inliers:
        return PoseEstimate(None, nothing, samples, "too few matches agree with any pose")
    rotation = np.asarray(pose.R)
    return PoseEstimate(Pose(rotation, np.asarray(pose.t) - rotation @ origin), inliers, samples)


class _PoseProblem:
    """Matches prepared for the solvers, and the errors of poses on them."""

    def __init__(
        self, camera: Camera, rays: Array, points: Array, votes: Array | None, max_error: float, poselib: ModuleType
    ) -> None:
        self.poselib, self.max_error = poselib, max_error
        self.votes = np.ones(len(points), np.float32) if votes is None else votes.astype(np.float32)
        focal, centre = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
        self.finite = np.isfinite(np.hstack([rays, points]).sum(axis=1))
        # A distorted camera may have no ray at a pixel; such a match keeps its row, far from every pose.
        self.rays = np.where(self.finite[:, None], rays, (0.0, 0.0, 1.0))
        self.points = np.where(self.finite[:, None], points, 0.0)
        self.pixels = self.rays[:, :2] * focal + centre
        self.directions = self.rays / np.linalg.norm(self.rays, axis=1, keepdims=True)
        self.pinhole = {"model": "PINHOLE", "width": camera.width, "height": camera.height}
        self.pinhole["params"] = [*focal, *centre]
        self._focal = focal.astype(np.float32)
        self._plane = np.ascontiguousarray(self.rays[:, :2].T, np.float32)
        self._points = np.concatenate([self.points.T, np.ones((1, len(points)))]).astype(np.float32)

    def squared_errors(self, poses: Array) -> NDArray[np.float32]:
        """Squared pixel errors (M, N) of poses (M, 3, 4), infinite behind the camera."""
        seen = poses.astype(np.float32).reshape(-1, 4) @ self._points
        x, y, depth = np.moveaxis(seen.reshape(len(poses), 3, -1), 1, 0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            error = ((x / depth - self._plane[0]) * self._focal[0]) ** 2
            error += ((y / depth - self._plane[1]) * self._focal[1]) ** 2
            error[~(depth > 1e-6)] = np.inf
        error[:, ~self.finite] = np.inf
        return np.nan_to_num(error, copy=False, nan=np.inf, posinf=np.inf)

    def costs(self, poses: Array) -> Array:
        """Truncated squared errors (M,) of poses (M, 3, 4), summed over all matches by their votes."""
        if not len(poses):
            return np.zeros(0)
        return (np.minimum(self.squared_errors(poses), self.max_error**2) @ self.votes).astype(np.float64)

    def near(self, pose: Any, reach: float = 1.0) -> NDArray[np.int64]:
        """Rows of the matches within `reach` times the largest error of a pose."""
        return np.flatnonzero(self.squared_errors(pose.Rt[None])[0] <= (reach * self.max_error) ** 2)

    def refine(self, pose: Any, reach: float = 1.0) -> Any:
        """The pose that best fits the matches within `reach` times the largest error."""
        near = self.near(pose, reach)
        if len(near) < 4:
            return pose
        scale = reach * self.max_error
        loss = poselib_options("BundleOptions", loss_type="TRUNCATED", loss_scale=scale, max_iterations=25)
        return self.poselib.refine_absolute_pose(self.pixels[near], self.points[near], pose, self.pinhole, loss)[0]


class _P3P:
    """Poses from three matches."""

    size = 3
    reach = 1.0

    def __init__(self, problem: _PoseProblem) -> None:
        self.problem = problem

    def __call__(self, sample: NDArray[np.int64]) -> list[Any]:
        return self.problem.poselib.p3p(self.problem.directions[sample], self.problem.points[sample])


class _GravityP2P:
    """Poses from two matches and the direction of gravity; the solver requires upright frames, y along gravity."""

    size = 2
    # An error of one degree in gravity shifts pixels by more than the largest error of an inlier.
    reach = 3.0

    def __init__(self, problem: _PoseProblem, gravity: ArrayLike, up: ArrayLike) -> None:
        self.poselib = problem.poselib
        self.upright_from_camera = upright_rotation(gravity)
        self.upright_from_world = upright_rotation(-np.asarray(up, np.float64))
        self.directions = problem.directions @ self.upright_from_camera.T
        self.points = problem.points @ self.upright_from_world.T

    def __call__(self, sample: NDArray[np.int64]) -> list[Any]:
        poses = self.poselib.up2p(self.directions[sample], self.points[sample])
        for pose in poses:
            rotation = self.upright_from_camera.T @ pose.R @ self.upright_from_world
            pose.t = self.upright_from_camera.T @ pose.t
            pose.R = rotation
        return poses


class _Sampler:
    """Draws some samples by weight and some evenly."""

    def __init__(self, finite: NDArray[np.bool_], weights: Array | None, evenly: float, size: int) -> None:
        self.size = size
        even = finite / np.count_nonzero(finite)
        weighted = even if weights is None else finite * weights
        if np.count_nonzero(weighted) < size:
            weighted = even
        self.shares = [weighted / weighted.sum(), even]
        self.parts = [1 - evenly, evenly]

    def draw(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Samples (at most BATCH, size) of distinct rows."""
        counts = round(self.parts[0] * BATCH), BATCH - round(self.parts[0] * BATCH)
        drawn = [_draw(share, self.size, count, random) for share, count in zip(self.shares, counts, strict=True)]
        return np.concatenate(drawn)

    def clean(self, inliers: NDArray[np.int64]) -> float:
        """Probability that a sample contains inliers only.

        Even a wrong pose has the matches of its own sample as inliers, and these may have large weights: as many of
        the heaviest are not counted.
        """
        caught = (np.sort(share[inliers])[: -self.size].sum() for share in self.shares)
        return float(sum(part * share**self.size for part, share in zip(self.parts, caught, strict=True)))


def _weighted_ransac(
    problem: _PoseProblem,
    solver: _P3P | _GravityP2P,
    sampler: _Sampler,
    confidence: float,
    max_samples: int,
    seed: int,
) -> tuple[Any, int]:
    """The best pose, refined, and the number of samples drawn."""
    random = np.random.default_rng(seed)
    triplets = _P3P(problem)
    best, lowest, drawn, needed = None, np.inf, 0, float(max_samples)
    while drawn < min(needed, max_samples):
        samples = sampler.draw(random)
        drawn += BATCH
        poses = [pose for sample in samples for pose in solver(sample)]
        costs = problem.costs(np.array([pose.Rt for pose in poses]))
        for row in np.argsort(costs, kind="stable")[:REFINED]:
            pose, cost = _refined(problem, triplets, poses[row], float(costs[row]), solver.reach, random)
            if cost < lowest:
                best, lowest = pose, cost
        if best is not None:
            needed = max(MIN_SAMPLES, samples_needed(sampler.clean(problem.near(best)), confidence))
    return best, drawn


def _refined(
    problem: _PoseProblem, triplets: _P3P, pose: Any, cost: float, reach: float, random: np.random.Generator
) -> tuple[Any, float]:
    """The best of a pose, its refinement, and refined poses of samples of the matches near it (LO-RANSAC)."""
    near = problem.near(pose, reach)
    found = [pose]
    if len(near) > 3:
        samples = _draw(np.isin(np.arange(len(problem.points)), near) / len(near), 3, LOCAL, random)
        found += [local for sample in samples for local in triplets(sample)]
    costs = problem.costs(np.array([local.Rt for local in found]))
    costs[0] = cost
    pose, cost = found[int(costs.argmin())], float(costs.min())
    for _ in range(2):
        refined = problem.refine(pose)
        improved = float(problem.costs(refined.Rt[None])[0])
        if improved >= cost:
            break
        pose, cost = refined, improved
    return pose, cost


def samples_needed(clean: float, confidence: float) -> float:
    """Number of samples until, with the given confidence, one has inliers only; each has with probability `clean`."""
    if clean <= 0.0:
        return np.inf
    return 1.0 if clean >= 1.0 else float(np.ceil(np.log1p(-confidence) / np.log1p(-clean)))


def _draw(share: Array, size: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Samples (count, size) of rows, each drawn with its share; samples with a repeated row are dropped."""
    rows = random.choice(len(share), (count, size), p=share)
    ordered = np.sort(rows, axis=1)
    return rows[(ordered[:, 1:] != ordered[:, :-1]).all(axis=1)]


def _per_match(values: ArrayLike | None, count: int, name: str) -> Array | None:
    if values is None:
        return None
    values = np.asarray(values, np.float64)
    if values.shape != (count,) or not (np.isfinite(values) & (values >= 0)).all():
        raise FgsnError(f"{count} matches require {count} {name} of at least 0")
    return values


def _poselib_ransac(problem: _PoseProblem, confidence: float, max_samples: int, seed: int) -> tuple[Any, int]:
    finite = problem.finite
    if np.count_nonzero(finite) < 4:
        return None, 0
    options = poselib_options(
        "RansacOptions",
        max_reproj_error=problem.max_error,
        success_prob=confidence,
        max_iterations=max_samples,
        seed=seed,
    )
    pose, facts = problem.poselib.estimate_absolute_pose(
        problem.pixels[finite], problem.points[finite], problem.pinhole, options
    )
    return (pose if np.isfinite(pose.Rt).all() else None), int(facts["iterations"])

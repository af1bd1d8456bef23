"""Geometric-semantic match consistency: a match is as good as the best camera pose that it allows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.localization.upright import UP, upright_rotation
from fgsn.localization.voters import NO_LABEL, VoteCounter, Voters

Array = NDArray[np.float64]

GRAVITY_NOISE, HEIGHT_NOISE = 1.0, 0.3


@dataclass(frozen=True)
class Search:
    """How the circle of camera centres of a match is searched."""

    angles: tuple[float, ...] = (12.0, 3.0, 1.0)
    """Steps in degrees, from coarse to fine; a single one is the plain search."""
    kept: int = 3
    """Places on the circles of a match that are looked at more finely."""
    every: int = 4
    """Until the last step only each so many-th voter is asked; not in a plain search."""
    radii: int = 4
    """Most circles of a match: as many as the noise of the priors makes necessary."""
    radius_step: float = 1.25
    """Ratio between the radii of neighbouring circles."""
    slack: float = 1.5
    """A match may be seen from nearer and farther than its map images by this factor; voters are held more strictly."""
    noise: float = 1.0
    """Standard deviations of the priors that the circles cover."""
    voters: int = 3000
    """Most voters of a match."""
    reach: float = 60.0
    """Distance from a match within which points vote."""
    least: float = 0.15
    """With less than this part of the voters in view, a match's score is a share of that part: few are soon agreed."""


def sampling_weights(scores: ArrayLike, power: float = 2.0, floor: float = 0.1) -> Array:
    """Turn scores (N,) into probabilities (N,) of being drawn.

    Args:
        scores: of `gsmc_scores`.
        power: 1 draws matches in proportion to their scores, as published; more trusts the scores more.
        floor: part of the draws that are uniform: nothing is thrown away, however wrong the priors.
    """
    raised = np.asarray(scores, np.float64) ** power
    uniform = np.full(len(raised), 1 / max(len(raised), 1))
    return uniform if raised.sum() <= 0 else (1 - floor) * raised / raised.sum() + floor * uniform


@dataclass(frozen=True, eq=False)
class _Circles:
    """Where the camera can be, for every match: circles about the point, in the upright world."""

    match: NDArray[np.int64]
    """(H,) row of the match."""
    radius: Array
    """(H,) metres."""
    level: Array
    """(H,) downward coordinate of the camera."""


def gsmc_scores(
    camera: Camera,
    pixels: ArrayLike,
    match_points: ArrayLike,
    voters: Voters,
    query_labels: ArrayLike,
    gravity: ArrayLike,
    height: float,
    *,
    gravity_noise: float = GRAVITY_NOISE,
    height_noise: float = HEIGHT_NOISE,
    match_range: tuple[ArrayLike, ArrayLike] = (1.0, 100.0),
    up: ArrayLike = UP,
    search: Search | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Array:
    """Score 2D-3D matches by the labels around them (GSMC: Toft et al., ECCV 2018, section 4).

    With gravity and height known, a match leaves the camera on a circle about its point, and every place on it gives a
    full pose. Map points that could be seen from there vote: they agree where the query shows their label. A match's
    score is the largest share of agreeing voters. Where the noise of the priors leaves the radius open, several
    circles are searched, within the distances from which the point was observed.

    Args:
        camera: of the query, any model.
        pixels: (N, 2) of the matches.
        match_points: (N, 3) their map points, in the world.
        voters: labelled map points; those near a match vote for it.
        query_labels: (H, W) label map of the query, of the camera's size; negative where there is no label.
        gravity: (3,) direction of gravity (down) in the camera frame. A prior: never from the truth.
        height: of the camera along `up` in the world. A prior, too.
        gravity_noise: standard deviation of gravity about each axis, degrees.
        height_noise: standard deviation of the height, metres.
        match_range: nearest and farthest distance, (N,) or one for all, from which the map observed the match's point.
        up: (3,) direction in the world that is opposite to gravity.
        search: how the circles are searched.
        device: that counts.
        dtype: of the geometry.

    Returns:
        Scores (N,) from 0 to 1; 0 where priors and observing distances leave no place for the camera.

    Raises:
        FgsnError: arrays do not belong together, or priors are no numbers.
    """
    search = search or Search()
    pixels, points = np.asarray(pixels, np.float64), np.asarray(match_points, np.float64)
    labels = np.asarray(query_labels)
    if pixels.shape != (len(points), 2) or points.shape != (len(pixels), 3):
        raise FgsnError(f"matches want pixels (N, 2) and points (N, 3), not {pixels.shape} and {points.shape}")
    if labels.shape != (camera.height, camera.width):
        raise FgsnError(f"label map of {labels.shape[::-1]} pixels for a camera of {camera.width} x {camera.height}")
    if not (np.isfinite(height) and gravity_noise >= 0 and height_noise >= 0):
        raise FgsnError(f"height {height} with noise {height_noise} and gravity with noise {gravity_noise} cannot be")
    scores = np.zeros(len(points))
    if not len(points) or not len(voters):
        return scores
    upright_from_camera = upright_rotation(gravity)
    upright_from_world = upright_rotation(-np.asarray(up, np.float64))
    rays = camera.rays(pixels) @ upright_from_camera.T
    points_upright = points @ upright_from_world.T
    noise = search.noise * np.deg2rad(gravity_noise), search.noise * height_noise
    circles = _circles(rays, points_upright, -height, match_range, noise, search)

    labels = _pinhole_labels(camera, labels)
    small = max(int(labels.max()), int(voters.labels.max())) <= torch.iinfo(torch.int16).max
    label_map = torch.as_tensor(labels.astype(np.int16 if small else np.int32), device=device)
    intrinsics = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    pixels_from_upright = intrinsics @ upright_from_camera.T
    azimuth = np.arctan2(rays[:, 0], rays[:, 2])
    for matches, near in _neighbourhoods(points, voters, search):
        origin = points_upright[matches].mean(axis=0)

        def counter(chosen: Voters, origin: Array = origin) -> VoteCounter:
            return VoteCounter(
                chosen, label_map, pixels_from_upright, upright_from_world, origin, torch.device(device), dtype
            )

        own = np.isin(circles.match, matches)
        renumbered = np.searchsorted(matches, circles.match[own])
        local = _Circles(renumbered, circles.radius[own], circles.level[own] - origin[1])
        counters = [counter(voters[near])]
        counters = [counter(voters[near[:: search.every]])] * (len(search.angles) - 1) + counters
        scores[matches] = _search(points_upright[matches] - origin, azimuth[matches], local, counters, search)
    return scores


def _circles(
    rays: Array,
    points: Array,
    level: float,
    match_range: tuple[ArrayLike, ArrayLike],
    noise: tuple[float, float],
    search: Search,
) -> _Circles:
    """The circles of all matches, whose rays and points are upright: y is down."""
    dip, drop = np.arctan2(rays[:, 1], np.hypot(rays[:, 0], rays[:, 2])), points[:, 1] - level
    # Seen from a point above the camera, the same with up and down exchanged.
    sign = np.where(dip < 0, -1.0, 1.0)
    dip, drop = dip * sign, drop * sign
    angle, length = noise
    with np.errstate(divide="ignore", invalid="ignore"):
        steep, flat = np.tan(np.minimum(dip + angle, np.deg2rad(89.9))), np.tan(dip - angle)
        low = np.where(drop + length >= 0, np.maximum(drop - length, 0) / steep, np.inf)
        high = np.where(drop + length >= 0, np.where(flat > 0, (drop + length) / flat, np.inf), -np.inf)
        # A point that seems to lie below the camera may lie above it, and the ray with it.
        above = (flat < 0) & (drop < length)
        low = np.where(above, np.minimum(low, np.maximum(-drop - length, 0) / -flat), low)
        high = np.where(above, np.inf, high)
        straight = drop / np.tan(dip)
    nearest, farthest = (np.broadcast_to(np.asarray(bound, np.float64), len(points)) for bound in match_range)
    low = np.maximum(low, np.sqrt(np.maximum((nearest / search.slack) ** 2 - drop**2, 0.01)))
    high = np.minimum(high, np.sqrt(np.maximum((farthest * search.slack) ** 2 - drop**2, 0)))
    possible = np.isfinite(dip + drop) & (low <= high * (1 + 1e-9))
    low, high = np.where(possible, low, 1.0), np.where(possible, high, 1.0)
    count = np.clip(np.ceil(np.log(high / low) / np.log(search.radius_step)), 1, search.radii)
    step = np.arange(search.radii)
    radii = low[:, None] * (high / low)[:, None] ** ((step + 0.5) / count[:, None])
    # What the priors say as they are takes the place of the circle nearest to it.
    inside = possible & (straight >= low * (1 - 1e-9)) & (straight <= high * (1 + 1e-9))
    rows = np.flatnonzero(inside)
    ratio = np.abs(np.log(radii[rows] / straight[rows, None]))
    radii[rows, ratio.argmin(axis=1)] = straight[rows]
    match, column = np.nonzero(possible[:, None] & (step < count[:, None]))
    radius = radii[match, column]
    # The ray says how high the camera is on each circle; the prior says how far that can be true.
    offset = points[match, 1] - sign[match] * radius * np.tan(dip[match])
    return _Circles(match, radius, np.clip(offset, level - length, level + length))


def _search(points: Array, azimuth: Array, circles: _Circles, counters: Sequence[VoteCounter], search: Search) -> Array:
    """Scores (M,) of matches by their circles, from coarse angles to fine; one counter for each step of angles."""
    first = counters[0].points

    def tensor(values: Array | NDArray[np.int64]) -> Tensor:
        values = torch.as_tensor(values, device=first.device)
        return values.to(first.dtype) if values.is_floating_point() else values

    match, radius, level = tensor(circles.match), tensor(circles.radius), tensor(circles.level)
    around, bearing = tensor(points), tensor(azimuth)

    def shares(circle: Tensor, angle: Tensor, counter: VoteCounter) -> Tensor:
        """Of cameras on circles (B,) at angles (B,)."""
        centres = around[match[circle]]
        centres = torch.stack(
            [
                centres[:, 0] + radius[circle] * angle.sin(),
                level[circle],
                centres[:, 2] + radius[circle] * angle.cos(),
            ],
            dim=1,
        )
        # The camera looks back at the point: the ray's azimuth turns into the opposite of the angle.
        agree, seen = counter.count_votes(centres, bearing[match[circle]] - angle - torch.pi)
        return agree / seen.clamp(min=max(1, round(search.least * counter.count)))

    steps = np.deg2rad(search.angles)
    angles = tensor(np.arange(0, 2 * np.pi - 1e-9, steps[0]))
    rows = torch.arange(len(match), device=match.device)
    share = shares(rows.repeat_interleave(len(angles)), angles.repeat(len(rows)), counters[0])
    share = share.view(len(rows), len(angles))
    if len(steps) == 1:
        return _best_of_each(match, share.amax(dim=1), len(points))
    circle, angle = _best_places(share, match, angles, search.kept)
    for coarse, fine, counter in zip(steps[:-1], steps[1:], counters[1:], strict=True):
        reach = int(coarse / fine / 2)
        offsets = tensor(np.arange(-reach, reach + 1) * fine)
        near = (angle[:, None] + offsets).view(-1)
        share = shares(circle.repeat_interleave(len(offsets)), near, counter).view(len(circle), -1)
        share, best = share.max(dim=1)
        angle = angle + offsets[best]
    return _best_of_each(match[circle], share, len(points))


def _best_of_each(match: Tensor, share: Tensor, matches: int) -> Array:
    scores = np.zeros(matches)
    np.maximum.at(scores, match.cpu().numpy(), share.cpu().numpy())
    return scores


def _best_places(share: Tensor, match: Tensor, angles: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Circles and angles (B,) of the best places of every match, at most `kept`, each the best of its neighbours."""
    peak = (share >= share.roll(1, dims=1)) & (share > share.roll(-1, dims=1)) & (share > 0)
    peak.scatter_(1, share.argmax(dim=1, keepdim=True), True)
    value = torch.where(peak, share, -1.0).view(-1)
    owner = match.repeat_interleave(len(angles))
    order = value.argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    first = torch.searchsorted(owner[order], owner[order])
    rank = torch.arange(len(order), device=order.device) - first
    chosen = order[(rank < kept) & (value[order] > 0)]
    return chosen // len(angles), angles[chosen % len(angles)]


def _neighbourhoods(
    points: Array, voters: Voters, search: Search
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of matches that lie together, with rows of the voters around them.

    Matches of a cell share their voters, so that all their poses are counted at once.
    """
    if len(voters) <= search.voters:
        yield np.arange(len(points)), np.arange(len(voters))
        return
    cells = np.floor(points / (search.reach / 3)).astype(np.int64)
    for cell in np.unique(cells, axis=0):
        matches = np.flatnonzero((cells == cell).all(axis=1))
        near = np.array(voters.tree.query_ball_point(points[matches].mean(axis=0), search.reach), np.int64)
        if len(near) > search.voters:
            near = np.random.default_rng(0).permutation(near)[: search.voters]
        if len(near):
            yield matches, near


def _pinhole_labels(camera: Camera, labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """The label map as a pinhole camera with the same focal lengths would have it."""
    labels = labels.astype(np.int64)
    if camera.is_pinhole:
        return labels
    places, inside = _undistortion(camera)
    return np.where(inside, labels.reshape(-1)[places], NO_LABEL).reshape(labels.shape)


@lru_cache(maxsize=8)
def _undistortion(camera: Camera) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For every pixel of the pinhole image, the flat place in the distorted one, and whether it is inside."""
    pinhole = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    pixels = np.floor(camera.project(pinhole.rays(pinhole.grid()))[0] + 0.5)
    inside = np.all((pixels >= 0) & (pixels < (camera.width, camera.height)), axis=1)
    pixels = np.where(inside[:, None], pixels, 0).astype(np.int64)
    return pixels[:, 1] * camera.width + pixels[:, 0], inside

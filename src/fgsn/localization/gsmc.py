"""Geometric-semantic match consistency: a match is as good as the best camera pose that it allows."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.gravity import UP, upright_rotation
from fgsn.inference.undistort import undistorted
from fgsn.localization.circles import Circles, Search, circles_of
from fgsn.localization.voters import VoteCounter, Voters

Array = NDArray[np.float64]

GRAVITY_NOISE, HEIGHT_NOISE = 1.0, 0.3
"""Default standard deviations of the priors: degrees, metres."""


def sampling_weights(scores: ArrayLike, power: float = 2.0, uniform: float = 0.1) -> Array:
    """Turn scores (N,) into probabilities (N,) of being drawn.

    Args:
        scores: of `gsmc_scores`.
        power: 1 draws matches in proportion to their scores, as published; larger values trust the scores more.
        uniform: share of the draws that are uniform.
    """
    raised = np.asarray(scores, np.float64) ** power
    even = np.full(len(raised), 1 / max(len(raised), 1))
    return even if raised.sum() <= 0 else (1 - uniform) * raised / raised.sum() + uniform * even


def match_votes(scores: ArrayLike, least: float = 0.25) -> Array:
    """Turn scores (N,) into votes (N,) from `least` to 1, for `estimate_pose`.

    No match is dropped: each has a vote. With equal votes, as published, chance decides between poses if correct
    matches are few; with `least` = 0, wrong priors would.
    """
    scores = np.asarray(scores, np.float64)
    return least + (1 - least) * scores / max(float(scores.max(initial=0.0)), 1e-12)


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

    With gravity and height known, a match restricts the camera to a circle about its point, and every place on it
    determines a full pose. Map points that are visible from there vote: they agree if the query shows their label. A
    match's score is the largest share of agreeing voters. If the noise of the priors leaves the radius uncertain,
    several circles are searched, within the distances from which the point was observed.

    Args:
        camera: of the query, any model.
        pixels: (N, 2) of the matches.
        match_points: (N, 3) their map points, in the world.
        voters: labelled map points; those near a match vote for it.
        query_labels: (H, W) label map of the query, of the camera's size; negative means no label.
        gravity: (3,) direction of gravity (down) in the camera frame. A prior, never taken from the truth.
        height: of the camera along `up` in the world. Also a prior.
        gravity_noise: standard deviation of gravity about each axis, degrees.
        height_noise: standard deviation of the height, metres.
        match_range: nearest and farthest distance, (N,) or one for all, from which the map observed the match's point.
        up: (3,) direction in the world that is opposite to gravity.
        search: how the circles are searched.
        device: that votes are counted on.
        dtype: of the geometry.

    Returns:
        Scores (N,) from 0 to 1; 0 if priors and observing distances leave no place for the camera.

    Raises:
        FgsnError: arrays do not fit together, or priors are not finite.
    """
    search = search or Search()
    pixels, points = np.asarray(pixels, np.float64), np.asarray(match_points, np.float64)
    labels = np.asarray(query_labels)
    if pixels.shape != (len(points), 2) or points.shape != (len(pixels), 3):
        raise FgsnError(f"matches require pixels (N, 2) and points (N, 3), not {pixels.shape} and {points.shape}")
    if labels.shape != (camera.height, camera.width):
        raise FgsnError(f"label map of {labels.shape[::-1]} pixels for a camera of {camera.width} x {camera.height}")
    if not (np.isfinite(height) and gravity_noise >= 0 and height_noise >= 0):
        raise FgsnError(
            f"invalid priors: height {height} with noise {height_noise}, gravity with noise {gravity_noise}"
        )
    scores = np.zeros(len(points))
    if not len(points) or not len(voters):
        return scores
    upright_from_camera = upright_rotation(gravity)
    upright_from_world = upright_rotation(-np.asarray(up, np.float64))
    rays = camera.rays(pixels) @ upright_from_camera.T
    points_upright = points @ upright_from_world.T
    noise = search.noise * np.deg2rad(gravity_noise), search.noise * height_noise
    circles = circles_of(rays, points_upright, -height, match_range, noise, search)

    labels, _ = undistorted(labels.astype(np.int64), camera)
    small = max(int(labels.max()), int(voters.labels.max())) <= torch.iinfo(torch.int16).max
    label_map = torch.as_tensor(labels.astype(np.int16 if small else np.int32), device=device)
    intrinsics = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    pixels_from_upright = intrinsics @ upright_from_camera.T
    azimuth = np.arctan2(rays[:, 0], rays[:, 2])
    for matches, near in _neighbourhoods(points, voters, search):
        origin = points_upright[matches].mean(axis=0)
        own = np.isin(circles.match, matches)
        if not own.any():
            continue
        renumbered = np.searchsorted(matches, circles.match[own])
        local = Circles(renumbered, circles.radius[own], circles.level[own] - origin[1])
        scene = label_map, pixels_from_upright, upright_from_world, origin, torch.device(device), dtype
        coarse, fine = (VoteCounter(voters[rows], *scene) for rows in (near[:: search.every], near))
        counters = [coarse] * (len(search.angles) - 1) + [fine]
        scores[matches] = _search(points_upright[matches] - origin, azimuth[matches], local, counters, search)
    return scores


def _search(points: Array, azimuth: Array, circles: Circles, counters: Sequence[VoteCounter], search: Search) -> Array:
    """Scores (M,) of matches by their circles, from coarse to fine angles; one counter for each step size."""
    like = counters[0].points

    def tensor(values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=like.dtype, device=like.device)

    match = torch.as_tensor(circles.match, device=like.device)
    radius, level = tensor(circles.radius), tensor(circles.level)
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
        return agree.to(like.dtype) / seen.clamp(min=max(1, round(search.least * counter.count)))

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
        share = shares(circle.repeat_interleave(len(offsets)), near, counter).view(len(circle), len(offsets))
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
    """Rows of neighbouring matches, with rows of the voters around them.

    Matches of a cell share their voters, so the votes for all their poses are counted at once.
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

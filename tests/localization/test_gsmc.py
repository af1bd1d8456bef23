"""GSMC against a slow loop in float64 that knows nothing of the batched one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fgsn.bench.street import CAMERA, make_map, make_matches, make_query
from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.localization.circles import Search, circles_of
from fgsn.localization.gsmc import gsmc_scores, match_votes, sampling_weights

EXACT = Search(angles=(5.0,), radii=1, noise=0.0, slack=1.1, least=0.02)


def slow_score(camera, pixel, point, nearest, farthest, voters, labels, gravity, height, degrees, least):
    """Score of one match by the book: z up, no batches, no upright frames."""
    ray = camera.rays(pixel)
    ray /= np.linalg.norm(ray)
    down = gravity / np.linalg.norm(gravity)
    elevation = math.asin(-ray @ down)
    rise = point[2] - height
    if rise * elevation <= 0:  # above the camera and below the horizon, or the other way round: no such place
        return 0.0
    radius = abs(rise) / abs(math.tan(elevation))
    if not nearest / 1.1 <= math.hypot(radius, rise) <= farthest * 1.1:
        return 0.0
    best = 0.0
    for degree in np.arange(0, 360, degrees):
        # Where the angles begin is free; the batched search begins at the world's y axis.
        towards = np.array([math.sin(math.radians(degree)), math.cos(math.radians(degree)), 0.0])
        centre = np.array([*(point[:2] + radius * towards[:2]), height])
        rotation = look(ray, down, point - centre)
        agree = seen = 0
        for n in range(len(voters)):
            offset = centre - voters.points[n]
            distance = np.linalg.norm(offset)
            if not voters.nearest[n] / 1.1 <= distance <= voters.farthest[n] * 1.1:
                continue
            if math.acos(np.clip(offset @ voters.axis[n] / distance, -1, 1)) > voters.half_angle[n]:
                continue
            x, y, depth = rotation @ -offset
            if depth <= 1e-3:
                continue
            column = math.floor(camera.fx * x / depth + camera.cx + 0.5)
            row = math.floor(camera.fy * y / depth + camera.cy + 0.5)
            if 0 <= column < camera.width and 0 <= row < camera.height and labels[row, column] >= 0:
                seen += 1
                agree += labels[row, column] == voters.labels[n]
        best = max(best, agree / max(seen, least))
    return best


def look(ray, down, direction):
    """Rotation from the world to a camera in which gravity is `down` and the direction lies along the ray."""

    def basis(vertical, forward):
        level = forward - vertical * (forward @ vertical)
        level /= np.linalg.norm(level)
        return np.stack([level, vertical, np.cross(level, vertical)], axis=1)

    return basis(down, ray) @ basis(np.array([0.0, 0, -1]), direction).T


def case(seed=0, labels=12, points=400, matches=30, right=12, **noise):
    random = np.random.default_rng(seed)
    voters = make_map(random, points, labels)
    query = make_query(random, labels, **noise)
    return voters, query, make_matches(random, query, voters, matches, right)


def scores_of(voters, query, matches, camera=CAMERA, **options):
    return gsmc_scores(
        camera,
        matches.pixels,
        voters.points[matches.rows],
        voters,
        query.labels,
        query.gravity,
        query.height,
        match_range=(voters.nearest[matches.rows], voters.farthest[matches.rows]),
        **options,
    )


def rank_share(scores, right):
    """How often a right match scores higher than a wrong one (area under the ROC curve)."""
    below = (scores[right][:, None] > scores[~right]).mean()
    return below + (scores[right][:, None] == scores[~right]).mean() / 2


@pytest.mark.parametrize("seed", [0, 1])
def test_the_slow_loop_counts_the_same(seed):
    voters, query, matches = case(seed, wrong=0.2, gravity_degrees=1, height_metres=0.1)
    query.labels[:40, :60] = -1
    found = scores_of(voters, query, matches, search=EXACT, dtype=torch.float64)
    for row in range(len(matches.rows)):
        n = matches.rows[row]
        slow = slow_score(
            CAMERA, matches.pixels[row], voters.points[n], voters.nearest[n], voters.farthest[n],
            voters, query.labels, query.gravity, query.height, 5.0, 8,
        )  # fmt: skip
        assert found[row] == pytest.approx(slow, abs=1e-12)
    assert (found > 0).sum() > 10


def test_single_precision_loses_next_to_nothing():
    voters, query, matches = case(points=1000, matches=100, wrong=0.2)
    voters = replace(voters, points=voters.points + np.array([500_000, 4_000_000, 0]))
    single, double = (scores_of(voters, query, matches, dtype=dtype) for dtype in (torch.float32, torch.float64))
    np.testing.assert_allclose(single, double, atol=0.02)


@pytest.mark.parametrize("noise", [(0, 0), (1, 0.3), (2, 0.5)])
def test_right_matches_score_higher_than_wrong_ones_also_with_noise_in_the_priors(noise):
    degrees, metres = noise
    shares = []
    for seed in range(3):
        found = case(seed, 30, 1500, 200, 20, wrong=0.3, gravity_degrees=degrees, height_metres=metres)
        scores = scores_of(*found, gravity_noise=degrees, height_noise=metres)
        shares.append(rank_share(scores, found[2].right))
    assert np.mean(shares) > 0.93


def test_coarse_to_fine_finds_nearly_what_the_plain_search_finds():
    found = case(3, 20, 800, 40, 20, wrong=0.2)
    plain = scores_of(*found, search=Search(angles=(1.0,)))
    quick = scores_of(*found, search=Search())
    assert (quick <= plain + 0.02).all()
    assert quick[found[2].right].mean() > 0.9 * plain[found[2].right].mean()


def test_a_left_turn_is_not_a_right_turn():
    """A camera with a strong yaw in a street that is not symmetric: the mirror image of the yaw would score low."""
    voters, query, matches = case(5, 60, 2000, 60, 60)
    scores = scores_of(voters, query, matches)
    assert np.median(scores) > 0.5
    mirrored = replace(query, labels=query.labels[:, ::-1].copy())
    assert np.median(scores_of(voters, mirrored, matches)) < 0.2


def test_up_may_be_any_direction():
    voters, query, matches = case(2, 20, 600, 50, 25, gravity_degrees=1, height_metres=0.1)
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    turned = replace(voters, points=voters.points @ turn.T, axis=voters.axis @ turn.T)
    here, there = scores_of(voters, query, matches), scores_of(turned, query, matches, up=turn @ (0, 0, 1))
    # The circles start at other angles, so scores agree but for the steps between angles.
    assert np.corrcoef(here, there)[0, 1] > 0.95


def test_a_lens_is_taken_out_of_pixels_and_labels():
    random = np.random.default_rng(0)
    lens = Camera(320, 240, 260.0, 260.0, 159.5, 119.5, "OPENCV", (-0.25, 0.05, 0.001, 0.0))
    voters = make_map(random, 1500, 30)
    query = make_query(random, 30, lens)
    matches = make_matches(random, query, voters, 100, 20, lens)
    assert rank_share(scores_of(voters, query, matches, lens), matches.right) > 0.95
    assert scores_of(voters, query, matches, lens)[matches.right].mean() > 0.4


def test_a_large_map_is_searched_by_neighbourhoods():
    random = np.random.default_rng(0)
    voters = make_map(random, 6000, 30)
    query = make_query(random, 30)
    matches = make_matches(random, query, voters, 60, 20)
    all_of_them = scores_of(voters, query, matches, search=Search(voters=10_000))
    some = scores_of(voters, query, matches, search=Search(voters=1000, reach=30.0))
    assert rank_share(some, matches.right) > 0.95
    assert np.abs(all_of_them - some).mean() < 0.1


def test_circles_cover_the_truth_when_the_priors_err_within_their_noise():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        voters, query, matches = case(random.integers(1 << 30), 5, 200, 1, 1, gravity_degrees=1, height_metres=0.3)
        point = voters.points[matches.rows]
        upright = np.array([point[:, 0], -point[:, 2], point[:, 1]]).T
        rays = CAMERA.rays(matches.pixels)
        down = query.gravity
        dip = np.arcsin(rays @ down / np.linalg.norm(rays, axis=1))
        level = np.stack([0 * dip, np.sin(dip), np.cos(dip)], axis=1)
        bounds = voters.nearest[matches.rows], voters.farthest[matches.rows]
        circles = circles_of(level, upright, -query.height, bounds, (np.deg2rad(1), 0.3), Search(radii=6))
        radius = np.hypot(*(point[0, :2] - query.camera_from_world.centre[:2]))
        covered += np.any(np.abs(np.log(circles.radius / radius)) < np.log(1.25))
    assert covered > 170


@pytest.mark.parametrize("dip", [0.0, 1e-12, -1e-12, 0.01])
def test_rays_along_the_horizon_are_bound_by_the_observing_distances(dip):
    ray = np.array([[0.0, np.sin(dip), np.cos(dip)]])
    circles = circles_of(ray, np.zeros((1, 3)), 0.0, (5.0, 20.0), (np.deg2rad(1), 0.3), Search(slack=1.0, radii=8))
    assert len(circles.radius) > 2
    assert (circles.radius >= 5 - 1e-9).all()
    assert (circles.radius <= 20 + 1e-9).all()
    assert (np.abs(circles.level) <= 0.3 + 1e-9).all()


def test_matches_that_the_priors_rule_out_score_nothing():
    up, below = np.array([[0.0, -0.5, 1.0]]), np.array([[0.0, 1.5, 0.0]])
    assert not len(circles_of(up, below, 0.0, (1.0, 50.0), (0.02, 0.3), Search()).match)


def test_weights_keep_a_floor_and_survive_scores_of_nothing():
    weights = sampling_weights([0.0, 0.2, 0.4], power=1, floor=0.3)
    np.testing.assert_allclose(weights, [0.1, 0.1 + 0.7 / 3, 0.1 + 1.4 / 3])
    np.testing.assert_allclose(sampling_weights([0.0, 0.0]), [0.5, 0.5])
    assert sampling_weights([]).shape == (0,)
    np.testing.assert_allclose(match_votes([0.0, 0.2, 0.4]), [0.25, 0.625, 1.0])
    np.testing.assert_allclose(match_votes([0.0, 0.0]), [0.25, 0.25])


def test_nothing_in_gives_nothing_out():
    voters, query, matches = case()
    assert scores_of(voters[:0], query, replace(matches, rows=matches.rows[:0], pixels=matches.pixels[:0])).shape == (
        0,
    )
    none = gsmc_scores(CAMERA, [[1, 1]], [[5, 0, 1]], voters[:0], query.labels, query.gravity, 1.7)
    np.testing.assert_array_equal(none, [0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pixels": np.zeros((3, 2))}, "matches want pixels"),
        ({"labels": np.zeros((240, 321), int)}, "label map of \\(321, 240\\) pixels for a camera of 320 x 240"),
        ({"height": np.nan}, "height nan"),
        ({"gravity": np.zeros(3)}, "gravity should be a direction of three"),
    ],
)
def test_bad_input_is_one_clear_line(change, says):
    voters, query, matches = case()
    given = {"pixels": matches.pixels, "labels": query.labels, "gravity": query.gravity, "height": 1.7} | change
    with pytest.raises(FgsnError, match=says):
        gsmc_scores(
            CAMERA, given["pixels"], voters.points[matches.rows], voters,
            given["labels"], given["gravity"], given["height"],
        )  # fmt: skip


def test_the_true_pose_is_among_those_of_a_right_match():
    """The look-at rotation of the slow loop is the true one when everything is exact."""
    _, query, _ = case()
    pose = query.camera_from_world
    point = pose.inverse().transform([[1.0, 0.5, 12.0]])[0]
    ray = np.array([1.0, 0.5, 12.0])
    found = look(ray, query.gravity, point - pose.centre)
    assert isinstance(pose, Pose)
    np.testing.assert_allclose(found, pose.rotation, atol=1e-9)

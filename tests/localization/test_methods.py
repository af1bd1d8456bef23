"""The three ways to a pose side by side, in a street of labelled planes with few right matches among many wrong."""

import numpy as np
import pytest

from fgsn.bench.street import CAMERA, make_map, make_matches, make_query
from fgsn.inference.label_lookup import labels_at
from fgsn.localization.gsmc import gsmc_scores, match_votes, sampling_weights
from fgsn.localization.robust_pose import estimate_pose
from fgsn.localization.ssmc import consistent

QUERIES = 8


def errors(right, labels, wrong_labels, degrees=1.0, metres=0.3, count=500):
    """Distances (QUERIES,) of the camera centre from the true one, per method."""
    found = {"p3p": [], "ssmc": [], "gsmc": [], "gsmc, all vote alike": []}
    for seed in range(QUERIES):
        random = np.random.default_rng(seed)
        voters = make_map(random, 2000, labels)
        query = make_query(random, labels, wrong=wrong_labels, gravity_degrees=degrees, height_metres=metres)
        matches = make_matches(random, query, voters, count, right)
        points, pixels = voters.points[matches.rows], matches.pixels
        keep = consistent(matches.rows, voters.labels, labels_at(query.labels, pixels))
        bounds = voters.nearest[matches.rows], voters.farthest[matches.rows]
        scores = gsmc_scores(
            CAMERA, pixels, points, voters, query.labels, query.gravity, query.height, match_range=bounds
        )
        weights = sampling_weights(scores)
        limits = {"max_error": 4.0, "max_samples": 20_000}
        estimates = {
            "p3p": estimate_pose(CAMERA, pixels, points, **limits),
            "ssmc": estimate_pose(CAMERA, pixels[keep], points[keep], **limits),
            "gsmc": estimate_pose(CAMERA, pixels, points, weights, votes=match_votes(scores), **limits),
            "gsmc, all vote alike": estimate_pose(CAMERA, pixels, points, weights, **limits),
        }
        for name, estimate in estimates.items():
            pose = estimate.camera_from_world
            distance = np.inf if pose is None else np.linalg.norm(pose.centre - query.camera_from_world.centre)
            found[name].append(distance)
    return {name: np.array(values) for name, values in found.items()}


def recall(values, metres):
    return (values < metres).mean()


@pytest.mark.parametrize(("right", "labels"), [(10, 60), (10, 12)])
def test_labels_find_poses_that_geometry_alone_does_not(right, labels):
    """98 % outliers, and 30 % of the query's labels are wrong."""
    found = errors(right, labels, 0.3)
    assert recall(found["p3p"], 5) < recall(found["ssmc"], 5) <= recall(found["gsmc"], 5)
    assert recall(found["p3p"], 0.5) < recall(found["ssmc"], 0.5)
    assert recall(found["gsmc"], 5) >= 0.8
    assert recall(found["gsmc, all vote alike"], 5) > recall(found["p3p"], 5)


def test_with_many_right_matches_all_agree():
    for values in errors(100, 20, 0.2, count=250).values():
        assert recall(values, 0.25) == 1


def test_priors_that_lie_do_no_harm_beyond_what_matches_can_mend():
    """Gravity and height far off what they claim: scores mean little, yet every match can still be drawn and votes."""
    assert recall(errors(40, 30, 0.2, degrees=15.0, metres=3.0, count=400)["gsmc"], 0.5) > 0.8

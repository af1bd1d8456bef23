from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree

import plain_scene as scene
from fgsn.correspond.from_model import from_model
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import join
from fgsn.matching.pair import MatchedPair, RefusedPair

SUMMER, WINTER = scene.images("summer", scene.drive(5, 0.0)), scene.images("winter", scene.drive(5, 0.4))
BOTH = join([SUMMER, WINTER])
TRUTH = scene.truth(BOTH)


def condition_of(name: str) -> str:
    return name.split("/")[0]


@pytest.fixture(scope="module")
def model() -> Reconstruction:
    return scene.reconstruct(BOTH, 0, noise=0.3)


def forget(model: Reconstruction, condition: str, share: float) -> Reconstruction:
    """The model without a share of the observations of a condition."""
    of = np.array([condition_of(name) == condition for name in model.names])
    kept = ~of[model.track_image] | (np.random.default_rng(0).random(len(model.track_image)) >= share)
    return replace(
        model, track_point=model.track_point[kept], track_image=model.track_image[kept],
        track_pixels=model.track_pixels[kept],
    )  # fmt: skip


def test_what_both_observe_corresponds_where_the_map_has_it(model):
    found = list(from_model(model, "summer", by_projection=False))
    assert len(found) == 5
    both = [set(model.track_point[model.track_image == row].tolist()) for row in range(len(model.names))]
    for pair in found:
        assert isinstance(pair, MatchedPair)
        assert scene.share_right(pair, TRUTH)[1] > 0.95
        one, other = model.names.index(pair.reference), model.names.index(pair.target)
        points = model.points[sorted(both[one] & both[other])]
        here, there = model.project(one, points)[0], model.project(other, points)[0]
        apart, row = KDTree(here).query(pair.points_ref)
        assert apart.max() < 1e-9
        np.testing.assert_allclose(there[row], pair.points_tgt, atol=1e-9)


def test_the_map_is_less_noisy_than_its_observations():
    noisy = scene.reconstruct(BOTH, 3, points=300, noise=1.0)
    shifts = []
    for pair in from_model(noisy, "summer", by_projection=False, largest_error=9.0):
        assert isinstance(pair, MatchedPair)
        camera, pose = TRUTH[pair.reference]
        other, other_pose = TRUTH[pair.target]
        at, _ = scene.sees(other, other_pose, scene.look(camera, pose, pair.points_ref))
        shifts.append(np.linalg.norm(at - pair.points_tgt, axis=1))
    # An observation alone is off by 1.2 pixels in the median, in each of the two images.
    assert np.nanmedian(np.concatenate(shifts)) < 0.5


def test_points_and_pairs_are_limited(model):
    few = list(from_model(model, "summer", points=30, per_condition=2))
    assert len(few) == 10
    assert all(len(pair.errors) == 30 for pair in few)


def test_projection_gives_back_what_the_target_does_not_observe(model):
    sparse = forget(model, "winter", 0.7)
    observed = list(from_model(sparse, "summer", by_projection=False))
    projected = list(from_model(sparse, "summer"))
    for some, more in zip(observed, projected, strict=True):
        assert isinstance(more, MatchedPair)
        assert len(more.errors) > 1.5 * (len(some.errors) if isinstance(some, MatchedPair) else 20)
        right, seen = scene.share_right(more, TRUTH)
        assert right > 0.95
        assert seen > 0.9
        assert np.median(more.errors) < 1.5


def test_images_that_were_localized_later_observe_nothing(model):
    found = list(from_model(forget(model, "winter", 1.0), "summer"))
    assert len(found) == 5
    for pair in found:
        assert isinstance(pair, MatchedPair)
        right, seen = scene.share_right(pair, TRUTH)
        assert right > 0.95
        assert seen > 0.85


def test_wrong_input_is_reported_in_one_line(model):
    one = replace(model, names=[f"all/{name}" for name in model.names])
    with pytest.raises(FgsnError, match="all images have one condition, 'all'"):
        next(from_model(one, "all"))
    with pytest.raises(
        FgsnError, match="no image has the reference condition 'spring'; the conditions are: summer, winter"
    ):
        next(from_model(model, "spring"))
    refused = list(from_model(forget(model, "summer", 1.0), "summer"))
    assert all(isinstance(one, RefusedPair) for one in refused)
    assert len(refused) == 5

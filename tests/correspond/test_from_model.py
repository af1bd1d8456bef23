from dataclasses import replace

import numpy as np
import pytest

import plain_scene as scene
from fgsn.correspond.from_model import from_model
from fgsn.correspond.pair import MatchedPair, Refused
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.geometry.posed import join

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


def test_what_both_observe_corresponds_as_observed(model):
    found = list(from_model(model, "summer", condition_of, by_projection=False))
    assert len(found) == 5
    seen = {
        (int(image), *pixel): int(point)
        for image, pixel, point in zip(model.track_image, model.track_pixels.tolist(), model.track_point, strict=True)
    }
    for pair in found:
        assert isinstance(pair, MatchedPair)
        assert scene.share_right(pair, TRUTH)[1] > 0.95
        one, other = model.names.index(pair.reference), model.names.index(pair.target)
        for here, there in zip(pair.points_ref.tolist(), pair.points_tgt.tolist(), strict=True):
            assert seen[one, *here] == seen[other, *there]
    few = list(from_model(model, "summer", condition_of, points=30, per_condition=2))
    assert len(few) == 10
    assert all(len(pair.errors) == 30 for pair in few)


def test_projection_gives_back_what_the_target_does_not_observe(model):
    sparse = forget(model, "winter", 0.7)
    observed = list(from_model(sparse, "summer", condition_of, by_projection=False))
    projected = list(from_model(sparse, "summer", condition_of))
    for some, more in zip(observed, projected, strict=True):
        assert isinstance(more, MatchedPair)
        assert len(more.errors) > 1.5 * (len(some.errors) if isinstance(some, MatchedPair) else 20)
        right, seen = scene.share_right(more, TRUTH)
        assert right > 0.95
        assert seen > 0.9
        assert np.median(more.errors) < 1.5


def test_images_that_were_localized_later_observe_nothing(model):
    found = list(from_model(forget(model, "winter", 1.0), "summer", condition_of))
    assert len(found) == 5
    for pair in found:
        assert isinstance(pair, MatchedPair)
        right, seen = scene.share_right(pair, TRUTH)
        assert right > 0.95
        assert seen > 0.85


def test_wrong_input_is_said_in_one_line(model):
    with pytest.raises(FgsnError, match="all images are of one condition, 'all'"):
        next(from_model(model, "all", lambda name: "all"))
    with pytest.raises(FgsnError, match="no image is of the reference condition 'spring'; there are: summer, winter"):
        next(from_model(model, "spring", condition_of))
    refused = list(from_model(forget(model, "summer", 1.0), "summer", condition_of))
    assert all(isinstance(one, Refused) for one in refused)
    assert len(refused) == 5

from dataclasses import replace

import numpy as np
import pytest

import plain_scene as scene
from fgsn.correspond.by_position import by_position
from fgsn.correspond.same_surface import image_space, mutual_nearest, within_reach
from fgsn.errors import FgsnError
from fgsn.geometry.colmap import Reconstruction
from fgsn.matching.pair import MatchedPair, RefusedPair

SUMMER, WINTER = scene.images("summer", scene.drive(6, 0.0)), scene.images("winter", scene.drive(6, 0.4, shift=0.3))
TRUTH = scene.truth(SUMMER, WINTER)


@pytest.fixture(scope="module")
def models() -> dict[str, Reconstruction]:
    """No point of the one model is a point of the other."""
    return {
        "summer": scene.reconstruct(SUMMER, 0, points=400, noise=0.3),
        "winter": scene.reconstruct(WINTER, 1, points=400, noise=0.3),
    }


def test_surfaces_are_matched_without_a_common_point(models):
    found = list(by_position(models, "summer"))
    assert len(found) == 6
    for pair in found:
        assert isinstance(pair, MatchedPair)
        assert len(pair.errors) > 100
        right, seen = scene.share_right(pair, TRUTH)
        assert right > 0.95
        assert seen > 0.93
        assert 0.3 < np.median(pair.errors) < 2


def test_a_thing_that_is_gone_is_not_matched(models, monkeypatch):
    monkeypatch.setattr(scene, "STREET", scene.STREET[:-1])
    without = {"summer": models["summer"], "winter": scene.reconstruct(WINTER, 1, points=400)}
    monkeypatch.undo()
    board = (models["summer"].points[:, 2] - 9) ** 2 < 1e-6
    assert board.sum() > 50
    for pair in by_position(without, "summer"):
        camera, pose = TRUTH[pair.reference]
        on_board = np.abs(scene.look(camera, pose, pair.points_ref)[:, 2] - 9) < 1e-6
        assert on_board.mean() < 0.02


@pytest.mark.parametrize("condition", ["summer", "winter"])
def test_models_without_points_are_refused(models, condition):
    model = models[condition]
    rows = np.zeros(0, np.int64)
    empty = replace(
        model, points=np.zeros((0, 3)), colours=np.zeros((0, 3), np.uint8), track_point=rows, track_image=rows,
        track_pixels=np.zeros((0, 2)),
    )  # fmt: skip
    assert empty.names == model.names
    with pytest.raises(FgsnError, match=f"the model of '{condition}' has no points") as error:
        next(by_position(models | {condition: empty}, "summer"))
    assert "\n" not in str(error.value)


def test_a_displacement_counts_as_error(models):
    one, other = (next(by_position(models, "summer", displaced={"winter": shift})) for shift in (0.0, 1.0))
    assert np.median(other.errors) > np.median(one.errors) + 0.2


def test_places_that_only_one_model_has_are_refused(models):
    with pytest.raises(FgsnError, match="one condition"):
        next(by_position({"summer": models["summer"]}, "summer"))
    # Half of the reference's route was never driven in winter.
    long = scene.images("summer", scene.drive(12, 0.0, step=-8.0))
    found = list(by_position({"summer": scene.reconstruct(long, 0, points=400), "winter": models["winter"]}, "summer"))
    assert isinstance(found[0], MatchedPair)
    assert isinstance(found[-1], RefusedPair)


def test_nearness_is_measured_as_an_image_sees_it():
    here = SUMMER
    points = np.array([[0.0, 0.0, 10.0], [0.0, 0.0, -5.0], [3.0, 1.0, 30.0]])
    seen = image_space(here, 0, points)
    aside = image_space(here, 0, points + np.array([0.2, 0.0, 0.0]))
    assert np.linalg.norm(seen[0] - aside[0]) == pytest.approx(0.2 / 10 * 77, rel=0.01)
    deeper = image_space(here, 0, points * 1.03)
    assert np.linalg.norm(seen[0] - deeper[0]) == pytest.approx(4, rel=0.1)
    assert within_reach(seen, aside).tolist() == [True, False, True]
    row, other = mutual_nearest(seen, aside[[2, 0]])
    assert (row.tolist(), other.tolist()) == ([0, 2], [1, 0])
    assert len(mutual_nearest(seen, aside[:0])[0]) == 0
    assert within_reach(seen, aside[:0]).tolist() == [False] * 3

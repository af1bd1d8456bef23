import numpy as np
import pytest

import plain_scene as scene
from fgsn.correspond.by_position import by_position
from fgsn.errors import FgsnError
from fgsn.matching.pair import MatchedPair
from fgsn.matching.triangulate import nearest_to_rays, triangulate

IMAGES = scene.images("a", scene.drive(6, 0.0))


def matched(images, seed, wrong=0.0, noise=0.0):
    """Key points and matches of neighbouring images, a share of the matches wrong, and the true map."""
    model = scene.reconstruct(images, seed, points=200, noise=noise)
    rows = [np.nonzero(model.track_image == row)[0] for row in range(len(images.names))]
    key_points = [model.track_pixels[mine] for mine in rows]
    rng, matches = np.random.default_rng(seed), []
    for one in range(len(rows) - 1):
        for other in range(one + 1, min(one + 3, len(rows))):
            points = model.track_point[rows[one]], model.track_point[rows[other]]
            _, here, there = np.intersect1d(*points, return_indices=True)
            bad = rng.random(len(there)) < wrong
            there[bad] = rng.permutation(there[bad])
            matches.append((one, other, np.column_stack([here, there])))
    return key_points, matches, model


def test_rays_meet_in_the_point():
    model = scene.reconstruct(IMAGES, 0)
    poses = model.camera_from_world[model.track_image]
    rays = scene.CAMERA.rays(model.track_pixels)
    points, good = nearest_to_rays(model.track_point, rays, poses, len(model.points) + 1)
    assert good[:-1].mean() > 0.6
    assert not good[-1]
    assert points[good] == pytest.approx(model.points[good[:-1]], abs=1e-6)
    assert np.isnan(points[~good]).all()


def test_wrong_matches_do_little_harm():
    key_points, matches, truth = matched(IMAGES, 0, wrong=0.2, noise=0.3)
    model = triangulate(IMAGES, key_points, matches)
    assert len(model.points) > 0.5 * len(truth.points)
    assert model.errors().max() < 4
    assert np.bincount(model.track_point).min() >= 2
    seen_twice = np.unique(np.column_stack([model.track_point, model.track_image]), axis=0)
    assert len(seen_twice) == len(model.track_point)
    nearest = np.linalg.norm(model.points[:, None] - truth.points[None], axis=2).min(axis=1)
    depth = np.linalg.norm(model.points - IMAGES.camera_from_world.centre.mean(axis=0), axis=1)
    assert np.median(nearest / depth) < 0.03
    assert np.quantile(nearest / depth, 0.8) < 0.1


def test_posed_images_reach_correspondences():
    other = scene.images("b", scene.drive(6, 0.4, shift=0.3))

    def make(images):
        return triangulate(images, *matched(images, len(images.names[0]) + (images is other), noise=0.2)[:2])

    models = {"a": make(IMAGES), "b": make(other)}
    truth = scene.truth(IMAGES, other)
    found = [one for one in by_position(models, "a") if isinstance(one, MatchedPair)]
    assert len(found) >= 5
    assert np.mean([scene.share_right(pair, truth)[1] for pair in found]) > 0.93


def test_nothing_that_fits_is_said_in_one_line():
    key_points, matches, _ = matched(IMAGES, 0)
    with pytest.raises(FgsnError, match="no point could be triangulated from 6 images"):
        triangulate(IMAGES, key_points, [])
    with pytest.raises(FgsnError, match="no point could be triangulated"):
        triangulate(IMAGES, key_points, [(one, other, rows[:0]) for one, other, rows in matches])


def test_observations_keep_the_numbers_of_their_key_points():
    """So that the map can be written for hloc: row n of an image is its key point n."""
    key_points, matches, _ = matched(IMAGES, 0)
    found = triangulate(IMAGES, key_points, matches)
    assert found.key_points is not None
    assert found.track_keypoint is not None
    seen = [found.key_points[image][row] for image, row in zip(found.track_image, found.track_keypoint, strict=True)]
    assert np.array(seen).tolist() == found.track_pixels.tolist()

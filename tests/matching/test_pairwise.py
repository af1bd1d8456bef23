import numpy as np
import pytest
from scipy.spatial import KDTree

from fgsn.matching.features import Features
from fgsn.matching.pair import MatchedPair, RefusedPair
from fgsn.matching.pairwise import match_images
from matched_scene import CAMERA, depth, make_scene

pytest.importorskip("poselib")
SUMMER, WINTER = [f"summer/{n}.png" for n in range(3)], [f"winter/{n}.png" for n in range(3)]


@pytest.mark.parametrize("known", [False, True])
def test_from_images_to_correspondences(tmp_path, known):
    scene = make_scene(tmp_path, [*SUMMER, *WINTER], points=500)
    # Beside the scene stands a camera that sees other things, and a broken image.
    for other in (scene.matcher.found[1], scene.matcher.found[4]):
        np.random.default_rng(len(other)).shuffle(other.descriptors)
    scene.images[WINTER[2]].write_bytes(b"\x89PNG broken")
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    cameras = dict.fromkeys(scene.images, CAMERA) if known else None
    pairs = list(zip(SUMMER, WINTER, strict=True))
    good, chance, broken = match_images(features, pairs, cameras=cameras)
    assert isinstance(good, MatchedPair)
    assert (good.reference, good.target) == pairs[0]
    assert len(good.points_ref) > 20
    assert good.points_ref.dtype == good.points_tgt.dtype == np.float64
    assert good.points_ref.shape == good.points_tgt.shape == (*good.errors.shape, 2)
    assert isinstance(chance, RefusedPair)
    assert chance.reason
    assert isinstance(broken, RefusedPair)
    assert "2.png" in broken.reason
    assert "\n" not in broken.reason


def test_dense_points_lie_between_the_matches(tmp_path):
    scene = make_scene(tmp_path, [SUMMER[0], WINTER[0]], points=1500, noise=0.5, seed=2)
    features = Features(scene.images, scene.matcher, tmp_path / "work", longest=0)
    (sparse,) = match_images(features, [(SUMMER[0], WINTER[0])])
    (dense,) = match_images(features, [(SUMMER[0], WINTER[0])], dense=True)
    assert isinstance(sparse, MatchedPair)
    assert isinstance(dense, MatchedPair)
    count = len(sparse.points_ref)
    assert len(dense.points_ref) > count + 50
    assert np.array_equal(dense.points_ref[:count], sparse.points_ref)
    assert KDTree(sparse.points_ref).query(dense.points_ref[count:])[0].min() > 2
    # The truth, from exact projections of the wall that lie all around.
    wall = np.stack(np.meshgrid(np.linspace(-7, 7, 700), np.linspace(-5, 5, 500), [0]), axis=-1).reshape(-1, 3)
    wall[:, 2] = depth(wall)
    here, there = (CAMERA.project(scene.poses[number].transform(wall))[0] for number in (0, 1))
    apart, nearest = KDTree(here).query(dense.points_ref)
    assert apart.max() < 1
    expected = there[nearest] + dense.points_ref - here[nearest]
    assert np.percentile(np.linalg.norm(dense.points_tgt - expected, axis=1), 95) < 1.2
    assert CAMERA.contains(dense.points_tgt).all()

import time

import numpy as np
import pytest

from fgsn.inference.colours import CITYSCAPES, class_palette, palette

CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian"]


@pytest.mark.parametrize("clusters", [1, 2, 19, 256, 257, 1000, 4096])
def test_colours_are_distinct_and_the_same_every_time(clusters):
    colours = palette(clusters)
    assert colours.shape == (clusters, 3)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == clusters
    palette.cache_clear()
    np.testing.assert_array_equal(palette(clusters), colours)


def test_fewer_labels_keep_their_colours():
    np.testing.assert_array_equal(palette(1500)[:100], palette(100))


def test_few_labels_lie_far_apart():
    colours = palette(20).astype(float)
    gaps = np.linalg.norm(colours[:, None] - colours, axis=2) + 1e9 * np.eye(20)
    assert gaps.min() > 40


def test_many_colours_take_little_time():
    palette.cache_clear()
    start = time.process_time()
    palette(4096)
    assert time.process_time() - start < 5


def test_a_shared_palette_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        palette(5)[0] = 0


def test_classes_have_their_customary_colours():
    np.testing.assert_array_equal(class_palette(list(CITYSCAPES)), list(CITYSCAPES.values()))
    camvid = class_palette(CAMVID)
    assert camvid.shape == (10, 3)
    assert tuple(camvid[0]) == CITYSCAPES["sky"]
    assert tuple(camvid[6]) == CITYSCAPES["traffic sign"]
    assert len(np.unique(camvid, axis=0)) == 10


def test_unknown_and_doubled_classes_get_colours_of_their_own():
    colours = class_palette(["tree", "vegetation", "gondola", "lane marking"])
    assert len(np.unique(colours, axis=0)) == 4
    assert class_palette([]).shape == (0, 3)

from pathlib import Path

import numpy as np
import pytest

from fgsn.data.correspondences import Correspondences
from fgsn.errors import FgsnError
from fgsn.evaluation import measure as module
from fgsn.evaluation.measure import measure
from fgsn.evaluation.position_control import find_false_partners
from fgsn.evaluation.stationary import count_pixels
from fgsn.inference.correspondence_labels import correspondence_labels
from fgsn.inference.label_lookup import labels_at

MAPS = {
    Path("ref"): np.arange(12).reshape(3, 4),
    Path("snow"): np.arange(12).reshape(3, 4),
    Path("night"): np.arange(12)[::-1].reshape(3, 4),
}


def pair(reference, target, points_ref, points_tgt=None):
    points_ref = np.array(points_ref, float).reshape(-1, 2)
    points_tgt = points_ref if points_tgt is None else np.array(points_tgt, float).reshape(-1, 2)
    return Correspondences(Path(reference), Path(target), points_ref, points_tgt, np.ones(len(points_ref)))


def test_a_point_takes_the_nearest_pixel_of_a_map_that_is_not_square():
    points = [[0, 0], [3, 2], [0.49, 0.49], [0.5, 0], [2.6, 1.4], [-0.5, -0.5], [3.49, 2.49]]
    assert labels_at(MAPS[Path("ref")], np.array(points)).tolist() == [0, 11, 0, 1, 7, 0, 11]


@pytest.mark.parametrize("point", [[-0.51, 0], [3.5, 0], [0, 2.5], [0, -1], [1e6, 0]])
def test_a_point_outside_has_no_label(point):
    assert labels_at(MAPS[Path("ref")], np.array([point], float)).tolist() == [-1]


def test_rows_stay_together_and_each_image_is_read_once():
    read = []

    def label_of(image):
        read.append(image)
        return MAPS[image]

    pairs = [
        pair("ref", "snow", [[0, 0], [9, 9], [1, 1]]),
        pair("ref", "night", []),
        pair("ref", "night", [[0, 0], [1, 0]], [[3, 2], [9, 0]]),
    ]
    found = correspondence_labels(label_of, pairs)
    assert found.reference.tolist() == [0, 5, 0]
    assert found.target.tolist() == [0, 5, 0]
    assert found.pair.tolist() == [0, 0, 2]
    assert found.outside == 2
    assert sorted(read) == sorted(MAPS)


def test_measure_tells_conditions_and_places_apart():
    everywhere = [[x, y] for y in range(3) for x in range(4)]
    pairs = [pair("ref", "snow", everywhere), pair("ref", "night", everywhere)]
    metrics = measure(MAPS.__getitem__, pairs, 12, lambda image: "here", lambda image: image.name)
    assert metrics["points"] == 24
    assert metrics["places"] == 1
    assert metrics["points_outside"] == 0
    assert metrics["agreement"] == 0.5
    assert metrics["conditions"]["snow"]["agreement"] == 1
    assert metrics["conditions"]["night"]["agreement"] == 0
    assert "conditions" not in measure(MAPS.__getitem__, pairs, 12)


@pytest.mark.parametrize("pairs", [[], [pair("ref", "snow", [])], [pair("ref", "snow", [[99, 99]])]])
def test_nothing_to_measure_is_an_error(pairs):
    with pytest.raises(FgsnError, match="no correspondences"):
        measure(MAPS.__getitem__, pairs, 12)


def test_pixels_with_correspondences_count_once():
    labels = {Path("ref"): np.array([[0, 0, 0], [1, 1, 1]]), Path("other"): np.array([[2, 2], [2, 2]])}
    pairs = [
        pair("ref", "snow", [[0, 0], [0.2, 0.1], [1, 0], [2, 1]]),
        pair("ref", "night", [[0, 0], [7, 7]]),
        pair("other", "snow", []),
    ]
    pixels, carrying = count_pixels(labels.__getitem__, pairs, 4)
    assert pixels.tolist() == [3, 3, 4, 0]
    assert carrying.tolist() == [2, 1, 0, 0]


def test_false_partners_of_the_only_condition_are_those_of_all(monkeypatch):
    """They are searched once, for labels and grid, and for all correspondences and those of the condition."""
    asked = []

    def counted(*given):
        asked.append(given)
        return find_false_partners(*given)

    monkeypatch.setattr(module, "find_false_partners", counted)
    rng = np.random.default_rng(0)
    maps = {Path(f"{kind}{place}"): rng.integers(0, 5, (30, 40)) for place in range(6) for kind in ("ref", "snow")}
    points = [[x, y] for y in range(0, 30, 3) for x in range(0, 40, 3)]
    pairs = [pair(f"ref{place}", f"snow{place}", points) for place in range(6)]
    metrics = measure(maps.__getitem__, pairs, 5, str, lambda image: "snow")
    assert len(asked) == 1
    assert metrics["conditions"]["snow"]["kappa_position_controlled"] == metrics["kappa_position_controlled"]
    alone = measure(maps.__getitem__, pairs, 5, str)
    assert alone["kappa_position_controlled"] == metrics["kappa_position_controlled"]

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsn.errors import FgsnError
from fgsn.inference.label_lookup import find_label_map, labels_at
from fgsn.inference.label_maps import write_label_map
from fgsn.localization import labelled_map
from fgsn.localization.labelled_map import make_labelled_map, vote
from localization.toy import CAMERA, observed, toy_model

K = 7


@pytest.fixture
def labels(tmp_path):
    """Label maps of the toy model's images: the label is the column modulo K, plus the image's number."""
    for image, name in enumerate(toy_model().names):
        columns = (np.arange(CAMERA.width) + image) % K
        write_label_map(tmp_path / name.replace(".jpg", ".png"), np.tile(columns, (CAMERA.height, 1)), K)
    return tmp_path


def test_every_point_has_the_majority_of_its_observations(labels):
    model = toy_model()
    labelled = make_labelled_map(model, labels)
    assert labelled.clusters == K
    assert (np.diff(labelled.track_image) >= 0).all()
    assert (labelled.observations == 3).all()
    for point in range(len(model.points)):
        mine = model.track_point == point
        votes = Counter(
            (int(np.floor(x + 0.5)) + image) % K
            for (x, _), image in zip(model.track_pixels[mine], model.track_image[mine], strict=True)
        )
        assert votes[int(labelled.labels[point])] == max(votes.values())
        assert labelled.confidence[point] == pytest.approx(max(votes.values()) / 3)


def test_what_an_image_sees(labels):
    model = toy_model()
    labelled = make_labelled_map(model, labels)
    for image in range(3):
        mine = model.track_image == image
        assert labelled.points_of(image).tolist() == model.track_point[mine].tolist()
        assert labelled.pixels_of(image) == pytest.approx(model.track_pixels[mine])


def test_a_map_without_labels():
    labelled = make_labelled_map(toy_model(), None)
    assert labelled.clusters == 0
    assert (labelled.labels == -1).all()
    assert (labelled.visibility.nearest > 0).all()


def test_missing_label_maps_are_listed_and_count_for_nothing(labels, capsys):
    model = toy_model()
    (labels / "reference/c0/001.png").unlink()
    labelled = make_labelled_map(model, labels)
    assert "1 of 3 images of the map have no label map" in capsys.readouterr().err
    assert (labelled.track_labels[labelled.track_image == 1] == -1).all()
    assert (labelled.labels >= 0).all()
    with pytest.raises(FgsnError, match=r"no label map of any image of the map; expected for example .*000\.png"):
        make_labelled_map(model, labels / "elsewhere")


def test_what_does_not_fit_is_said_in_one_line(labels):
    model = toy_model()
    with pytest.raises(FgsnError, match="no points"):
        make_labelled_map(replace(model, points=np.zeros((0, 3))), labels)
    with pytest.raises(FgsnError, match="5 stationary flags do not fit label maps of 7 labels"):
        make_labelled_map(model, labels, stationary=np.ones(5, bool))
    path = labels / "reference/c0/002.png"
    write_label_map(path, np.zeros((48, 64), int), K + 1)
    with pytest.raises(FgsnError, match=r"002\.png has 8 labels, but .*000\.png 7"):
        make_labelled_map(model, labels)
    write_label_map(path, np.zeros((24, 32), int), K)
    with pytest.raises(FgsnError, match=r"002\.png has 32 x 24 pixels, but the map's image .* 64 x 48"):
        make_labelled_map(model, labels)
    path.write_bytes(b"no picture")
    with pytest.raises(FgsnError, match="not a readable PNG"):
        make_labelled_map(model, labels)


def test_label_maps_are_found_as_segment_names_them(tmp_path):
    assert find_label_map(tmp_path, "a/x.jpg") is None
    for where in ("labels/a/x.png", "labels/a/x.jpg.png", "a/x.png"):
        (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / where).touch()
        assert find_label_map(tmp_path, "a/x.jpg") == tmp_path / where


def test_labels_of_the_nearest_pixel():
    label_map = np.arange(12, dtype=np.int32).reshape(3, 4)
    pixels = np.array([[0, 0], [-0.5, 0.49], [3.49, 2.49], [1.5, 0], [3.5, 0], [-0.51, 0], [np.nan, 0], [1e300, 0]])
    assert labels_at(label_map, pixels).tolist() == [0, 0, 11, 2, -1, -1, -1, -1]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3), st.integers(1, 3)), max_size=30))
def test_votes_against_a_plain_count(rows):
    table = np.array(rows, np.int64).reshape(-1, 3)
    labels, shares = vote(table[:, 0], table[:, 1].astype(np.int32), table[:, 2].astype(float), 5, 4)
    for point in range(5):
        mine = [(label, distance) for at, label, distance in rows if at == point and label >= 0]
        if not mine:
            assert (labels[point], shares[point]) == (-1, 0)
            continue
        counts = Counter(label for label, _ in mine)
        nearest = {label: min(distance for other, distance in mine if other == label) for label in counts}
        best = min(counts, key=lambda label: (-counts[label], nearest[label], label))
        assert labels[point] == best
        assert shares[point] == pytest.approx(counts[best] / len(mine))


def test_the_order_of_the_observations_does_not_matter(labels):
    model = toy_model()
    shuffled = np.random.default_rng(0).permutation(len(model.track_point))
    other = observed(model, shuffled)
    one, two = make_labelled_map(model, labels), make_labelled_map(other, labels)
    for name in ("labels", "confidence", "track_point", "track_labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name in ("axis", "half_angle", "nearest", "farthest"):
        np.testing.assert_array_equal(getattr(one.visibility, name), getattr(two.visibility, name))


def test_a_name_that_leaves_the_folder_of_label_maps_is_refused(tmp_path):
    write_label_map(tmp_path / "secret.png", np.zeros((4, 4), int), 3)
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg")):
        with pytest.raises(FgsnError, match="leaves its root folder"):
            find_label_map(tmp_path / "labels", name)


def test_points_vote_alike_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    points, labels = rng.integers(0, 50, 300), rng.integers(-1, 5, 300).astype(np.int32)
    distances = rng.integers(1, 5, 300).astype(np.float64)
    whole = vote(points, labels, distances, 50, 5)
    assert (whole[0] >= 0).sum() > 40
    monkeypatch.setattr(labelled_map, "_POINTS_AT_ONCE", 7)
    for block, all_at_once in zip(vote(points, labels, distances, 50, 5), whole, strict=True):
        assert np.array_equal(block, all_at_once)

import shutil

import numpy as np
import pytest
import yaml

from fgsn.config import PrepareSettings
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError


@pytest.fixture
def root(tmp_path, make_dataset):
    return make_dataset(tmp_path / "set", places=4)


@pytest.fixture
def dataset(root):
    prepare(PrepareSettings(dataset=root))
    return Dataset.open(root)


def test_pairs_and_reference_images(dataset):
    train, validation = dataset.pairs("train"), dataset.pairs("validation")
    assert len(train) == 6
    assert len(validation) == 2
    assert dataset.pairs("all") == sorted(train + validation) == dataset.correspondence_files()
    for split in ("train", "validation", "all"):
        expected = {read_correspondences(path).reference for path in dataset.pairs(split)}
        assert dataset.reference_images(split) == sorted(expected)


def test_key_points_come_from_every_training_file(dataset):
    for image in dataset.reference_images("train"):
        pairs = [read_correspondences(path) for path in dataset.pairs("train")]
        expected = np.concatenate([pair.points_ref for pair in pairs if pair.reference == image])
        points = dataset.reference_points(image)
        assert points.dtype == np.float64
        assert {tuple(row) for row in points} == {tuple(row) for row in expected}
        assert len(points) == len({tuple(row) for row in expected})
        np.testing.assert_array_equal(dataset.reference_points(dataset.name(image)), points)
    (held_out,) = dataset.reference_images("validation")
    with pytest.raises(FgsnError, match="not a reference image of a training pair"):
        dataset.reference_points(held_out)


def test_names_places_conditions(dataset, root, monkeypatch):
    image = root / "images/snow/c0/001.png"
    assert dataset.name(image) == dataset.name("snow/c0/001.png") == "snow/c0/001.png"
    assert dataset.condition(image) == "snow"
    assert dataset.condition("loose.png") == "all"
    assert dataset.place(image) == dataset.place("reference/c0/001.png") == "reference/c0/001.png"
    assert dataset.place("snow/c0/without_a_pair.png") == "snow/c0/without_a_pair.png"
    for outside in ("/etc/passwd", "../x.png", root / "images/../x.png"):
        with pytest.raises(FgsnError):
            dataset.name(outside)
    monkeypatch.chdir(root.parent)
    relative = Dataset.open("set")
    assert relative.name("set/images/snow/c0/001.png") == relative.name(image) == "snow/c0/001.png"


def test_dataset_yaml_knows_better(root):
    described = {"places": {"snow/c0/001.png": 7}, "condition_of": {"snow/c0/001.png": "winter"}}
    (root / "dataset.yaml").write_text(yaml.safe_dump(described))
    dataset = Dataset.open(root)
    assert dataset.yaml == described
    assert dataset.place("snow/c0/001.png") == "7"
    assert dataset.condition("snow/c0/001.png") == "winter"
    assert dataset.condition("snow/c0/002.png") == "snow"


def test_what_is_missing_is_reported(root, tmp_path):
    with pytest.raises(FgsnError, match="is not a folder"):
        Dataset.open(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    with pytest.raises(FgsnError, match="no folder correspondence_data/"):
        Dataset.open(tmp_path)
    dataset = Dataset.open(root)
    for ask in (lambda: dataset.pairs("train"), lambda: dataset.reference_images("train")):
        with pytest.raises(FgsnError, match="run fgsn prepare"):
            ask()
    with pytest.raises(FgsnError, match="run fgsn prepare"):
        dataset.reference_points("reference/c0/000.png")
    for content, expected in (
        ("places: 3", "'places' should map"),
        ("condition_of: [a]", "'condition_of' should map"),
        ("- 1", "should contain a YAML mapping"),
    ):
        (root / "dataset.yaml").write_text(content)
        with pytest.raises(FgsnError, match=expected):
            Dataset.open(root)


def test_lists_are_not_trusted(dataset, root):
    (root / "corr_train.txt").write_text("gone.mat\n")
    with pytest.raises(FgsnError, match=r"gone\.mat is listed but does not exist; run fgsn prepare"):
        dataset.pairs("train")
    (root / "corr_train.txt").write_text("../secret.mat\n")
    with pytest.raises(FgsnError, match="leaves"):
        dataset.pairs("train")
    (root / "reference_points.h5").write_bytes(b"half a file")
    with pytest.raises(FgsnError, match=r"is not a readable file of key points, .*; run fgsn prepare"):
        dataset.reference_points("reference/c0/000.png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slice6/query/img_00119_c0_1285949808454723us.jpg", "2010-10-01"),
        ("slice8/database/img_00014_c1_1301929261000000us.jpg", "2011-04-04"),  # the reference traversal
        ("cmu/slice25/query/img_00001_c1_1292957148602718us.jpg", "2010-12-21"),
        ("spring/c0/img_00119_c0_1285949808454723us.jpg", "spring"),  # sorted into conditions by hand
        ("slice6/query/other.jpg", "slice6"),
        ("overcast-reference/rear/1417178384000000.jpg", "overcast-reference"),
        ("robotcar/dawn/left/1418722000000000.jpg", "dawn"),
        ("night-rain/1.jpg", "night-rain"),
    ],
)
def test_conditions_of_the_public_data_sets(root, name, expected):
    assert Dataset.open(root).condition(name) == expected


def test_a_folder_of_data_sets_names_them(tmp_path, make_dataset):
    for name in ("RobotCar", "CMU"):
        make_dataset(tmp_path / name, places=1)
    with pytest.raises(FgsnError, match=r"give one of the data sets in it: .*CMU, .*RobotCar"):
        Dataset.open(tmp_path)


def test_images_that_were_not_downloaded_are_reported_by_folder(dataset, root):
    (root / "images/snow/c0/002.png").unlink()
    shutil.rmtree(root / "images/night")
    results = prepare(PrepareSettings(dataset=root))
    assert results["train_pairs"] + results["validation_pairs"] == 3
    night, snow = results["failed"]
    assert "images/night/c0: 4 of 4 images of the pairs are missing, first night/c0/000.png" in night
    assert night.endswith("add them: correspondence_night_000.mat and 3 more files cannot be used without them")
    assert "images/snow/c0: 1 of 4 images" in snow


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ("images", r"has no folder images/ \(<condition>/<camera>/<name>\.jpg of RobotCar, slice<N>/query"),
        (
            "images/*",
            r"correspondence_data: .*images/night/c0: 4 of 4 images of the pairs are missing, first",
        ),
        ("correspondence_data", r"has no folder correspondence_data/ \(correspondence_\*\.mat"),
        ("correspondence_data/*", r"correspondence_data: put the correspondence_\*\.mat of the data set there"),
    ],
)
def test_half_a_download_is_reported_precisely(root, gone, expected):
    for path in list(root.glob(gone)):
        path.rename(root.parent / f"gone_{path.name}")
    with pytest.raises(FgsnError, match=expected) as failure:
        prepare(PrepareSettings(dataset=root))
    assert "\n" not in str(failure.value)

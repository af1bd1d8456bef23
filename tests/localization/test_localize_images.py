"""`fgsn localize --images` by the command: images that are missing, elsewhere, or not of their cameras' size."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fgsn.cli import main
from fgsn.formats.queries import write_queries
from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.inference.label_maps import write_label_map
from fgsn.localization import matching_pipeline
from matched_scene import CAMERA, make_scene

MAP, QUERIES = [f"summer/{n}.jpg" for n in range(5)], [f"winter/{n}.jpg" for n in range(2)]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A map without points, whose images are triangulated from our own key points, and two queries."""
    scene = make_scene(tmp_path / "images", [*MAP, *QUERIES])
    monkeypatch.setattr(matching_pipeline, "make_matcher", lambda *_: scene.matcher)
    images = (MAP, [CAMERA], np.zeros(len(MAP), np.int64), scene.poses[np.arange(len(MAP))])
    points = (np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64))
    write_model(tmp_path / "map", Reconstruction(*images, *points, np.zeros((0, 2))))
    write_queries(tmp_path / "queries.txt", QUERIES, [CAMERA] * len(QUERIES))
    return scene


def localized(root, capsys, code=0, **other):
    given = {"map": root / "map", "queries": root / "queries.txt", "images": root / "images", "out": root / "poses.txt",
             "method": "p3p", "matcher": "sift", "workers": 0} | other  # fmt: skip
    flags = ((f"--{key.replace('_', '-')}", str(value)) for key, value in given.items())
    with pytest.raises(SystemExit) as stop:
        main(["localize", *(word for pair in flags for word in pair), "--json"])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    return json.loads(captured.out) if captured.out else captured.err.strip().splitlines()


def centres_are_right(root, scene):
    for line in (root / "poses.txt").read_text().splitlines():
        name, *numbers = line.split()
        row = [*MAP, *QUERIES].index(name)
        assert [float(number) for number in numbers[4:]] == pytest.approx(scene.poses.translation[row], abs=0.1)


def test_a_folder_too_high_is_one_line_with_the_right_one_before_any_work(scene, tmp_path, capsys):
    line = localized(tmp_path, capsys, 1, images=tmp_path)
    missing = tmp_path / MAP[0]
    said = f"fgsn: none of the 5 images of the map is in {tmp_path} (first {missing}); did you mean --images"
    assert line == [f"{said} {tmp_path / 'images'}?"]
    assert scene.matcher.asked == []


def test_label_maps_of_other_images_are_told_before_any_work(scene, tmp_path, capsys):
    for name in [*MAP, *QUERIES]:
        source = tmp_path / "images" / name
        write_label_map(tmp_path / "labels" / f"{name[:-4]}.png", np.zeros((240, 320), int), 5, source=source)
    labels = {"method": "ssmc", "map_labels": tmp_path / "labels", "query_labels": tmp_path / "labels"}
    Image.new("RGB", (320, 240), "red").save(tmp_path / "images" / QUERIES[1])
    (line,) = localized(tmp_path, capsys, 1, **labels)
    assert "1.png was made from another image than" in line
    assert scene.matcher.asked == []


def test_a_query_that_was_damaged_after_it_was_labelled_is_listed_alone(scene, tmp_path, capsys):
    for name in [*MAP, *QUERIES]:
        source = tmp_path / "images" / name
        write_label_map(tmp_path / "labels" / f"{name[:-4]}.png", np.zeros((240, 320), int), 5, source=source)
    labels = {"method": "ssmc", "map_labels": tmp_path / "labels", "query_labels": tmp_path / "labels"}
    damaged = tmp_path / "images" / QUERIES[1]
    damaged.write_bytes(damaged.read_bytes()[:-200])
    results = localized(tmp_path, capsys, 1, **labels)
    assert results["localized"] == len(results["failed"]) == 1
    assert QUERIES[1] in results["failed"][0]


@pytest.mark.parametrize("method", ["p3p", "gsmc"])
def test_a_query_without_key_points_has_no_pose_and_the_other_one_has(scene, tmp_path, capsys, method):
    """With all points of the map at once, and without priors: no map image is like it."""
    scene.matcher.found[len(MAP)] = scene.matcher.found[0].best(0)
    for name in [*MAP, *QUERIES]:
        write_label_map(tmp_path / "labels" / f"{name[:-4]}.png", np.zeros((240, 320), int), 5)
    given = {"method": method, "map_labels": tmp_path / "labels", "query_labels": tmp_path / "labels"}
    results = localized(tmp_path, capsys, retrieved=0, solver="gravity", **given)
    assert (results["localized"], results["without_pose"]) == (1, {"too few matches": 1})


def test_png_in_a_model_is_the_jpg_on_disk(scene, tmp_path, capsys):
    """As in RobotCar Seasons."""
    path = tmp_path / "map" / "images.txt"
    path.write_text(path.read_text().replace(".jpg", ".png"))
    results = localized(tmp_path, capsys)
    assert (results["localized"], results["problems"], results["failed"]) == (2, [], [])
    centres_are_right(tmp_path, scene)


def test_some_images_of_the_map_are_gone(scene, tmp_path, capsys):
    for name in MAP[:2]:
        scene.images[name].unlink()
    results = localized(tmp_path, capsys, 1)
    first = scene.images[MAP[0]]
    assert results["problems"] == [f"2 of the map's 5 images cannot be used, first: image {first} does not exist"]
    assert results["localized"] == 2
    centres_are_right(tmp_path, scene)


@pytest.mark.parametrize("size", [(160, 120), (240, 320)])
def test_images_of_another_size_than_their_cameras(scene, tmp_path, capsys, size):
    """Half the size, or sides swapped: the poses would be metres off."""
    shutil.copytree(tmp_path / "images", tmp_path / "whole")
    says = f"is 320 x 240 pixels, but the image is {size[0]} x {size[1]}; use images of the same size as the cameras"
    for name in MAP:
        Image.open(scene.images[name]).resize(size).save(scene.images[name])
    line = localized(tmp_path, capsys, 1)
    assert line == [f"fgsn: none of the 5 images of the map can be used: the camera of '{MAP[0]}' {says}"]
    for folder in ("summer", "winter"):
        shutil.copytree(tmp_path / "whole" / folder, tmp_path / "images" / folder, dirs_exist_ok=True)
    Image.open(scene.images[QUERIES[1]]).resize(size).save(scene.images[QUERIES[1]])
    results = localized(tmp_path, capsys, 1)
    assert results["failed"] == [f"the camera of '{QUERIES[1]}' {says}"]
    assert results["localized"] == 1
    centres_are_right(tmp_path, scene)


def test_intrinsics_of_the_image_before_it_was_enlarged(scene, tmp_path, capsys):
    (tmp_path / "queries.txt").write_text("".join(f"{name} PINHOLE 160 120 150 150 80 60\n" for name in QUERIES))
    [line] = localized(tmp_path, capsys, 1)
    assert f"none of the 2 images of the queries can be used: the camera of '{QUERIES[0]}' is 160 x 120 pixels" in line
    assert scene.matcher.asked == []

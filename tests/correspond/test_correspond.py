"""`fgsn correspond` from every source, by the command, and what it says of wrong input."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

import plain_scene as scene
from fgsn.cli import main
from fgsn.correspond import from_images
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset, metres_per_unit
from fgsn.formats.poses import write_poses
from fgsn.geometry.colmap import read_model, write_model
from fgsn.geometry.pose import Pose
from plain_scene import BOTH, SUMMER, WINTER


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with an image file for every image of both conditions, and a matcher that knows what they show."""
    monkeypatch.setattr(from_images, "make_matcher", lambda *_: scene.knowing_matcher())
    return scene.write_images(tmp_path / "photos")


def run(*words, capsys, code=0):
    """Run the command; the results as a dictionary, or the error as a line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["correspond", *map(str, words), "--workers=0", *(["--json"] if code == 0 else [])])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    if code == 0:
        return json.loads(captured.out)
    lines = [line for line in captured.err.splitlines() if line.startswith("fgsn: ")]
    assert len(lines) == 1, captured.err
    return lines[0]


def check(out, results, conditions=("winter",)):
    """The data set opens, is prepared, and every correspondence is right."""
    data = Dataset.open(out)
    files = data.correspondence_files()
    assert len(files) == results["pairs"] > 3
    truth, right = scene.truth(BOTH), []
    for path in files:
        pair = read_correspondences(path)
        names = data.name(pair.reference), data.name(pair.target)
        assert data.condition(names[0]) == "summer"
        assert data.condition(names[1]) in conditions
        camera, pose = truth[names[0]]
        other, other_pose = truth[names[1]]
        at, _ = scene.sees(other, other_pose, scene.look(camera, pose, pair.points_ref))
        right.append(np.linalg.norm(at - pair.points_tgt, axis=1) < 2)
    assert np.concatenate(right).mean() > 0.95
    assert set(data.pairs("train")) | set(data.pairs("validation")) <= set(files)
    assert data.pairs("train")
    assert results["train_pairs"] + results["validation_pairs"] + results["left_out_pairs"] == results["pairs"]


def given(tmp_path, photos, *more):
    return ("--images", photos, "--reference", "summer", "--out", tmp_path / "set", *more)


def lists(folder):
    scene.write_lists(folder)
    words = "--poses", folder / "summer.txt", folder / "winter.txt", "--intrinsics", folder / "intrinsics.txt"
    return (*words, "--depth", folder / "depth", "--depth-unit", "1")


def test_from_depth_maps(tmp_path, photos, capsys):
    words = given(tmp_path, photos, *lists(tmp_path / "lists"))
    results = run(*words, capsys=capsys)
    check(tmp_path / "set", results)
    assert results["by_condition"]["winter"]["reference_images"] == 5
    poses = (tmp_path / "set" / "truth" / "winter.txt").read_text().splitlines()
    assert len(poses) == 1 + 5
    assert (tmp_path / "set" / "queries" / "winter.txt").read_text().startswith("winter/c0/000.jpg PINHOLE 96 72 77 ")
    # Again: nothing is done anew, and another share for validation is another split of the same pairs.
    stamp = (tmp_path / "set" / "pairs.csv").stat().st_mtime_ns
    again = run(*words, "--validation-share", "0.5", capsys=capsys)
    assert (tmp_path / "set" / "pairs.csv").stat().st_mtime_ns == stamp
    assert again["validation_pairs"] > results["validation_pairs"]
    line = run(*words, "--points", "100", capsys=capsys, code=1)
    assert "with other settings (points 1500, now 100)" in line


def test_from_maps_in_one_frame(tmp_path, photos, capsys):
    scene.write_models(tmp_path)
    maps = f"summer={tmp_path / 'summer'}", f"winter={tmp_path / 'winter'}"
    results = run(*given(tmp_path, photos, "--maps", *maps), capsys=capsys)
    check(tmp_path / "set", results)
    reference = read_model(tmp_path / "set" / "sparse")
    assert reference.names == SUMMER.names
    assert len(reference.points) > 100


@pytest.mark.parametrize("source", ["maps", "poses"])
def test_images_with_another_ending_than_in_the_model(tmp_path, photos, capsys, source):
    if source == "maps":
        scene.write_models(tmp_path)
        words = "--maps", f"summer={tmp_path / 'summer'}", f"winter={tmp_path / 'winter'}"
        lists_of_names = [tmp_path / name / "images.txt" for name in ("summer", "winter")]
    else:
        words = lists(tmp_path / "lists")[:5]
        lists_of_names = [tmp_path / "lists" / name for name in ("summer.txt", "winter.txt")]
    for path in lists_of_names:
        path.write_text(path.read_text().replace(".jpg", ".png"))
    check(tmp_path / "set", run(*given(tmp_path, photos, *words), capsys=capsys))


def test_the_scale_is_kept_once_it_is_known(tmp_path, photos, capsys):
    words = given(tmp_path, photos, *lists(tmp_path / "lists"))
    run(*words, capsys=capsys)
    assert metres_per_unit(tmp_path / "set") is None
    run(*words, "--metres-per-unit", "2.5", capsys=capsys)
    assert metres_per_unit(tmp_path / "set") == 2.5
    run(*words, capsys=capsys)
    assert metres_per_unit(tmp_path / "set") == 2.5


def test_poses_with_another_meaning_are_named(tmp_path, photos, capsys):
    words = lists(tmp_path / "lists")[:5]
    turn = Rotation.from_rotvec([0.9, 0.3, -0.5]).as_matrix()
    for name, drive in (("summer", SUMMER), ("winter", WINTER)):
        poses = Pose.from_centre(drive.camera_from_world.rotation @ turn, drive.camera_from_world.centre @ turn)
        write_poses(tmp_path / "lists" / f"{name}.txt", drive.names, poses.inverse())
    line = run(*given(tmp_path, photos, *words), capsys=capsys, code=1)
    assert "summer.txt, " in line
    assert "contains poses from the camera to the world: " in line


def test_from_one_map_of_all_conditions(tmp_path, photos, capsys):
    write_model(tmp_path / "model", scene.reconstruct(BOTH, 0, points=300))
    results = run(*given(tmp_path, photos, "--maps", tmp_path / "model"), capsys=capsys)
    check(tmp_path / "set", results)
    map_of_summer = read_model(tmp_path / "set" / "sparse")
    assert map_of_summer.names == SUMMER.names
    assert np.bincount(map_of_summer.track_point).min() >= 2
    assert np.nanmax(map_of_summer.errors()) < 0.01


@pytest.mark.parametrize("source", ["depth", "maps", "model"])
def test_moved_pairs(tmp_path, photos, capsys, source):
    """Images from before and behind in both conditions: as exact as the others, and only more of them."""
    if source == "depth":
        words = lists(tmp_path / "lists")
    elif source == "maps":
        scene.write_models(tmp_path)
        words = "--maps", f"summer={tmp_path / 'summer'}", f"winter={tmp_path / 'winter'}"
    else:
        write_model(tmp_path / "model", scene.reconstruct(BOTH, 0, points=300))
        words = "--maps", tmp_path / "model"
    words = (*words, "--per-condition", "1")
    plain = run(*given(tmp_path / "plain", photos, *words), capsys=capsys)
    results = run(*given(tmp_path, photos, *words, "--moved-pairs", "2"), capsys=capsys)
    check(tmp_path / "set", results, ("summer", "winter"))
    assert results["by_condition"] == plain["by_condition"]
    with (tmp_path / "set" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    moved = [row for row in rows if row["moved"]]
    assert len(rows) - len(moved) == plain["pairs"]
    assert {row["target"].split("/")[0] for row in moved} == {"summer", "winter"}
    assert all(row["reference"] != row["target"] for row in rows)
    assert all(row["reference"].startswith("summer") for row in rows)
    steps = [int(row["target"][-7:-4]) - int(row["reference"][-7:-4]) for row in moved]
    assert {step > 0 for step in steps} == {False, True}
    assert np.median([float(row["motion_percent"]) for row in moved]) > 5
    listed = (tmp_path / "set" / "moved_pairs.txt").read_text().split()
    assert listed == sorted(row["file"] for row in moved)
    assert results["motion_median_percent"] > plain["motion_median_percent"]
    assert not (tmp_path / "plain" / "set" / "moved_pairs.txt").exists()
    held_out = (tmp_path / "plain" / "set" / "corr_val.txt").read_text()
    assert (tmp_path / "set" / "corr_val.txt").read_text() == held_out
    assert results["places"] == plain["places"]


def test_what_is_wrong_is_reported_in_one_line(tmp_path, photos, capsys):
    def wrong(*more, reference="summer", images=photos):
        words = ("--images", images, "--reference", reference, "--out", tmp_path / "set", *more)
        return run(*words, capsys=capsys, code=1)

    assert "does not exist; --images" in wrong(images=tmp_path / "nothing")
    for pairs in (tmp_path / "none.txt", f"positions:{tmp_path / 'none.txt'}"):
        assert "none.txt does not exist; --pairs" in wrong("--pairs", pairs)
    (tmp_path / "junk" / "summer").mkdir(parents=True)
    (tmp_path / "junk" / "summer" / "a.jpg").write_text("no image")
    assert "condition 'summer'; none of its images can be read; not read: " in wrong(images=tmp_path / "junk")
    assert "has no images of the reference condition 'spring'" in wrong(reference="spring")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "summer").symlink_to(photos / "summer")
    assert "contains only one condition, summer" in wrong(images=tmp_path / "one")
    (tmp_path / "one" / "snow").mkdir()
    (tmp_path / "one" / "snow" / "a.jpg").write_text("no image")
    assert "own subfolder; not read: " in wrong(images=tmp_path / "one")
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "flat" / "a.png")
    assert "has no subfolders with images" in wrong(images=tmp_path / "flat")

    model = scene.reconstruct(SUMMER, 0)
    write_model(tmp_path / "summer", model)
    assert "one condition" in wrong("--maps", tmp_path / "summer")
    write_model(tmp_path / "named", replace(model, names=[f"elsewhere/{n}.jpg" for n in range(5)]))
    assert "none of its 5 images is in the folder of images" in wrong("--maps", tmp_path / "named")
    small = replace(model, cameras=[replace(scene.CAMERA, width=48)])
    write_model(tmp_path / "small", small)
    assert "is 48 x 72 pixels, but the image is 96 x 72" in wrong("--maps", tmp_path / "small")
    winter, far = scene.reconstruct(WINTER, 1), np.array([500.0, 0.0, 0.0])
    poses = Pose.from_centre(winter.camera_from_world.rotation, winter.camera_from_world.centre + far)
    write_model(tmp_path / "away", replace(winter, camera_from_world=poses, points=winter.points + far))
    maps = "--maps", f"summer={tmp_path / 'summer'}", f"winter={tmp_path / 'away'}"
    assert "different frames" in wrong(*maps)
    shutil.rmtree(tmp_path / "set")  # with the features that this check needed

    words = lists(tmp_path / "lists")
    assert "give --depth-unit" in wrong(*words[:-1], "0.01")
    assert "has no intrinsics" in wrong(*words[:3], *words[5:])
    assert not (tmp_path / "set").exists()


def test_what_was_not_read_is_said_as_it_is_and_not_counted_as_one_image(tmp_path, capsys):
    for folder in ("summer", "winter"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "summer" / "a.png")
    for number in range(3):
        (tmp_path / "photos" / "winter" / f"{number}.HEIC").touch()
    words = ("--images", tmp_path / "photos", "--reference", "summer", "--out", tmp_path / "set")
    line = run(*words, capsys=capsys, code=1)
    assert f"; not read: {tmp_path / 'photos'} contains images in formats that are not read: 3 .heic; convert" in line
    assert "images cannot be read" not in line
    (tmp_path / "photos" / "winter" / "broken.jpg").touch()
    assert run(*words, capsys=capsys, code=1).endswith(" (and 1 more such lines)")


def test_a_photograph_copied_into_two_conditions_is_told(tmp_path, photos, capsys):
    shutil.copy(photos / "summer/c0/001.jpg", photos / "winter/c0/001.jpg")
    shutil.copy(photos / "summer/c0/002.jpg", photos / "summer/c0/003.jpg")  # within a condition: no pair
    results = run(*given(tmp_path, photos, *lists(tmp_path / "lists")), capsys=capsys)
    told = [doubt for doubt in results["doubts"] if "same file" in doubt]
    assert len(told) == 1
    assert told[0].startswith("1 photographs are the same file in several conditions")
    assert told[0].endswith("first: summer/c0/001.jpg and winter/c0/001.jpg")


def test_flags_that_do_not_go_together(tmp_path, photos, capsys):
    for more, message in (
        (("--depth", "x"), "--depth requires --poses"),
        (("--moved-pairs", "2"), "--moved-pairs requires the positions of the images"),
        (("--maps", "a", "b"), "CONDITION=MODEL"),
        (("--maps", "a", "--reconstruct"), "--reconstruct builds a model from images alone"),
    ):
        assert message in run(*given(tmp_path, photos, *more), capsys=capsys, code=2)


def test_a_broken_image_is_listed_and_the_rest_goes_on(tmp_path, photos, capsys):
    (photos / "winter/c0/002.jpg").write_bytes(b"no image")
    words = given(tmp_path, photos, *lists(tmp_path / "lists"))
    with pytest.raises(SystemExit) as stop:
        main(["correspond", *map(str, words), "--json"])
    assert stop.value.code == 1
    results = json.loads(capsys.readouterr().out)
    assert len(results["failed"]) == 1
    assert "winter/c0/002.jpg is not an image" in results["failed"][0]
    assert results["pairs"] == 5 * 2 - results["refused_pairs"] > 4
    assert results["refused"] == {"an image is missing or cannot be read": results["refused_pairs"]}

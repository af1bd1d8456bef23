"""Correspondences from images alone, by the command, with a matcher that knows which point is which."""

import json
import re
import shutil

import numpy as np
import pytest

from fgsn.cli import main
from fgsn.correspond import from_images as module
from fgsn.correspond.from_images import MORE_THAN_ASKED, best_of_each
from fgsn.data.correspondences import read_correspondences
from fgsn.data.dataset import Dataset
from fgsn.formats.poses import write_poses
from fgsn.formats.queries import write_queries
from fgsn.geometry.colmap import read_model
from fgsn.geometry.posed import PosedImages
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.pair import MatchedPair, RefusedPair
from matched_scene import CAMERA, make_scene

NAMES = [*(f"summer/c0/{n}.png" for n in range(5)), *(f"winter/c0/{n}.png" for n in range(5))]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    made = make_scene(tmp_path / "photos", NAMES, points=400)
    monkeypatch.setattr(module, "make_matcher", lambda name, keypoints, device: made.matcher)
    return made


def run(tmp_path, capsys, *more, code=0):
    words = ["--images", tmp_path / "photos", "--reference", "summer", "--out", tmp_path / "set", "--workers", "0"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["correspond", *map(str, words), *map(str, more), "--json"])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    return json.loads(captured.out) if code == 0 else captured.err.splitlines()[-1]


def share_right(scene, out, pixels=2.0):
    """Of all correspondences of a data set: the share that lies within some pixels of where the wall says."""
    data, right = Dataset.open(out), []
    for path in data.correspondence_files():
        pair = read_correspondences(path)
        one, other = (NAMES.index(data.name(image)) for image in (pair.reference, pair.target))
        # Neighbouring points of the wall move alike: the nearest known point tells how this one moves.
        apart = np.linalg.norm(scene.pixels[one][None] - pair.points_ref[:, None], axis=2)
        near = apart.argmin(axis=1)
        moved = scene.pixels[other][near] - scene.pixels[one][near]
        off = np.linalg.norm(pair.points_ref + moved - pair.points_tgt, axis=1)
        right.append(off[apart.min(axis=1) < 3] < pixels)
    return np.concatenate(right).mean()


def test_two_by_two(scene, tmp_path, capsys):
    results = run(tmp_path, capsys, "--pairs", "all", "--per-condition", "2")
    assert results["pairs"] == 5 * 2
    assert results["by_condition"]["winter"]["reference_images"] == 5
    assert share_right(scene, tmp_path / "set") > 0.95
    # Called again, nothing is looked for: what was found is on disk.
    scene.matcher.asked.clear()
    assert run(tmp_path, capsys, "--pairs", "all", "--per-condition", "2")["pairs"] == 10
    assert scene.matcher.asked == []


def test_a_slow_matcher_is_given_promising_pairs_only(scene, tmp_path, capsys):
    scene.matcher.compares_descriptors = False
    results = run(tmp_path, capsys, "--per-condition", "1")
    assert results["pairs"] == 5
    assert scene.matcher.asked.count("match") == 5 * 2
    assert results["refused"] == {"skipped: other pairs agree better": 5, MORE_THAN_ASKED: 5}
    assert share_right(scene, tmp_path / "set") > 0.95


def test_one_model_over_all_conditions(scene, tmp_path, capsys):
    pytest.importorskip("pycolmap")
    write_queries(tmp_path / "cameras.txt", ["c0"], [CAMERA])
    results = run(tmp_path, capsys, "--pairs", "all", "--reconstruct", "--intrinsics", tmp_path / "cameras.txt")
    assert results["pairs"] >= 8
    assert share_right(scene, tmp_path / "set") > 0.95
    reference = read_model(tmp_path / "set" / "sparse")
    assert {name.split("/")[0] for name in reference.names} == {"summer"}
    assert len(reference.points) > 100
    assert reference.cameras[0] == CAMERA
    assert "not independent ground truth" in (tmp_path / "set" / "truth" / "winter.txt").read_text()


def test_intrinsics_of_other_images_or_sizes_are_told_before_the_work(scene, tmp_path, capsys):
    (tmp_path / "cameras.txt").write_text("foo PINHOLE 320 240 250 250 160 120\n")
    line = run(tmp_path, capsys, "--intrinsics", tmp_path / "cameras.txt", code=1)
    assert "cameras.txt: no image or folder is named 'foo'; names should be like " in line
    (tmp_path / "cameras.txt").write_text("summer PINHOLE 160 120 125 125 80 60\n")
    line = run(tmp_path, capsys, "--intrinsics", tmp_path / "cameras.txt", code=1)
    assert re.search(r"cameras\.txt: .*160 x 120", line)
    assert not (tmp_path / "set" / "work").exists()


def test_poses_without_points(scene, tmp_path, capsys):
    """Points are made within each condition, and matched by where they are."""
    posed = PosedImages(NAMES, [CAMERA], np.zeros(10, np.int64), scene.poses)
    write_poses(tmp_path / "poses.txt", posed.names, posed.camera_from_world)
    write_queries(tmp_path / "cameras.txt", ["c0"], [CAMERA])
    words = "--poses", tmp_path / "poses.txt", "--intrinsics", tmp_path / "cameras.txt"
    results = run(tmp_path, capsys, *words)
    assert results["pairs"] >= 8
    assert share_right(scene, tmp_path / "set") > 0.95


@pytest.mark.parametrize("kind", ["order", "positions", "list", "similar"])
def test_which_images_are_matched(scene, tmp_path, capsys, kind):
    (tmp_path / "where.txt").write_text("".join(f"{name} {n % 5} 0\n" for n, name in enumerate(NAMES)))
    (tmp_path / "list.txt").write_text("".join(f"summer/c0/{n}.png winter/c0/{n}.png\n" for n in range(5)))
    pairs = {"positions": f"positions:{tmp_path / 'where.txt'}", "list": str(tmp_path / "list.txt")}.get(kind, kind)
    results = run(tmp_path, capsys, "--pairs", pairs, "--per-condition", "1")
    assert results["pairs"] >= 4
    if kind != "similar":
        files = Dataset.open(tmp_path / "set").correspondence_files()
        assert {path.name for path in files} <= {f"correspondence_winter_c0-{n}_c0-{n}.mat" for n in range(5)}


@pytest.mark.parametrize(("left", "listed", "found"), [(100, False, 10), (10, True, 4)])  # with a header, and without
def test_a_broken_image_is_listed(scene, tmp_path, capsys, left, listed, found):
    with scene.images[NAMES[7]].open("r+b") as file:
        file.truncate(left)
    path = tmp_path / "pairs.txt"
    path.write_text("".join(f"summer/c0/{n}.png winter/c0/{n}.png\n" for n in range(5)))
    pairs = str(path) if listed else "all"
    with pytest.raises(SystemExit) as stop:
        main(["correspond", "--images", str(tmp_path / "photos"), "--reference", "summer", "--out",
              str(tmp_path / "set"), "--workers", "0", "--pairs", pairs, "--json"])  # fmt: skip
    assert stop.value.code == 1
    results = json.loads(capsys.readouterr().out)
    assert len(results["failed"]) == 1
    assert NAMES[7] in results["failed"][0]
    assert results["pairs"] == found


def test_no_reliable_pair_is_reported_and_may_be_tried_again(scene, tmp_path, capsys):
    (tmp_path / "one.txt").write_text("summer/c0/0.png winter/c0/0.png\n")
    kept = scene.matcher.found[5]
    scene.matcher.found[5] = Keypoints(kept.pixels[:9], kept.descriptors[:9], kept.scores[:9], kept.size)
    line = run(tmp_path, capsys, "--pairs", tmp_path / "one.txt", code=1)
    assert "has reliable correspondences: only 7 matches (1 x); list pairs" in line
    assert (tmp_path / "set" / "refused.csv").read_text().count("\n") == 2
    assert run(tmp_path, capsys, "--pairs", "all")["pairs"] == 10


def test_poses_of_images_that_are_broken_or_missing_do_no_harm(scene, tmp_path, capsys):
    write_poses(tmp_path / "poses.txt", NAMES, scene.poses)
    write_queries(tmp_path / "cameras.txt", ["c0"], [CAMERA])
    scene.images[NAMES[1]].unlink()
    with scene.images[NAMES[8]].open("r+b") as file:
        file.truncate(100)
    words = "--poses", tmp_path / "poses.txt", "--intrinsics", tmp_path / "cameras.txt"
    with pytest.raises(SystemExit) as stop:
        main(["correspond", "--images", str(tmp_path / "photos"), "--reference", "summer", "--workers", "0", "--out",
              str(tmp_path / "set"), *map(str, words), "--json"])  # fmt: skip
    assert stop.value.code == 1
    results = json.loads(capsys.readouterr().out)
    assert len(results["failed"]) == 1
    assert results["by_condition"]["winter"]["reference_images"] == 4


def test_the_best_of_each_reference_image_and_condition():
    def pair(reference, target, count):
        return MatchedPair(reference, target, np.zeros((count, 2)), np.zeros((count, 2)), np.zeros(count))

    refused = RefusedPair("a/1", "b/9", "no")
    found = [pair("a/1", "b/1", 5), refused, pair("a/1", "b/2", 9), pair("a/1", "c/1", 1), pair("a/2", "b/1", 2)]
    first, *others = best_of_each(found, 1)
    assert first is refused
    kept = [(one.reference, one.target) for one in others if isinstance(one, MatchedPair)]
    assert kept == [("a/1", "b/2"), ("a/1", "c/1"), ("a/2", "b/1")]
    (left_out,) = (one for one in others if isinstance(one, RefusedPair))
    assert (left_out.reference, left_out.target) == ("a/1", "b/1")
    assert left_out.reason.startswith("left out: other pairs")


def test_a_list_of_pairs_may_name_images_of_several_conditions(scene, tmp_path, capsys):
    shutil.copytree(tmp_path / "photos" / "winter", tmp_path / "photos" / "night")
    lines = [f"summer/c0/{n}.png {other}/c0/{n}.png\n" for n in range(4) for other in ("winter", "night")]
    (tmp_path / "list.txt").write_text("".join(lines))
    results = run(tmp_path, capsys, "--pairs", tmp_path / "list.txt")
    assert {name: row["pairs"] for name, row in results["by_condition"].items()} == {"night": 4, "winter": 4}

"""`fgsn track` by the command: a drive along a street, from a rough start, by labels and odometry."""

import itertools
import json
import shutil

import numpy as np
import pytest

from fgsn.bench.street import CAMERA
from fgsn.cli import main
from fgsn.config import PrepareSettings
from fgsn.data.correspondences import write_correspondences
from fgsn.data.prepare import prepare
from fgsn.formats.poses import write_poses
from fgsn.formats.queries import write_queries
from fgsn.geometry.pose import Pose
from fgsn.inference.label_maps import read_label_map, write_label_map
from fgsn.tracking.particle_filter import FilterSettings
from street_files import batch, looking, write_street

LABELS, FRAMES = 20, 8


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_image):
    root = tmp_path_factory.mktemp("track")
    drive = [looking(2.0 * n + 1.0, 0.5, 2.0 * np.sin(n)) for n in range(FRAMES)]
    asked = [f"snow/c0/{n:03d}.jpg" for n in range(FRAMES)]
    names, seen, tracks = write_street(root, LABELS, 8, dict(zip(asked, drive, strict=True)), points=1500)
    write_queries(root / "queries.txt", asked, [CAMERA] * FRAMES)
    write_poses(root / "truth.txt", asked, batch(drive))
    motion = [Pose(np.eye(3), np.zeros(3)), *(b @ a.inverse() for a, b in itertools.pairwise(drive))]
    write_poses(root / "odometry.txt", asked, batch(motion))
    start = Pose.from_centre(drive[0].rotation, drive[0].centre + np.array([0.8, -0.5, 0.1]))
    write_poses(root / "start.txt", asked[:1], batch([start]))
    # Where labels are counted: the map's images against the first frames of the drive.
    for name in (*names[:2], *asked[:2]):
        make_image(root / "data" / "images" / name, 320, 240)
    for number in (0, 1):
        rows, _, pixels = tracks[number]
        there, at = seen(drive[number])
        both = np.isin(rows, there)
        write_correspondences(
            root / "data" / "correspondence_data" / f"{number}.mat", names[number], asked[number], pixels[both],
            at[rows[both]], np.zeros(both.sum()),
        )  # fmt: skip
    prepare(PrepareSettings(dataset=root / "data", validation_share=0.0))
    return root


def run(scene, out, capsys, code=0, **other):
    given = {
        "map": "map", "map-labels": "labels", "queries": "queries.txt", "odometry": "odometry.txt",
        "query-labels": "labels", "start": "start.txt", "data": "data", "data-labels": "labels",
    } | {key.replace("_", "-"): value for key, value in other.items()}  # fmt: skip
    words = [word for key, value in given.items() for word in (f"--{key}", str(scene / value))]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["track", *words, "--out", str(out), "--particles", "500", *(["--json"] if code == 0 else [])])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    return json.loads(captured.out) if code == 0 else captured.err.strip().splitlines()[-1]


def test_a_drive_is_tracked_to_decimetres(scene, tmp_path, capsys):
    results = run(scene, tmp_path / "poses.txt", capsys)
    assert results["sequences"]["queries"]["images"] == FRAMES
    assert results["sequences"]["queries"]["lost"] == 0
    assert results["lost"] == f"at 0 of {FRAMES} images"
    assert "by_image" not in results
    rows = json.loads((tmp_path / "poses.results.json").read_text())["by_image"]
    assert [row["name"] for row in rows] == [f"snow/c0/{n:03d}.jpg" for n in range(FRAMES)]
    assert min(row["support"] for row in rows) > 0.3
    assert all(0 < row["used"] <= 1 <= row["effective"] <= 500 for row in rows)
    with pytest.raises(SystemExit):
        main(
            [
                "score-poses",
                str(tmp_path / "poses.txt"),
                "--truth",
                str(scene / "truth.txt"),
                "--metres-per-unit=1",
                "--json",
            ]
        )
    score = json.loads(capsys.readouterr().out)["all"]
    assert score["localized"] == FRAMES
    assert score["median_metres"] < 0.5  # the start is off by nearly a metre
    assert score["median_degrees"] < 2.0


def changed_labels(scene, folder, first, change):
    """Label maps of the drive, changed from an image on."""
    shutil.copytree(scene / "labels", folder)
    for number in range(first, FRAMES):
        name = f"snow/c0/{number:03d}.png"
        write_label_map(folder / name, change(read_label_map(folder / name)[0]), LABELS)
    return folder


@pytest.mark.parametrize("seed", [0, 2, 5])  # with some, the few points that a far particle sees agree by chance
def test_it_says_where_it_is_lost(scene, tmp_path, capsys, seed):
    random = np.random.default_rng(seed)
    scrambled = changed_labels(scene, tmp_path / "labels", 3, lambda labels: random.permuted(labels, axis=None))
    results = run(scene, tmp_path / "poses.txt", capsys, query_labels=scrambled)
    rows = json.loads((tmp_path / "poses.results.json").read_text())["by_image"]
    lost = [number >= 3 + FilterSettings.patience - 1 for number in range(FRAMES)]
    assert [row["lost"] for row in rows] == lost
    assert max(row["support"] for row in rows[3:]) < FilterSettings.lost_below < min(r["support"] for r in rows[:3])
    assert results["lost"] == f"at {sum(lost)} of {FRAMES} images"
    assert results["sequences"]["queries"]["lost"] == sum(lost)
    assert not results["sequences"]["queries"]["start_lost"]


def test_a_start_that_no_image_explains_is_lost(scene, tmp_path, capsys):
    """A covered camera: it shows one label everywhere."""
    covered = changed_labels(scene, tmp_path / "labels", 0, np.zeros_like)
    results = run(scene, tmp_path / "poses.txt", capsys, query_labels=covered)
    assert results["lost"] == f"at {FRAMES} of {FRAMES} images"
    assert results["sequences"]["queries"]["start_lost"]


def test_what_is_wrong_is_said_in_one_line(scene, tmp_path, capsys):
    lines = (scene / "odometry.txt").read_text().splitlines()
    (scene / "short.txt").write_text("\n".join(lines[:-1]) + "\n")
    line = run(scene, tmp_path / "poses.txt", capsys, code=1, odometry="short.txt")
    assert f"short.txt should list the 8 images of {scene}/queries.txt in the same order" in line
    (scene / "other.txt").write_text("night/c0/000.jpg 1 0 0 0 0 0 0\n")
    line = run(scene, tmp_path / "poses.txt", capsys, code=1, start="other.txt")
    assert "other.txt has no pose of 'snow/c0/000.jpg', the first image of" in line
    for name in (f"snow/c0/{n:03d}.png" for n in range(2)):
        write_label_map(tmp_path / "labels" / name, np.zeros((240, 320), int), 5)
    line = run(scene, tmp_path / "poses.txt", capsys, code=1, data_labels=tmp_path / "labels")
    assert "has no label map of 'summer/" in line or "has 5 labels, but those of the map have 20" in line
    assert not (tmp_path / "poses.txt").exists()
    line = run(scene, scene / "start.txt", capsys, code=1)
    assert "start.txt: it would replace a file that is read" in line

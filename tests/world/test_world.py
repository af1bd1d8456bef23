import hashlib
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from fgsn.config import WorldSettings
from fgsn.data.correspondences import read_correspondences
from fgsn.data.prepare import split_places
from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import read_model
from fgsn.geometry.pose import Pose
from fgsn.world import make_world
from fgsn.world.drives import STRAY_AHEAD, STRAY_TURN, make_drive
from fgsn.world.lists import GRAVITY_DEGREES, HEIGHT_METRES, ODOMETRY_DEGREES, noisy_motion, noisy_priors
from fgsn.world.studio import moved_places
from fgsn.world.town import LANE, build_town

SIZE = (96, 72)
CONDITIONS = ("snow", "night")
PLACES = 3
STATIC = {4, 7, 8, 11, 12, 13, 17, 19, 20, 21, 22}


def settings(out: Path, **changes) -> WorldSettings:
    values = {"seed": 3, "places": PLACES, "size": SIZE, "conditions": CONDITIONS, "points": 300, "workers": 0}
    return WorldSettings(out=out, **{**values, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("world") / "w"
    results = make_world(settings(out))
    assert results["images"] == PLACES * 3
    return out


def digests(root: Path) -> dict[str, str]:
    left_out = {"config.yaml"}  # contains the folder and the number of workers
    files = (file for file in root.rglob("*") if file.is_file() and file.name not in left_out)
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def read_pair(world: Path, condition: str, place: int) -> dict[str, np.ndarray]:
    path = world / "correspondence_data" / f"correspondence_reference_{condition}_place_{place:04d}.mat"
    with h5py.File(path) as file:
        pair = {key: np.asarray(file[key]) for key in ("pt_i", "pt_j", "dist_from_center")}
        names = ["".join(map(chr, np.asarray(file[key]).ravel())) for key in ("im_i_path", "im_j_path")]
    return {"names": names, **pair}


def read_depth(world: Path, condition: str, place: int) -> np.ndarray:
    with Image.open(world / f"depth/{condition}/c0/place_{place:04d}.png") as image:
        return np.asarray(image).astype(np.float64) / 100


def read_labels(world: Path, condition: str, place: int) -> np.ndarray:
    (path,) = world.glob(f"segmented_images/*/annos/{condition}_c0_place_{place:04d}.png")
    with Image.open(path) as image:
        return np.asarray(image)


def read_image(world: Path, condition: str, place: int) -> np.ndarray:
    with Image.open(world / f"images/{condition}/c0/place_{place:04d}.jpg") as image:
        return np.asarray(image).astype(np.float64)


def read_poses(world: Path, condition: str) -> Pose:
    if condition == "reference":
        return read_model(world / "sparse").camera_from_world
    rows = [line.split() for line in (world / f"truth/{condition}.txt").read_text().splitlines()]
    assert [row[0] for row in rows] == [f"{condition}/c0/place_{place:04d}.jpg" for place in range(PLACES)]
    values = np.array([row[1:] for row in rows], float)
    return Pose.from_quaternion(values[:, :4], values[:, 4:])


def read_camera(world: Path) -> Camera:
    described = yaml.safe_load((world / "dataset.yaml").read_text())["cameras"]["c0"]
    assert described["model"] == "PINHOLE"
    return Camera.from_parameters(described["width"], described["height"], described["params"])


def around(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The 3 x 3 values (N, 9) around pixels (N, 2)."""
    padded = np.pad(values, 1, mode="edge")
    x, y = np.rint(pixels).astype(int).T
    return np.stack([padded[y + dy, x + dx] for dy in range(3) for dx in range(3)], axis=1)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_correspondences_are_exact(world, condition):
    """Depth on a ray near a correspondence, unprojected and projected, lands on its partner, both ways."""
    camera, count = read_camera(world), 0
    for place in range(PLACES):
        pair = read_pair(world, condition, place)
        assert pair["names"] == [f"{drive}/c0/place_{place:04d}.jpg" for drive in ("reference", condition)]
        one, other = (np.asarray(pair[key]).reshape(-1, 2) for key in ("pt_i", "pt_j"))
        assert camera.contains(one).all()
        assert camera.contains(other).all()
        sides = [(one, other, "reference", condition), (other, one, condition, "reference")]
        for pixels, partners, here, there in sides:
            # Depth is known at pixel centres only; on a plane its inverse is linear in the image.
            depth = read_depth(world, here, place)
            inverse = 1 / np.where(depth > 0, depth, 1e3)
            near = around(inverse, pixels)
            opposite = near[:, :4] + near[:, :4:-1]
            smooth = np.abs(opposite / 2 - near[:, 4:5]).max(axis=1) < 0.004 * near[:, 4]
            depth = 1 / ndimage.map_coordinates(inverse, pixels[:, ::-1].T, order=1)
            back = read_poses(world, here)[place].inverse()
            points = back.transform(camera.unproject(pixels, depth))
            found, _ = camera.project(read_poses(world, there)[place].transform(points))
            apart = np.linalg.norm(found - partners, axis=1)[smooth]
            assert len(apart) > 20
            assert np.mean(apart < 0.5) > 0.98
            count += len(apart)
        middle = (np.array(SIZE) - 1) / 2
        expected = np.linalg.norm(one - middle, axis=1) / (np.hypot(*SIZE) / 2)
        assert pair["dist_from_center"].ravel() == pytest.approx(expected, abs=1e-5)
    assert count > 200


@pytest.fixture(scope="module")
def moved_world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("world") / "moved"
    make_world(settings(out, moved_pairs=2))
    return out


def test_moved_pairs_are_exact(moved_world):
    """Points on the road and on walls: unprojected by depth and projected into the other place, both ways."""
    camera, files, count = read_camera(moved_world), (moved_world / "moved_pairs.txt").read_text().split(), 0
    assert len(files) == 3 * 4  # of three places in a row, with three drives
    for name in files:
        here, there = (int(number) for number in re.findall(r"\d{4}", name))
        assert abs(here - there) == 1
        pair = read_correspondences(moved_world / "correspondence_data" / name)
        drive = pair.target.parts[-3]
        assert name == f"correspondence_reference_{drive}_place_{here:04d}_to_{there:04d}.mat"
        assert pair.reference.parts[-3:] == ("reference", "c0", f"place_{here:04d}.jpg")
        assert pair.target.name == f"place_{there:04d}.jpg"
        one, other = pair.points_ref, pair.points_tgt
        for pixels, partners, first, second in (
            (one, other, ("reference", here), (drive, there)), (other, one, (drive, there), ("reference", here)),
        ):  # fmt: skip
            depth = read_depth(moved_world, *first)
            near = around(1 / np.where(depth > 0, depth, 1e3), pixels)
            smooth = np.abs((near[:, :4] + near[:, :4:-1]) / 2 - near[:, 4:5]).max(axis=1) < 0.004 * near[:, 4]
            inverse = ndimage.map_coordinates(1 / np.where(depth > 0, depth, 1e3), pixels[:, ::-1].T, order=1)
            points = (
                read_poses(moved_world, first[0])[first[1]].inverse().transform(camera.unproject(pixels, 1 / inverse))
            )
            found, _ = camera.project(read_poses(moved_world, second[0])[second[1]].transform(points))
            apart = np.linalg.norm(found - partners, axis=1)[smooth]
            count += len(apart)
            assert np.mean(apart < 0.8) > 0.95
    assert count > 500


def test_moved_pairs_only_add_files(world, moved_world, tmp_path):
    plain, more = digests(world), digests(moved_world)
    changed = {name for name in plain if more[name] != plain[name]}
    assert changed == {"dataset.yaml", "results.json"}
    files = {f"correspondence_data/{name}" for name in (moved_world / "moved_pairs.txt").read_text().split()}
    assert set(more) - set(plain) == {"moved_pairs.txt", *files}
    # Finished after an interruption, by several processes.
    again = tmp_path / "again"
    shutil.copytree(moved_world, again)
    for name in ("dataset.yaml", "moved_pairs.txt", sorted(files)[3]):
        (again / name).unlink()
    make_world(settings(again, moved_pairs=2, workers=2))
    assert digests(again) == more
    results, plain_results = (yaml.safe_load((one / "results.json").read_text()) for one in (moved_world, world))
    assert (results["moved_pairs"], plain_results["moved_pairs"]) == (12, 0)
    assert results["motion_median_percent"] > 1.4 * plain_results["motion_median_percent"]
    with pytest.raises(FgsnError, match=r"other settings \(moved_pairs 2, now 0\)"):
        make_world(settings(moved_world))


def test_a_world_of_an_earlier_version_is_left_alone(world, tmp_path):
    shutil.copytree(world, tmp_path / "old")
    path = tmp_path / "old" / "dataset.yaml"
    described = yaml.safe_load(path.read_text())
    del described["made_with"]["moved_pairs"]
    path.write_text(yaml.safe_dump(described))
    assert make_world(settings(tmp_path / "old")) == described["results"]


def test_places_of_moved_pairs():
    assert moved_places(4, 9, 0) == []
    assert moved_places(4, 9, 1) == [3]
    assert moved_places(4, 9, 4) == [3, 5, 2, 6]
    assert moved_places(0, 9, 4) == [1, 2]
    assert moved_places(1, 2, 2) == [0]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_nothing_that_moves_carries_correspondences(world, condition):
    for place in range(PLACES):
        pair = read_pair(world, condition, place)
        labels = []
        for key, drive in (("pt_i", "reference"), ("pt_j", condition)):
            x, y = np.rint(np.asarray(pair[key]).reshape(-1, 2)).astype(int).T
            labels.append(read_labels(world, drive, place)[y, x])
        assert set(labels[0].tolist()) <= STATIC
        assert (labels[0] == labels[1]).all()


def test_images_depths_and_labels(world):
    for drive in ("reference", *CONDITIONS):
        for place in range(PLACES):
            image, depth = read_image(world, drive, place), read_depth(world, drive, place)
            labels = read_labels(world, drive, place)
            assert image.shape == (72, 96, 3)
            assert depth.shape == labels.shape == (72, 96)
            assert depth.max() < 656
            assert np.all(depth[labels == 23] == 0)
            assert depth[labels != 23].min() > 0.3
            assert set(np.unique(labels).tolist()) <= STATIC | {23, 24, 26}
            assert {7, 11, 23} <= set(np.unique(labels).tolist())
            camera = read_camera(world)
            # The road lies at z = 0: an oracle of depth, pose and camera together.
            road = (labels == 7) & (depth < 15)
            y, x = np.nonzero(road)
            pose = read_poses(world, drive)[place]
            points = pose.inverse().transform(camera.unproject(np.column_stack([x, y]), depth[road]))
            assert np.abs(points[:, 2]).max() < 0.02


def test_conditions_differ(world):
    for place in range(PLACES):
        reference, snow, night = (read_image(world, name, place) for name in ("reference", "snow", "night"))
        road = np.s_[50:, :]
        assert snow[road].mean() > reference[road].mean() + 40
        assert night.mean() < reference.mean() - 40
    leaves = {
        name: sum((read_labels(world, name, p) == 21).sum() for p in range(PLACES)) for name in ("reference", "snow")
    }
    assert leaves["snow"] < leaves["reference"]


def test_drives_differ_like_those_of_a_car(world):
    poses = {name: read_poses(world, name) for name in ("reference", *CONDITIONS)}
    for condition in CONDITIONS:
        offset = np.linalg.norm(poses[condition].centre - poses["reference"].centre, axis=1)
        assert 0.02 < offset.max() < 3
        turn = Rotation.from_matrix(poses[condition].rotation @ poses["reference"].rotation.swapaxes(1, 2)).magnitude()
        assert 0.05 < np.rad2deg(turn).max() < 15
    step = np.linalg.norm(np.diff(poses["reference"].centre, axis=0), axis=1)
    assert np.all((step > 4) & (step < 12))


def test_the_map_is_a_colmap_model(world):
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction(str(world / "sparse"))
    assert model.num_reg_images() == PLACES
    assert model.num_points3D() > 50
    model.update_point_3d_errors()
    assert max(point.error for point in model.points3D.values()) < 1e-3
    assert min(point.track.length() for point in model.points3D.values()) >= 2
    assert {image.name for image in model.images.values()} == {f"reference/c0/place_{p:04d}.jpg" for p in range(PLACES)}


def test_lists(world):
    camera = read_camera(world)
    for condition in CONDITIONS:
        truth = read_poses(world, condition)
        for line in (world / f"queries/{condition}.txt").read_text().splitlines():
            name, model, width, height, *values = line.split()
            assert (world / "images" / name).exists()
            assert (model, int(width), int(height)) == ("PINHOLE", *SIZE)
            assert [float(value) for value in values] == pytest.approx(camera.parameters)
        odometry = (world / f"odometry/{condition}.txt").read_text()
        priors = (world / f"priors/{condition}.txt").read_text()
        assert odometry.startswith("#")
        assert priors.startswith("#")
        assert re.search(r"gravity 1\.0 degree", priors)
        rows = np.array([line.split()[1:] for line in priors.splitlines() if line[0] != "#"], float)
        down = truth.rotation @ [0, 0, -1]
        assert np.rad2deg(np.arccos(np.sum(rows[:, :3] * down, axis=1))).max() < 5
        assert np.abs(rows[:, 3] - truth.centre[:, 2]).max() < 1.5
        rows = np.array([line.split()[1:] for line in odometry.splitlines() if line[0] != "#"], float)
        assert rows[0] == pytest.approx([1, 0, 0, 0, 0, 0, 0])
        motion = Pose.from_quaternion(rows[1:, :4], rows[1:, 4:])
        assert motion.transform_one(truth[:-1].transform_one(np.zeros(3))) == pytest.approx(
            truth[1:].transform_one(np.zeros(3)), abs=1.5
        )


def test_images_of_the_conditions_stray_from_the_reference():
    town = build_town(5, 40)

    def poses(drive: str, stray: float) -> Pose:
        return make_drive(town, 5, drive, 40, stray=stray)

    assert np.array_equal(poses("reference", 0).centre, poses("reference", 1).centre)
    plain, strayed = poses("snow", 0), poses("snow", 1)
    ahead, left = plain.rotation[:, 2], -plain.rotation[:, 0]
    moved = strayed.centre - plain.centre
    assert np.abs(np.sum(moved * ahead, axis=1)).max() == pytest.approx(STRAY_AHEAD, abs=0.7)
    assert np.sum(moved * left, axis=1).max() == pytest.approx(LANE, abs=0.5)
    turn = np.degrees(np.arccos(np.clip(np.sum(ahead * strayed.rotation[:, 2], axis=1), -1, 1)))
    assert STRAY_TURN * 0.85 < turn.max() < STRAY_TURN * 1.2  # streets bend between the two
    assert np.abs(moved[:, 2]).max() < 1e-9


def test_noise_is_as_stated():
    town = build_town(5, 2)
    drive = make_drive(town, 5, "sun", 2)
    many = Pose(np.repeat(drive.rotation, 4000, axis=0)[::-1], np.repeat(drive.translation, 4000, axis=0)[::-1])
    rng = np.random.default_rng(0)
    gravity, height = noisy_priors(many, rng)
    down = -many.rotation[:, :, 2]
    angle = np.rad2deg(np.arccos(np.clip(np.sum(gravity * down, axis=1), -1, 1)))
    assert np.sqrt(np.mean(angle**2) / 2) == pytest.approx(GRAVITY_DEGREES, rel=0.05)  # two axes
    assert np.std(height - many.centre[:, 2]) == pytest.approx(HEIGHT_METRES, rel=0.05)
    motion = noisy_motion(many, rng)
    still = Rotation.from_matrix(motion.rotation[1:3999]).magnitude()
    assert np.sqrt(np.mean(np.rad2deg(still) ** 2) / 3) == pytest.approx(ODOMETRY_DEGREES, rel=0.05)


def test_description(world):
    described = yaml.safe_load((world / "dataset.yaml").read_text())
    assert described["reference"] == "reference"
    assert described["conditions"] == list(CONDITIONS)
    assert described["seed"] == 3
    assert described["frames"]["up"] == [0, 0, 1]
    images = {str(path.relative_to(world / "images")) for path in (world / "images").rglob("*.jpg")}
    assert set(described["places"]) == images
    _, validation = split_places(sorted(set(described["places"].values())), 0.15, 0)
    held_out = {path.stem.split("_c0_")[1] for path in (world / "segmented_images/validation/imgs").iterdir()}
    assert held_out == set(validation)


def test_same_bytes_whatever_the_workers(world, tmp_path):
    again = tmp_path / "again"
    make_world(settings(again, workers=2))
    assert digests(again) == digests(world)


def test_a_finished_world_is_left_alone_and_an_interrupted_one_finished(world, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*") if path.is_file()}
    results = make_world(settings(world))
    assert results["correspondences"] > 0
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*") if path.is_file()} == before

    whole = digests(world)
    lost = [world / "dataset.yaml", world / "images/snow/c0/place_0001.jpg", world / "sparse/points3D.txt"]
    for path in lost:
        path.unlink()
    make_world(settings(world))
    assert digests(world) == whole


def test_another_seed_is_another_world(world, tmp_path):
    make_world(settings(tmp_path / "other", seed=4, places=2, conditions=("sun",), points=20))
    other = read_image(tmp_path / "other", "reference", 0)
    assert np.abs(other - read_image(world, "reference", 0)).mean() > 5


def test_wrong_input_is_reported_in_one_line(world, tmp_path):
    with pytest.raises(FgsnError, match=r"other settings \(seed 3, now 4\)") as raised:
        make_world(settings(world, seed=4))
    assert "\n" not in str(raised.value)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FgsnError, match="is not empty and does not contain a world"):
        make_world(settings(tmp_path))
    with pytest.raises(FgsnError, match="is a file"):
        make_world(settings(tmp_path / "mine.txt"))

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fgsn.config import ScorePosesSettings
from fgsn.errors import FgsnError
from fgsn.evaluation.score_poses import score_poses
from fgsn.formats.poses import write_results
from fgsn.geometry.pose import Pose
from fgsn.geometry.readings import CENTRES, INVERTED, W_LAST

NAMES = [f"{condition}/c0/{number}.jpg" for condition in ("night", "snow") for number in range(4)]
RNG = np.random.default_rng(0)
TRUTH = Pose.from_centre(Rotation.random(8, rng=RNG).as_matrix(), RNG.normal(0, 100, (8, 3)))


def moved(metres):
    """The true poses with centres moved by metres (8,) along the world's x."""
    return Pose.from_centre(TRUTH.rotation, TRUTH.centre + np.outer(metres, [1, 0, 0]))


@pytest.fixture
def files(tmp_path):
    """Poses of all queries but the last, and a folder of true poses, one list per condition."""
    write_results(tmp_path / "poses.txt", NAMES[:7], moved([0.1, 0.3, 3, 30, 0.1, 0.1, 0.1, 0])[:7])
    for row, condition in enumerate(("night", "snow")):
        mine = slice(4 * row, 4 * row + 4)
        write_results(tmp_path / "truth" / f"{condition}.txt", NAMES[mine], TRUTH[mine])
    return {"poses": tmp_path / "poses.txt", "truth": tmp_path / "truth", "metres_per_unit": 1.0}


def test_recall_per_condition(files):
    metrics = score_poses(ScorePosesSettings(**files))
    assert list(metrics) == ["all", "night", "snow"]
    assert metrics["night"]["recall"] == [25, 50, 75]
    assert metrics["snow"]["recall"] == [75, 75, 75]
    assert metrics["all"]["recall"] == [50, 62.5, 75]
    assert (metrics["snow"]["queries"], metrics["snow"]["localized"]) == (4, 3)
    assert metrics["night"]["median_metres"] == pytest.approx(1.65)


def test_other_units(files):
    metrics = score_poses(ScorePosesSettings(**files | {"metres_per_unit": 4.0}))
    assert metrics["all"]["recall"][0] == 0
    assert metrics["all"]["interval"][0][1] < 40
    assert metrics["night"]["median_metres"] == pytest.approx(6.6)


def test_a_unit_is_called_a_metre_only_if_it_is_known(files, tmp_path, capsys):
    metrics = score_poses(ScorePosesSettings(**files | {"metres_per_unit": None}))
    assert metrics["night"]["median_units"] == pytest.approx(1.65)
    assert "median_metres" not in metrics["night"]
    assert "the scale of" in capsys.readouterr().err
    (tmp_path / "dataset.yaml").write_text("metres_per_unit: 4")
    for truth in (tmp_path / "truth", tmp_path / "truth" / "night.txt"):
        given = files | {"truth": truth, "partial": True, "metres_per_unit": None}
        assert score_poses(ScorePosesSettings(**given))["night"]["median_metres"] == pytest.approx(6.6)
    assert score_poses(ScorePosesSettings(**files))["night"]["median_metres"] == pytest.approx(1.65)
    (tmp_path / "dataset.yaml").write_text("metres_per_unit: far")
    with pytest.raises(FgsnError, match=r"dataset\.yaml: 'metres_per_unit' should be a number above 0"):
        score_poses(ScorePosesSettings(**files | {"metres_per_unit": None}))


def test_a_query_list_says_what_counts(files, tmp_path):
    queries = tmp_path / "queries.txt"
    queries.write_text(f"{NAMES[0]} SIMPLE_PINHOLE 64 48 50 32 24\n{NAMES[7]} SIMPLE_PINHOLE 64 48 50 32 24\n")
    metrics = score_poses(ScorePosesSettings(**files, queries=queries, partial=True))
    assert metrics["all"]["recall"] == [50, 50, 50]
    queries.write_text("night/c0/9.jpg SIMPLE_PINHOLE 64 48 50 32 24\n")
    with pytest.raises(FgsnError, match=r"has no pose of 'night/c0/9\.jpg', which is in"):
        score_poses(ScorePosesSettings(**files, queries=queries))


def test_names_of_the_benchmark_are_understood(files, tmp_path):
    names = [f"slice7/query/img_{n:05d}_c0_128456262971620{n}us.jpg" for n in range(8)]
    write_results(tmp_path / "poses.txt", names, TRUTH, "cmu")
    lines = (" ".join([name, *map(repr, q.tolist()), *map(repr, c.tolist())]) for name, q, c in
             zip(names, TRUTH.quaternion, TRUTH.centre, strict=True))  # fmt: skip
    folder = tmp_path / "camera-poses"
    folder.mkdir()
    (folder / "slice-7.txt").write_text("\n".join(lines))
    metrics = score_poses(ScorePosesSettings(poses=tmp_path / "poses.txt", truth=folder, metres_per_unit=1.0))
    assert list(metrics) == ["all", "2010-09-15"]
    assert metrics["all"]["recall"] == [100, 100, 100]


def test_an_empty_result_file_scores_nothing(files):
    files["poses"].write_text("")
    assert score_poses(ScorePosesSettings(**files))["all"]["recall"] == [0, 0, 0]


def test_unknown_images(files, capsys):
    with files["poses"].open("a") as file:
        file.write("rain/c0/1.jpg 1 0 0 0 0 0 0\n")
    with pytest.raises(FgsnError, match=r"poses\.txt:8: 'rain/c0/1\.jpg' is not a known query"):
        score_poses(ScorePosesSettings(**files))
    assert score_poses(ScorePosesSettings(**files, partial=True))["all"]["recall"] == [50, 62.5, 75]
    assert "poses of images without truth: 1, first" in capsys.readouterr().err
    files["poses"].write_text("rain/c0/1.jpg 1 0 0 0 0 0 0\n")
    with pytest.raises(FgsnError, match=r"no pose in .* is of an image in"):
        score_poses(ScorePosesSettings(**files, partial=True))


def test_two_poses_of_one_query(files):
    with files["poses"].open("a") as file:
        file.write("images/night/c0/1.jpg 1 0 0 0 0 0 0\n")
    with pytest.raises(FgsnError, match=r"'night/c0/1\.jpg' and 'images/night/c0/1\.jpg' are poses of the same query"):
        score_poses(ScorePosesSettings(**files))


def test_centres_in_place_of_translations_are_noticed(files, capsys):
    score_poses(ScorePosesSettings(**files))
    assert "nearer" not in capsys.readouterr().err
    metrics = score_poses(ScorePosesSettings(**files, convention="centre"))
    assert metrics["all"]["recall"] == [0, 0, 0]
    assert "(--convention translation)" in capsys.readouterr().err
    write_results(files["poses"], NAMES, Pose(TRUTH.rotation, TRUTH.centre))
    score_poses(ScorePosesSettings(**files))
    assert "poses.txt contained camera centres" in capsys.readouterr().err
    write_results(files["poses"], NAMES, TRUTH)
    for file in files["truth"].iterdir():
        file.unlink()
    write_results(files["truth"] / "all.txt", NAMES, Pose(TRUTH.rotation, TRUTH.centre))
    score_poses(ScorePosesSettings(**files))
    assert "truth contained camera centres in place of translations; try --convention centre" in capsys.readouterr().err


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("meaning", [CENTRES, INVERTED, None])
def test_other_meanings_of_the_numbers_are_named(files, capsys, meaning, last):
    poses = {CENTRES: Pose(TRUTH.rotation, TRUTH.centre), INVERTED: TRUTH.inverse(), None: TRUTH}[meaning]
    if last:
        poses = Pose.from_quaternion(np.roll(poses.quaternion, -1, axis=1), poses.translation)
    write_results(files["poses"], NAMES, poses)
    score_poses(ScorePosesSettings(**files))
    told = capsys.readouterr().err
    assert (f"contained {meaning}" in told) == bool(meaning)
    assert (W_LAST in told) == last
    assert told.count("\n") == bool(meaning or last)


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_another_frame_is_named(files, capsys, scale):
    turn = Rotation.from_rotvec([0.2, 0.9, -0.4]).as_matrix()
    other = Pose.from_centre(TRUTH.rotation @ turn.T, scale * TRUTH.centre @ turn.T + [3, -50, 7])
    noisy = Pose.from_centre(other.rotation, other.centre + RNG.normal(0, 0.01, (8, 3)))
    write_results(files["poses"], NAMES, noisy)
    score_poses(ScorePosesSettings(**files))
    assert f"in another frame than {files['truth']}: a turn, a shift and a scale of " in (
        told := capsys.readouterr().err
    )
    assert float(told.split("scale of ")[1].split()[0]) == pytest.approx(1 / scale, rel=0.01)
    write_results(files["poses"], NAMES, noisy.inverse())
    score_poses(ScorePosesSettings(**files))
    assert f"contains {INVERTED}: a turn" in capsys.readouterr().err


def test_inaccurate_poses_are_not_explained_away(files, capsys):
    for scatter in (0.1, 10.0, 1000.0):
        centres = TRUTH.centre + RNG.normal(0, scatter, (8, 3))
        write_results(files["poses"], NAMES, Pose.from_centre(TRUTH.rotation, centres))
        score_poses(ScorePosesSettings(**files))
    write_results(files["poses"], NAMES, Pose.from_centre(Rotation.random(8, rng=RNG).as_matrix(), TRUTH.centre))
    score_poses(ScorePosesSettings(**files))
    assert capsys.readouterr().err == ""

"""`fgsn localize` and `fgsn score-poses` by the command, on a street whose matches are mostly wrong."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from fgsn.bench.street import CAMERA
from fgsn.cli import main
from fgsn.errors import FgsnError
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.hloc import read_pairs
from fgsn.formats.poses import write_poses
from fgsn.formats.priors import priors_like, read_priors, write_priors
from fgsn.formats.queries import write_queries
from fgsn.geometry.colmap import read_model, write_model
from fgsn.geometry.gravity import up_of_cameras
from fgsn.geometry.pose import Pose
from fgsn.inference.label_maps import write_label_map
from fgsn.localization import localize
from street_files import batch, looking, write_hloc, write_street

LABELS, DATABASE, QUERIES, WRONG = 30, 8, 4, 0.85


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Map, label maps, hloc's files, query lists, priors and truth, as a user would have them."""
    root = tmp_path_factory.mktemp("street")
    queries = [looking(6.0 * n + 1.0, 0.8, 4.0 - 2 * n) for n in range(QUERIES)]
    asked = [f"snow/c0/{n:03d}.jpg" for n in range(QUERIES)]
    names, seen, tracks = write_street(root, LABELS, DATABASE, dict(zip(asked, queries, strict=True)))
    write_hloc(root / "hloc", dict(zip(asked, queries, strict=True)), names, seen, tracks, WRONG)
    write_queries(root / "queries.txt", asked, [CAMERA] * QUERIES)
    write_poses(root / "truth.txt", asked, batch(queries))
    with (root / "priors.txt").open("w") as file:
        for name, pose in zip(asked, queries, strict=True):
            file.write(" ".join([name, *(f"{value:.4f}" for value in -pose.rotation[:, 2]), "1.8"]) + "\n")
    return root


def call(*words, capsys, code=0):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words), *(["--json"] if code == 0 else [])])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    return json.loads(captured.out) if code == 0 else captured.err.strip().splitlines()[-1]


def words(scene, out, method, **other):
    given = {
        "map": scene / "map", "queries": scene / "queries.txt", "out": out, "method": method, "hloc": scene / "hloc",
        "map-labels": scene / "labels", "query-labels": scene / "labels", "priors": scene / "priors.txt",
    } | {key.replace("_", "-"): value for key, value in other.items()}  # fmt: skip
    return ["localize", *(word for key, value in given.items() if value is not None for word in (f"--{key}", value))]


@pytest.mark.parametrize("method", ["p3p", "ssmc", "gsmc"])
def test_queries_are_found_and_scored(scene, tmp_path, capsys, method):
    results = call(*words(scene, tmp_path / "poses.txt", method), capsys=capsys)
    assert results["localized"] == QUERIES
    assert results["labels"] == (None if method == "p3p" else LABELS)
    assert (results["kept"] < results["matches"]) == (method == "ssmc")
    score = call("score-poses", tmp_path / "poses.txt", "--truth", scene / "truth.txt", capsys=capsys)
    if method != "p3p":  # which has too many wrong matches to be sure of
        assert score["all"]["recall"][0] == 100
    assert score["snow"]["queries"] == QUERIES


def test_poses_from_two_matches_and_gravity(scene, tmp_path, capsys):
    results = call(*words(scene, tmp_path / "poses.txt", "p3p", solver="gravity"), capsys=capsys)
    assert results["localized"] == QUERIES
    score = call("score-poses", tmp_path / "poses.txt", "--truth", scene / "truth.txt", capsys=capsys)
    assert score["all"]["recall"][0] == 100  # where triplets have too many wrong matches to be sure of


@pytest.mark.parametrize(("method", "solver"), [("gsmc", "p3p"), ("p3p", "gravity")])
def test_without_priors_those_of_map_images_are_taken(scene, tmp_path, capsys, method, solver):
    given = words(scene, tmp_path / "poses.txt", method, solver=solver, priors=None)
    results = call(*given, capsys=capsys)
    assert results["localized"] == QUERIES
    config = yaml.safe_load((tmp_path / "poses.config.yaml").read_text())
    assert config["up"] == pytest.approx([0, 0, 1], abs=1e-6)  # of the map's cameras
    score = call("score-poses", tmp_path / "poses.txt", "--truth", scene / "truth.txt", capsys=capsys)
    assert score["all"]["recall"][0] == 100
    with pytest.raises(SystemExit):
        main([str(word) for word in given])
    assert "each query takes gravity and height of the map image that looks most like it" in capsys.readouterr().err


def test_a_map_folder_gives_the_same_poses_without_label_maps(scene, tmp_path, capsys, make_model):
    make_model(LABELS, names=False).save(tmp_path / "model.safetensors")
    given = ["--map", scene / "map", "--map-labels", scene / "labels", "--out", tmp_path]
    call("export", tmp_path / "model.safetensors", "--format", "map", *given, capsys=capsys)
    for method in ("ssmc", "gsmc"):
        call(*words(scene, tmp_path / "a.txt", method), capsys=capsys)
        call(*words(scene, tmp_path / "b.txt", method, map=tmp_path / "map", map_labels=None), capsys=capsys)
        assert (tmp_path / "a.txt").read_text() == (tmp_path / "b.txt").read_text()


def test_gsmc_in_a_map_that_lies_on_its_side(scene, tmp_path, capsys, monkeypatch):
    """As COLMAP leaves maps: which way is up, and the priors, are told by the map's own cameras."""
    turn = Rotation.from_rotvec([1.0, -2.0, 0.5]).as_matrix()

    def turned(poses):
        return Pose(poses.rotation @ turn.T, poses.translation)

    model, truth = read_model(scene / "map"), read_truth(scene / "truth.txt")
    model = replace(model, camera_from_world=turned(model.camera_from_world), points=model.points @ turn.T)
    write_model(tmp_path / "map", model)
    up = up_of_cameras(model.camera_from_world)
    write_priors(tmp_path / "priors.txt", priors_like(model, up, read_pairs(scene / "hloc" / "pairs.txt")))
    assert read_priors(tmp_path / "priors.txt").heights == pytest.approx(1.7, abs=1e-6)
    out, priors = tmp_path / "poses.txt", tmp_path / "priors.txt"
    scores = []
    judge = localize.gsmc_scores
    monkeypatch.setattr(localize, "gsmc_scores", lambda *a, **k: scores.append(judge(*a, **k)) or scores[-1])
    call(*words(scene, out, "gsmc", map=tmp_path / "map", priors=priors), "--up", *up, capsys=capsys)
    assert min(score.max() for score in scores) > 0.5  # and not only because poses are found with any scores
    with pytest.raises(SystemExit):
        main([str(word) for word in words(scene, tmp_path / "other.txt", "gsmc", map=tmp_path / "map", priors=priors)])
    assert f"--up {up[0]:.4f} {up[1]:.4f} {up[2]:.4f}" in capsys.readouterr().err
    write_poses(tmp_path / "truth.txt", truth.names, turned(truth.camera_from_world))
    score = call("score-poses", out, "--truth", tmp_path / "truth.txt", capsys=capsys)
    assert score["all"]["recall"][0] == 100


def test_no_truth_reaches_the_localizer(scene, tmp_path, capsys):
    """Whatever stands in the truth file, the poses are the same bits."""
    truth, found = scene / "truth.txt", []
    kept = truth.read_text()
    try:
        for text in (kept, "\n".join(reversed(kept.splitlines())).replace("0.", "0.9"), "nonsense"):
            truth.write_text(text)
            call(*words(scene, tmp_path / "poses.txt", "gsmc"), capsys=capsys)
            found.append((tmp_path / "poses.txt").read_bytes())
    finally:
        truth.write_text(kept)
    assert found[0] == found[1] == found[2]


def test_what_is_wrong_is_said_in_one_line(scene, tmp_path, capsys):
    def wrong(code=1, method="ssmc", **other):
        return call(*words(scene, tmp_path / "poses.txt", method, **other), capsys=capsys, code=code)

    assert "contains no points" in wrong(map=_pointless(scene, tmp_path))
    (tmp_path / "bare.txt").write_text("snow/c0/000.jpg\n")
    assert "bare.txt:1" in wrong(queries=tmp_path / "bare.txt")
    write_label_map(tmp_path / "small" / "snow/c0/000.png", np.zeros((24, 32), int), LABELS)
    assert "is 32 x 24 pixels, but the camera is 320 x 240" in wrong(query_labels=tmp_path / "small")
    for number in range(QUERIES):
        write_label_map(tmp_path / "few" / f"snow/c0/{number:03d}.png", np.zeros((240, 320), int), 5)
    assert "has 5 labels, but those of the map have 30" in wrong(query_labels=tmp_path / "few")
    (tmp_path / "none").mkdir()
    assert "has no label map of 'snow/c0/000.jpg'" in wrong(query_labels=tmp_path / "none")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "map.safetensors").touch()
    assert "folder is a map folder, without images: give --hloc" in wrong(
        2, map=tmp_path / "folder", hloc=None, images=scene
    )
    (tmp_path / "priors.txt").write_text("elsewhere 0 1 0 1.7\n")
    assert "'snow/c0/000.jpg' has no prior" in wrong(method="gsmc", priors=tmp_path / "priors.txt")
    assert "give --hloc, or --images" in wrong(code=2, hloc=None)
    assert "contains no *.txt file with the list of pairs" in wrong(hloc=tmp_path / "small")
    (tmp_path / "bad.txt").write_text("snow/c0/000.jpg 2 0 0 0 1 2 3\n")
    line = call("score-poses", tmp_path / "bad.txt", "--truth", scene / "truth.txt", capsys=capsys, code=1)
    assert "bad.txt:1" in line
    line = call("score-poses", scene / "truth.txt", "--truth", scene / "truth.txt", capsys=capsys, code=1)
    assert line.endswith("truth.txt; give the true poses with --truth")
    assert "give --hloc, or --images to match here, not both" in wrong(2, images=scene)
    shutil.copy(scene / "priors.txt", tmp_path / "same.txt")
    twice = ["--priors", scene / "priors.txt", tmp_path / "same.txt"]
    given = [*words(scene, tmp_path / "poses.txt", "gsmc", priors=None), *twice]
    assert "is in two lists of --priors" in call(*given, capsys=capsys, code=1)
    assert "no name fits --naming robotcar, first: 'snow/c0/000.jpg'" in wrong(naming="robotcar")
    assert "--retrieved 0 is for matching --images" in wrong(2, retrieved=0)
    (tmp_path / "exported").mkdir()
    (tmp_path / "folder").rename(tmp_path / "exported" / "map")
    assert f"give {tmp_path / 'exported' / 'map'}" in wrong(2, map=tmp_path / "exported")
    assert not (tmp_path / "poses.txt").exists()


def test_inputs_are_not_replaced(scene, tmp_path, capsys):
    before = (scene / "queries.txt").read_bytes()
    line = call(*words(scene, scene / "queries.txt", "p3p"), capsys=capsys, code=1)
    assert "queries.txt: it would replace a file that is read" in line
    (tmp_path / "link.txt").symlink_to(scene / "queries.txt")
    assert "would replace a file" in call(*words(scene, tmp_path / "link.txt", "p3p"), capsys=capsys, code=1)
    line = call(*words(scene, scene / "queries.txt" / "poses.txt", "p3p"), capsys=capsys, code=1)
    assert "queries.txt is a file, not a folder" in line
    assert (scene / "queries.txt").read_bytes() == before


def test_queries_that_hloc_files_lack_are_listed_and_the_others_found(scene, tmp_path, capsys):
    shutil.copytree(scene / "hloc", tmp_path / "hloc")
    pairs = tmp_path / "hloc" / "pairs.txt"
    lines = pairs.read_text().splitlines()
    with h5py.File(tmp_path / "hloc" / "matches.h5", "r+") as file:
        del file["snow-c0-000.jpg"]
    with h5py.File(tmp_path / "hloc" / "features.h5", "r+") as file:
        del file["snow/c0/001.jpg"]
    pairs.write_text("\n".join(line for line in lines if not line.startswith("snow/c0/002.jpg")))
    for name in ("features", "matches"):  # found by what they hold, although the first query is not among it
        (tmp_path / "hloc" / f"{name}.h5").rename(tmp_path / "hloc" / f"of_{name}.h5")
    shutil.copytree(scene / "labels", tmp_path / "labels")
    [label_map] = (tmp_path / "labels").rglob("snow/c0/000.png")  # fgsn segment failed on the image as well
    label_map.unlink()
    given = words(scene, tmp_path / "poses.txt", "ssmc", hloc=tmp_path / "hloc", query_labels=tmp_path / "labels")
    with pytest.raises(SystemExit) as stop:
        main([*map(str, given), "--json"])
    assert stop.value.code == 1
    results = json.loads(capsys.readouterr().out)
    assert results["localized"] == QUERIES - 3
    assert results["without_pose"] == {"no matches": 3}
    matches, features, pairs_line = results["failed"]
    assert "of_matches.h5 has no matches of 'snow/c0/000.jpg' with 'summer/c0/000.jpg'" in matches
    assert "of_features.h5 has no key points of 'snow/c0/001.jpg'" in features
    assert "pairs.txt has no pairs of the query 'snow/c0/002.jpg'" in pairs_line
    stored = json.loads((tmp_path / "poses.results.json").read_text())
    assert stored["failed"] == results["failed"]
    assert [row.get("reason") for row in stored["by_query"]] == ["no matches"] * 3 + [None]
    assert [line.split()[0] for line in (tmp_path / "poses.txt").read_text().splitlines()] == ["snow/c0/003.jpg"]
    (tmp_path / "few.txt").write_text("".join((scene / "queries.txt").read_text().splitlines(True)[:2]))
    few = {"hloc": tmp_path / "hloc", "queries": tmp_path / "few.txt"}
    (tmp_path / "hloc" / "of_features.h5").rename(tmp_path / "hloc" / "features.h5")
    (tmp_path / "hloc" / "of_matches.h5").rename(tmp_path / "hloc" / "matches.h5")
    told = call(*words(scene, tmp_path / "none.txt", "ssmc", **few), capsys=capsys, code=1)
    assert "none of 2 queries has a pose: no matches (2 x), first " in told
    assert "matches.h5 has no matches of 'snow/c0/000.jpg'" in told


def test_a_pose_that_is_hardly_right_is_refused_on_request(scene, tmp_path, capsys):
    shutil.copytree(scene / "hloc", tmp_path / "hloc")
    with h5py.File(tmp_path / "hloc" / "matches.h5", "r+") as file:
        for pair in file["snow-c0-001.jpg"].values():
            pair["matches0"][:] = np.random.default_rng(0).permutation(pair["matches0"][()])
    hloc = tmp_path / "hloc"
    results = call(*words(scene, tmp_path / "all.txt", "ssmc", hloc=hloc), capsys=capsys)
    assert results["localized"] == QUERIES
    assert results["refused"] == []
    sure = [row["confidence"] for row in json.loads((tmp_path / "all.results.json").read_text())["by_query"]]
    broken, least = sure[1], min(sure[:1] + sure[2:])
    assert broken < 0.3 < least
    given = {"hloc": hloc, "min_confidence": (broken + least) / 2}
    results = call(*words(scene, tmp_path / "poses.txt", "ssmc", **given), capsys=capsys)
    assert results["localized"] == QUERIES - 1
    assert results["without_pose"] == {"confidence below --min-confidence": 1}
    [line] = results["refused"]
    name, told = line.split(": confidence ")
    assert name == "snow/c0/001.jpg"
    assert float(told) == pytest.approx(broken, abs=0.006)
    lines = (tmp_path / "all.txt").read_text().splitlines()
    assert (tmp_path / "poses.txt").read_text().splitlines() == [lines[0], *lines[2:]]
    rows = json.loads((tmp_path / "poses.results.json").read_text())["by_query"]
    assert [row["confidence"] for row in rows] == sure
    told = call(*words(scene, tmp_path / "none.txt", "ssmc", min_confidence=1), capsys=capsys, code=1)
    assert "none of 4 queries has a pose: confidence below --min-confidence (4 x)" in told
    told = call(*words(scene, tmp_path / "none.txt", "ssmc", min_confidence=1.5), capsys=capsys, code=2)
    assert told.endswith("--min-confidence must be between 0 and 1, not 1.5")


def _pointless(scene, folder):
    (folder / "pointless").mkdir()
    for name in ("cameras.txt", "images.txt"):
        text = (scene / "map" / name).read_text().splitlines()
        kept = [line if number < 2 or (number - 2) % 2 == 0 else "" for number, line in enumerate(text)]
        (folder / "pointless" / name).write_text("\n".join(kept if name == "images.txt" else text) + "\n")
    (folder / "pointless" / "points3D.txt").write_text("# none\n")
    return folder / "pointless"


def test_a_query_in_which_nothing_agrees_still_has_a_pose(scene, tmp_path, capsys):
    """Labels that agree nowhere leave GSMC without scores, and the draws even."""
    for number in range(QUERIES):
        labels = np.full((240, 320), 1 + number)
        write_label_map(tmp_path / "labels" / f"snow/c0/{number:03d}.png", labels, LABELS)
    results = call(*words(scene, tmp_path / "poses.txt", "gsmc", query_labels=tmp_path / "labels"), capsys=capsys)
    assert results["localized"] > 0


def test_label_maps_of_two_models_are_told_before_the_work(tmp_path):
    for folder, count in (("map", 5), ("query", 7)):
        write_label_map(tmp_path / folder / "a" / "b.png", np.zeros((4, 4), int), count)
    with pytest.raises(FgsnError, match=r"map/a/b\.png has 5 labels, but .*/a/b\.png has 7; use one model for both"):
        localize._check_one_model(tmp_path / "map", ["a/b.jpg"], tmp_path / "query", ["a/b.jpg"])
    with pytest.raises(
        FgsnError, match=r"map has no label map of any image of the map; expected for example .*c/d\.png"
    ):
        localize._check_one_model(tmp_path / "map", ["c/d.jpg"], tmp_path / "query", ["a/b.jpg"])


def test_poses_that_are_hardly_right_come_with_a_warning(scene, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(localize, "confidence", lambda inliers: 0.05)
    results = call(*words(scene, tmp_path / "poses.txt", "p3p"), capsys=capsys)
    (warning,) = results["warnings"]
    assert warning.startswith("the median confidence is 0.05: hardly any pose is right; ")
    monkeypatch.undo()
    assert call(*words(scene, tmp_path / "poses.txt", "p3p"), capsys=capsys)["warnings"] == []

"""`fgsn localize` and `fgsn score-poses` by the command, on a street whose matches are mostly wrong."""

import json

import h5py
import numpy as np
import pytest

from fgsn.bench.street import CAMERA
from fgsn.cli import main
from fgsn.geometry.posed import write_intrinsics, write_poses
from fgsn.inference.label_maps import write_label_map
from street_files import batch, looking, write_street

LABELS, DATABASE, QUERIES, WRONG = 30, 8, 4, 0.85


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Map, label maps, hloc's files, query lists, priors and truth, as a user would have them."""
    root, rng = tmp_path_factory.mktemp("street"), np.random.default_rng(0)
    queries = [looking(6.0 * n + 1.0, 0.8, 4.0 - 2 * n) for n in range(QUERIES)]
    asked = [f"snow/c0/{n:03d}.jpg" for n in range(QUERIES)]
    names, seen, tracks = write_street(root, LABELS, DATABASE, dict(zip(asked, queries, strict=True)))
    (root / "hloc").mkdir()
    with h5py.File(root / "hloc/features.h5", "w") as features, h5py.File(root / "hloc/matches.h5", "w") as matches:
        for name, (_, _, at) in zip(names, tracks, strict=True):
            features[f"{name}/keypoints"] = at.astype(np.float32)
        for name, pose in zip(asked, queries, strict=True):
            rows, pixels = seen(pose)
            features[f"{name}/keypoints"] = pixels[rows].astype(np.float32)
            for other, (points, _, _) in zip(names, tracks, strict=True):
                partner = np.full(len(rows), -1, np.int32)
                for key, row in enumerate(rows):
                    right = np.nonzero(points == row)[0]
                    if rng.random() < WRONG:
                        partner[key] = rng.integers(len(points))
                    elif len(right):
                        partner[key] = right[0]
                group = f"{name.replace('/', '-')}/{other.replace('/', '-')}"
                matches[f"{group}/matches0"] = partner
                matches[f"{group}/matching_scores0"] = np.where(partner >= 0, 0.5, 0).astype(np.float16)
    (root / "hloc" / "pairs.txt").write_text("".join(f"{a} {b}\n" for a in asked for b in names[:1]))
    write_intrinsics(root / "queries.txt", asked, [CAMERA] * QUERIES)
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
    assert results["labels"] == (0 if method == "p3p" else LABELS)
    assert (results["kept"] < results["matches"]) == (method == "ssmc")
    score = call("score-poses", tmp_path / "poses.txt", "--truth", scene / "truth.txt", capsys=capsys)
    if method != "p3p":  # which has too many wrong matches to be sure of
        assert score["all"]["recall"][0] == 100
    assert score["snow"]["queries"] == QUERIES


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

    assert "holds no points" in wrong(map=_pointless(scene, tmp_path))
    (tmp_path / "bare.txt").write_text("snow/c0/000.jpg\n")
    assert "bare.txt:1" in wrong(queries=tmp_path / "bare.txt")
    write_label_map(tmp_path / "small" / "snow/c0/000.png", np.zeros((24, 32), int), LABELS)
    assert "is 32 x 24 pixels, but the camera is 320 x 240" in wrong(query_labels=tmp_path / "small")
    write_label_map(tmp_path / "few" / "snow/c0/000.png", np.zeros((240, 320), int), 5)
    assert "has 5 labels, but those of the map have 30" in wrong(query_labels=tmp_path / "few")
    assert "has no label map of 'snow/c0/000.jpg'" in wrong(query_labels=tmp_path / "none")
    (tmp_path / "priors.txt").write_text("elsewhere 0 1 0 1.7\n")
    assert "'snow/c0/000.jpg' has no prior" in wrong(method="gsmc", priors=tmp_path / "priors.txt")
    assert "--method gsmc wants --priors" in wrong(code=2, method="gsmc", priors=None)
    assert "give --hloc, or --images" in wrong(code=2, hloc=None)
    (tmp_path / "bad.txt").write_text("snow/c0/000.jpg 2 0 0 0 1 2 3\n")
    line = call("score-poses", tmp_path / "bad.txt", "--truth", scene / "truth.txt", capsys=capsys, code=1)
    assert "bad.txt:1" in line
    assert not (tmp_path / "poses.txt").exists()


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

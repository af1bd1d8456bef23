import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fgsn.checks.check import check
from fgsn.config import CheckSettings, PrepareSettings
from fgsn.data.correspondences import read_correspondences, write_correspondences
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError


@pytest.fixture
def root(tmp_path, make_dataset):
    root = make_dataset(tmp_path / "set", places=6)
    prepare(PrepareSettings(dataset=root))
    return root


def problems(path, **settings):
    return check(CheckSettings(path=path, **settings))["problems"]


def rewrite(root, name, points_ref, points_tgt=None, images=("reference/c0/000.png", "snow/c0/000.png")):
    points_tgt = points_ref if points_tgt is None else points_tgt
    path = root / "correspondence_data" / name
    write_correspondences(path, *images, points_ref, points_tgt, np.zeros(len(points_ref)))


def test_a_good_data_set_has_no_problems(root):
    results = check(CheckSettings(path=root))
    assert results == {
        "kind": "data set",
        "images": 18,
        "conditions": 3,
        "pairs": 12,
        "points": 480,
        "disagreement_px": 0.0,
        "wrong_looking": 0.0,
        "covered_reference": 0.9,
        "covered_target": 0.32,
        "motion_median_percent": 17.4,
        "motion_p90_percent": 31.0,
        "warnings": [],
        "problems": [],
    }


def test_points_that_hardly_move_are_a_warning_and_no_problem(root):
    for path in (root / "correspondence_data").iterdir():
        pair = read_correspondences(path)
        names = [file.relative_to(root / "images").as_posix() for file in (pair.reference, pair.target)]
        rewrite(root, path.name, pair.points_ref, pair.points_ref + np.array([3.2, 0]), images=names)
    prepare(PrepareSettings(dataset=root))
    results = check(CheckSettings(path=root))
    (line,) = results["warnings"]
    assert "at most 5.0 % of the image width" in line
    assert "cannot teach viewpoint" in line
    assert not any("width" in problem for problem in results["problems"])
    assert results["motion_median_percent"] == results["motion_p90_percent"] == 5.0


def test_a_data_set_that_is_not_prepared(tmp_path, make_dataset):
    found = problems(make_dataset(tmp_path))
    assert len(found) == 3
    assert all("run fgsn prepare" in line for line in found)


def test_broken_images(root):
    cut = root / "images/snow/c0/003.png"
    cut.write_bytes(cut.read_bytes()[:3000])
    (root / "images/snow/c0/extra.jpg").write_bytes(b"no image")
    found = problems(root)
    assert len(found) == 2
    assert "extra.jpg is not an image" in found[0]
    assert "003.png is broken or cut off" in found[1]
    assert len(problems(root, decode=0)) == 2
    assert len(problems(root, decode=1)) == 1


def test_images_that_are_missing_or_equal(root):
    (root / "images/night/c0/002.png").unlink()
    shutil.copy(root / "images/snow/c0/001.png", root / "images/night/c0/001.png")
    found = problems(root)
    assert "these images are the same file: night/c0/001.png, snow/c0/001.png" in found
    assert any("correspondence_night_002.mat" in line and "night/c0/002.png" in line for line in found)


def test_points_outside_few_and_one_sided(root):
    inside = read_correspondences(root / "correspondence_data/correspondence_snow_000.mat").points_ref
    cases = {
        "1 of 40 points of pt_i lie outside reference/c0/000.png (64 x 48)": (
            np.concatenate([inside[:-1], [[64.0, 1.0]]]),
            inside,
        ),
        "2 of 40 points of pt_j lie outside": (inside, np.concatenate([inside[:-2], [[-0.6, 1], [1, 47.6]]])),
        "only 19 correspondences": (inside[:19], None),
        "all points of pt_j lie in a small part of snow/c0/000.png": (inside, inside / 10),
    }
    for expected, points in cases.items():
        rewrite(root, "correspondence_snow_000.mat", *points)
        found = problems(root)
        assert len(found) == 1
        assert expected in found[0]
    rewrite(root, "correspondence_snow_000.mat", np.clip(inside * 1.1 - 2, -0.5, (63.5, 47.5)))
    assert problems(root) == []


def test_pairs_of_one_image_and_equal_pairs(root):
    data = root / "correspondence_data"
    listed = [name for name in (root / "corr_train.txt").read_text().split() if "000" not in name]
    shutil.copy(data / listed[0], data / "again.mat")
    inside = read_correspondences(data / "correspondence_snow_000.mat").points_ref
    rewrite(root, "correspondence_snow_000.mat", inside, images=("reference/c0/000.png",) * 2)
    found = problems(root)
    assert any("both images are reference/c0/000.png" in line for line in found)
    assert f"these files contain the same correspondences: again.mat, {listed[0]}" in found
    assert any("again.mat is in neither list" in line for line in found)


def test_lists_that_disagree(root):
    train, validation = root / "corr_train.txt", root / "corr_val.txt"
    first = train.read_text().splitlines()[0]
    original = train.read_text()
    train.write_text(original + first + "\ngone.mat\n" + validation.read_text())
    text = "\n".join(problems(root))
    for expected in (
        f"lists {first} 2 times",
        "lists gone.mat, which is not in",
        "is in corr_train.txt and in corr_val.txt",
        "is on both sides of the split",
        "reference_image_names.txt does not match corr_train.txt",
    ):
        assert expected in text
    train.write_text(original)
    assert problems(root) == []
    (root / "reference_points.h5").unlink()
    assert any("reference_points.h5 does not exist" in line for line in problems(root))
    (root / "reference_points.h5").write_bytes(b"x")
    assert any("is not a readable file of key points" in line for line in problems(root))


def test_left_out_pairs_are_no_problem(tmp_path, make_pair):
    for frame in range(10):
        for offset in (0, 1):
            pair = f"spring/{frame}.png", f"autumn/{frame + offset}.png"
            make_pair(tmp_path, f"{frame}_{offset}.mat", *pair, seed=frame)
    assert prepare(PrepareSettings(dataset=tmp_path))["left_out_pairs"] > 0
    assert problems(tmp_path) == []


def test_many_problems_of_a_kind_are_cut_short(tmp_path, make_dataset):
    root = make_dataset(tmp_path, places=25, conditions=("snow",))
    for path in (root / "correspondence_data").iterdir():
        path.write_bytes(b"")
    assert any(line == "... and 5 more like the last one" for line in problems(root))


def test_annotated_images_without_their_label_maps(root, make_image):
    for split in ("training", "validation"):
        for kind in ("imgs", "annos"):
            make_image(root / f"segmented_images/{split}/{kind}/0.png")
    assert problems(root) == []
    make_image(root / "segmented_images/validation/imgs/1.png")
    (line,) = problems(root)
    assert "segmented_images/validation/annos: 1 of 2 label maps are missing" in line


def test_what_is_neither(tmp_path):
    with pytest.raises(FgsnError, match="does not exist"):
        check(CheckSettings(path=tmp_path / "nowhere"))
    with pytest.raises(FgsnError, match="is neither a data set"):
        check(CheckSettings(path=tmp_path))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run, with a stand-in for the reader of models."""

    def load(path):
        if path.read_bytes() != b"a model":
            raise FgsnError(f"{path} is not a model")

    monkeypatch.setitem(sys.modules, "fgsn.inference.model", SimpleNamespace(load=load))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "model.safetensors").write_bytes(b"a model")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.0}\n')
    (run / "config.yaml").write_text("seed: 0\n")
    (run / "results.json").write_text("{}")
    return run


def test_runs_and_models(run):
    assert check(CheckSettings(path=run)) == {"kind": "run", "problems": []}
    assert check(CheckSettings(path=run / "model.safetensors")) == {"kind": "model", "problems": []}
    (run / "model.safetensors").write_bytes(b"half a")
    assert problems(run) == problems(run / "model.safetensors") == [f"{run / 'model.safetensors'} is not a model"]
    (run / "model.safetensors").unlink()
    (run / "results.json").unlink()
    assert problems(run) == [
        f"{run} lacks model.safetensors, results.json; the run is not finished, --resume continues it"
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (json.dumps({"loss": float("nan")}), "line 3: loss is nan; the training has diverged"),
        ('{"step": 3, "lo', "line 3 is not JSON"),
        ("[1]", "line 3 is not a JSON object"),
    ],
)
def test_metrics_that_are_wrong(run, line, expected):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    (found,) = problems(run)
    assert expected in found


def test_parts_of_data_sets_and_label_maps_are_named(root, tmp_path):
    for part in ("images", "correspondence_data"):
        with pytest.raises(FgsnError, match=r"is a part of a data set; did you mean .*set\?$"):
            check(CheckSettings(path=root / part))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "made_from.json").touch()
    with pytest.raises(FgsnError, match="labels is a folder of label maps; check the data set or the model"):
        check(CheckSettings(path=tmp_path / "labels"))

"""`fgsn augment` by the command, and hloc's matching of the file that it writes."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from fgsn.cli import main
from fgsn.inference.model import load
from fgsn.matching.augment import projection_error

NAMES = ("map/1.png", "query.png")
LABELS, DIM = 7, 16


def hloc_nearest(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """hloc's NN-mutual: the nearest neighbour by dot product, if mutual; -1 without one."""
    similarity = np.einsum("dn,dm->nm", first, second)
    forth, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    return np.where(back[forth] == np.arange(len(forth)), forth, -1)


@pytest.fixture
def given(tmp_path, make_model, make_image):
    """Images, a model and features: the words of a call."""
    make_model(LABELS).save(tmp_path / "model.safetensors")
    with h5py.File(tmp_path / "features.h5", "w") as file:
        for seed, name in enumerate(NAMES):
            make_image(tmp_path / "images" / name, seed=0)  # twice the same texture
            rng = np.random.default_rng(seed)
            group = file.create_group(name)
            group["keypoints"] = np.random.default_rng(0).uniform((0, 0), (63, 47), (30, 2)).astype(np.float32)
            group["keypoints"].attrs["uncertainty"] = 1.5
            group["descriptors"] = (3 * rng.normal(size=(DIM, 30))).astype(np.float32)  # of any length
            group["scores"], group["image_size"] = np.linspace(0, 1, 30), np.array([64, 48])
            group["scales"] = np.ones(30, np.float32)
    return {
        "--features": tmp_path / "features.h5", "--images": tmp_path / "images",
        "--model": tmp_path / "model.safetensors", "--out": tmp_path / "out.h5",
    }  # fmt: skip


def words(given, **other):
    named = given | {f"--{key.replace('_', '-')}": value for key, value in other.items()}
    return ["augment", *(str(word) for pair in named.items() for word in pair)]


def call(given, capsys, code=0, **other):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*words(given, **other), "--json"])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    return json.loads(captured.out) if code == 0 else captured.err.strip().splitlines()[-1]


def test_the_file_takes_the_place_of_hlocs(given, tmp_path, capsys):
    results = call(given, capsys, weight=0.4)
    assert results["dimensions"] == DIM + LABELS
    assert results["projection_error"] is None
    model = load(given["--model"], "cpu")
    with h5py.File(given["--out"]) as out, h5py.File(given["--features"]) as before:
        for name in NAMES:
            assert set(out[name]) == set(before[name])
            for key in set(out[name]) - {"descriptors"}:
                assert np.array_equal(out[name][key], before[name][key])
            assert out[name]["keypoints"].attrs["uncertainty"] == 1.5
            described = out[name]["descriptors"][()]
            assert described.dtype == np.float16
            assert described.shape == (DIM + LABELS, 30)
            plain = before[name]["descriptors"][()]
            assert described[:DIM] == pytest.approx(0.6**0.5 * plain / np.linalg.norm(plain, axis=0), abs=1e-3)
            best = model.segment(tmp_path / "images" / name)
            x, y = np.floor(before[name]["keypoints"][()].T + 0.5).astype(int)
            assert (described[DIM:].argmax(axis=0) == best[y, x]).mean() > 0.8  # label maps round to pixels
        first, second = (out[name]["descriptors"][()].astype(np.float32) for name in NAMES)
        partner = hloc_nearest(first, second)
        plain = hloc_nearest(*(before[name]["descriptors"][()] for name in NAMES))
    # Descriptors are noise, and both images show the same: only labels can find the partners.
    rows = np.arange(30)
    assert (partner == rows).sum() > (plain == rows).sum()


def test_weight_zero_leaves_hlocs_matches(given, capsys):
    call(given, capsys, weight=0)
    with h5py.File(given["--out"]) as out, h5py.File(given["--features"]) as before:
        found = hloc_nearest(*(out[name]["descriptors"][()].astype(np.float32) for name in NAMES))
        unit = [before[name]["descriptors"][()] for name in NAMES]
        assert np.array_equal(found, hloc_nearest(*(one / np.linalg.norm(one, axis=0) for one in unit)))


def test_many_labels_are_projected_and_the_projection_is_kept(given, tmp_path, capsys):
    results = call(given, capsys, weight=0.4, dimensions=3)
    assert results["dimensions"] == DIM + 3
    assert 0 < results["projection_error"] < 0.05
    kept = tmp_path / "out.projection.npy"
    assert np.load(kept).shape == (LABELS, 3)
    with h5py.File(given["--out"]) as file:
        described = file[NAMES[0]]["descriptors"][()]
    again = call(given, capsys, weight=0.4, dimensions=3, projection=kept, out=tmp_path / "again.h5")
    assert again["projection_error"] == results["projection_error"]
    with h5py.File(tmp_path / "again.h5") as file:
        assert np.array_equal(file[NAMES[0]]["descriptors"][()], described)
    np.save(tmp_path / "other.npy", np.zeros((5, 3), np.float32))
    told = call(given, capsys, 1, dimensions=3, projection=tmp_path / "other.npy")
    assert told.endswith("other.npy is a projection of 5 labels, but the model has 7")
    told = call(given, capsys, 1, dimensions=3, projection=given["--features"])
    assert "features.h5 is not a readable NumPy file: " in told
    kept.write_bytes(kept.read_bytes().replace(b"'fortran_order': False,", b"'fortran_order': False,("))
    told = call(given, capsys, 1, dimensions=3, projection=kept)  # NumPy's parser ends in a TokenError
    assert "out.projection.npy is not a readable NumPy file: " in told


def test_no_projection_of_another_call_stays_beside_the_file(given, tmp_path, capsys):
    kept = tmp_path / "out.projection.npy"
    call(given, capsys, weight=0.4, dimensions=3)
    assert kept.exists()
    call(given, capsys, weight=0.4, dimensions=LABELS)
    assert not kept.exists()
    assert call(given, capsys, weight=0, dimensions=3)["dimensions"] == DIM
    assert not kept.exists()


def test_features_that_are_not_finite_are_told(given, capsys):
    with h5py.File(given["--features"], "r+") as file:
        file[NAMES[0]]["descriptors"][0, 0] = np.nan
    assert f"the features of '{NAMES[0]}' contain NaN" in call(given, capsys, 1)


def test_the_error_of_a_projection_is_that_of_dot_products():
    vectors = np.sqrt(np.random.default_rng(0).dirichlet(np.ones(4), 50)).astype(np.float32)
    axis = np.eye(4, 3, dtype=np.float32)
    lost = [vectors[i, 3] * vectors[j, 3] for i in range(50) for j in range(i)]
    assert projection_error(vectors, axis) == pytest.approx(np.sqrt(np.mean(np.square(lost))), rel=1e-4)
    assert projection_error(vectors[:1], axis) == 0


def test_an_interrupted_call_continues(given, tmp_path, capsys):
    """Label probabilities of finished images are kept."""
    (tmp_path / "images" / "query.png").rename(tmp_path / "query.png")
    call(given, capsys, 1)
    (tmp_path / "query.png").rename(tmp_path / "images" / "query.png")
    call(given, capsys, weight=0.2)
    files = sorted((tmp_path / "work").rglob("*.h5"))
    assert len(files) == 2
    times = [file.stat().st_mtime_ns for file in files]
    call(given, capsys, weight=0.5)
    assert [file.stat().st_mtime_ns for file in files] == times


def test_a_broken_image_is_listed_and_leaves_the_others(given, tmp_path, capsys):
    path = tmp_path / "images" / NAMES[1]
    path.write_bytes(path.read_bytes()[:200])  # its size can be read, its pixels cannot
    call(given, capsys, 1)
    [reason] = json.loads((tmp_path / "out.results.json").read_text())["failed"]
    assert str(path) in reason
    with h5py.File(given["--out"]) as file:
        assert NAMES[0] in file
        assert NAMES[1] not in file


def test_the_weight_is_chosen_next_to_the_position_that_is_given(given, tmp_path, capsys, make_dataset):
    pytest.importorskip("pycolmap")
    root = make_dataset(tmp_path / "data")
    with pytest.raises(SystemExit):
        main(["prepare", str(root)])
    table = call(given, capsys, data=root, position=0.3, pairs=2)["right_matches"]
    assert table["labels"]["0"] == table["position"]["0.3"]


def test_the_weight_is_chosen_on_a_data_set(given, tmp_path, capsys, make_dataset):
    pytest.importorskip("pycolmap")
    root = make_dataset(tmp_path / "data")
    with pytest.raises(SystemExit):
        main(["prepare", str(root)])
    results = call(given, capsys, data=root, baseline=given["--model"], pairs=2)
    table = results["right_matches"]
    assert set(table) == {"labels", "position", "labels_and_position", "baseline"}
    assert table["labels"] == table["baseline"]  # the same model
    assert table["labels"]["0"] == table["position"]["0"]
    assert results["weight"] == float(max(table["labels"], key=lambda w: table["labels"][w]))


def test_wrong_inputs_end_in_one_line(given, tmp_path, capsys, make_image):
    def told(code=1, **other):
        return call(given, capsys, code, **other)

    assert "features.h5 is a file of features or matches; --model: " in told(model=given["--features"])
    assert "map/1.png does not exist" in told(images=tmp_path)
    assert "would replace a file that is read" in told(out=given["--features"])
    assert told(2, weight=1).endswith("--weight must be at least 0 and below 1, not 1")
    assert told(2, weight=0.7, position=0.3).endswith("--weight and --position must sum to less than 1")
    assert told(2, data=tmp_path, weight=0.1).endswith("give --weight, or --data to choose it on, not both")
    for name in NAMES:
        make_image(tmp_path / "images" / name, width=32)
    assert "map/1.png is 32 x 48 pixels, but" in told()
    with h5py.File(given["--features"], "a") as file:
        del file[NAMES[0]]["descriptors"]
    assert "contains no features of 'map/1.png' in hloc's layout: " in told()
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    assert "contains no image with keypoints" in told(features=tmp_path / "empty.h5")
    (tmp_path / "text.h5").write_text("no")
    assert "text.h5 is not a readable features.h5 of hloc" in told(features=tmp_path / "text.h5")
    assert not given["--out"].exists()


@pytest.mark.slow
def test_a_process_ends_with_its_file_or_with_one_line(given, tmp_path):
    def process(**other):
        code = "from fgsn.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", code, *words(given, **other)], capture_output=True, text=True)
        return done.returncode, done.stderr.strip().splitlines()

    (tmp_path / "text.h5").write_text("no")
    code, lines = process(features=tmp_path / "text.h5")
    assert (code, len(lines)) == (1, 1), lines
    assert "text.h5 is not a readable features.h5 of hloc" in lines[0]
    assert not given["--out"].exists()
    assert process()[0] == 0
    assert h5py.is_hdf5(given["--out"])

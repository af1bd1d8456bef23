"""hloc's feature files with labels."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.export.hloc_features import features_at, write_hloc_features

NAMES = ("reference/c0/a.png", "b.png")


@pytest.fixture
def keypoints(tmp_path, make_image):
    with h5py.File(tmp_path / "given.h5", "w") as file:
        for seed, name in enumerate(NAMES):
            make_image(tmp_path / "images" / name, seed=seed)
            pixels = np.random.default_rng(seed).uniform((0, 0), (63, 47), (30, 2))
            pixels[0] = (200, 10)  # outside
            group = file.create_group(name)
            group["keypoints"], group["scores"] = pixels.astype(np.float32), np.linspace(0, 1, 30, dtype=np.float32)
    return tmp_path / "given.h5"


@pytest.mark.parametrize("short_side", [0, 30])
def test_every_key_point_has_label_and_feature(keypoints, tmp_path, make_model, short_side):
    model = replace(make_model(), short_side=short_side)
    results = write_hloc_features(model, tmp_path / "images", keypoints, tmp_path / "out.h5")
    assert results == {"file": str(tmp_path / "out.h5"), "images": 2, "keypoints": 60, "dimensions": 16}
    with h5py.File(tmp_path / "out.h5") as file, h5py.File(keypoints) as given:
        for name in NAMES:
            assert (file[name]["keypoints"][()] == given[name]["keypoints"][()]).all()
            assert (file[name]["scores"][()] == given[name]["scores"][()]).all()
            assert file[name]["image_size"][()].tolist() == [64, 48]
            labels = model.segment(tmp_path / "images" / name)
            x, y = np.floor(given[name]["keypoints"][1:].T + 0.5).astype(int)
            assert (file[name]["labels"][1:] == labels[y, x]).all()
            assert file[name]["labels"][0] == -1
            descriptors = file[name]["descriptors"][()]
            assert descriptors.shape == (16, 30)
            assert np.linalg.norm(descriptors.astype(float), axis=0) == pytest.approx(1, abs=0.01)


def test_a_feature_on_a_cell_is_the_cells(make_model):
    model = make_model()
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    cells = model.features(image)
    found = features_at(model, image, np.array([(16.0, 24.0), (20.0, 24.0)]))
    for column, wanted in enumerate((cells[:, 3, 2], (cells[:, 3, 2] + cells[:, 3, 3]) / 2)):
        assert found[:, column] == pytest.approx(wanted / np.linalg.norm(wanted), abs=2e-3)


def test_broken_files_are_told(keypoints, tmp_path, make_model):
    out = tmp_path / "out.h5"
    with pytest.raises(FgsnError, match=r"none\.h5 does not exist"):
        write_hloc_features(make_model(), tmp_path / "images", tmp_path / "none.h5", out)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(FgsnError, match=r"text\.h5 is not a readable HDF5 file"):
        write_hloc_features(make_model(), tmp_path / "images", tmp_path / "text.h5", out)
    with pytest.raises(FgsnError, match="would replace the input keypoints"):
        write_hloc_features(make_model(), tmp_path / "images", keypoints, keypoints)
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(FgsnError, match=r"b\.png does not exist"):
        write_hloc_features(make_model(), tmp_path / "images", keypoints, out)
    assert not list(tmp_path.glob("*out.h5*"))
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(FgsnError, match="contains no image with keypoints"):
        write_hloc_features(make_model(), tmp_path / "images", tmp_path / "empty.h5", out)
    with h5py.File(keypoints, "a") as file:
        del file["b.png"]["keypoints"]
        file["b.png"]["keypoints"] = np.full((3, 2), np.nan)
    with pytest.raises(FgsnError, match=r"keypoints of 'b\.png' are not finite"):
        write_hloc_features(make_model(), tmp_path / "images", keypoints, out)

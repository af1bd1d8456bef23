"""fgsn convert-vistas on tiny label maps; the maps between label ids are the golden ones of the authors' code."""

import numpy as np
import pytest
from PIL import Image

from fgsn.cli import main
from fgsn.config import ConvertVistasSettings
from fgsn.data.convert_vistas import convert_vistas
from fgsn.data.labelled import open_labelled
from fgsn.errors import FgsnError
from fgsn.files import read_json

SIZE = (12, 11)
LABEL_IDS = {
    3: 13, 6: 12, 8: 7, 13: 7, 14: 7, 15: 8, 17: 11, 19: 24, 20: 25, 21: 25, 22: 25, 23: 7, 24: 7, 27: 23, 29: 22,
    30: 21, 44: 17, 45: 17, 47: 17, 48: 19, 50: 20, 52: 33, 54: 28, 55: 26, 57: 32, 58: 31, 61: 27,
}  # fmt: skip
TRAIN_IDS = {
    3: 4, 6: 3, 8: 0, 13: 0, 14: 0, 15: 1, 17: 2, 19: 11, 20: 12, 21: 12, 22: 12, 23: 0, 24: 0, 27: 10, 29: 9, 30: 8,
    44: 5, 45: 5, 47: 5, 48: 6, 50: 7, 52: 18, 54: 15, 55: 13, 57: 17, 58: 16, 61: 14,
}  # fmt: skip


@pytest.fixture
def root(tmp_path, make_image):
    """All 66 ids in every label map, stored with a palette as in the release."""
    for split, count in (("training", 3), ("validation", 1)):
        for number in range(count):
            make_image(tmp_path / f"vistas/{split}/images/{number}.jpg", *SIZE)
            path = tmp_path / f"vistas/{split}/labels/{number}.png"
            path.parent.mkdir(exist_ok=True)
            label = Image.fromarray(ids(number))
            label.putpalette(list(range(256)) * 3)
            label.save(path)
    return tmp_path / "vistas"


def ids(number):
    return np.roll(np.resize(np.arange(66, dtype=np.uint8), SIZE[::-1]), number)


def convert(root, **changes):
    return convert_vistas(ConvertVistasSettings(root=root, workers=0, **changes))


def looked_up(ids, table, default=255):
    return np.vectorize(lambda stored: table.get(int(stored), default))(ids)


@pytest.mark.parametrize("lanes", [False, True])
def test_label_ids_are_the_authors(root, lanes):
    results = convert(root, lane_markings=lanes)
    assert (results["converted"], results["already_there"], results["failed"]) == (4, 0, [])
    expected = LABEL_IDS | ({23: 50, 24: 50} if lanes else {})
    folder = root / "training" / ("labels_cityscapes_lanes" if lanes else "labels_cityscapes")
    with Image.open(folder / "2.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), looked_up(ids(2), expected))
    labelled = open_labelled(results["labels"])
    expected = TRAIN_IDS | ({23: 19, 24: 19} if lanes else {})
    np.testing.assert_array_equal(labelled.read_label(labelled.training[1]), looked_up(ids(1), expected))
    assert len(labelled.classes) == (20 if lanes else 19)
    if lanes:  # as road when nobody asks for them
        labelled = open_labelled(f"vistas-cityscapes:{root}")
        np.testing.assert_array_equal(labelled.read_label(labelled.training[1]), looked_up(ids(1), TRAIN_IDS))


def test_what_is_done_is_not_made_again(root):
    convert(root)
    stored = root / "training/labels_cityscapes/1.png"
    made = stored.stat().st_mtime_ns
    (root / "training/labels_cityscapes/2.png").unlink()
    (root / "training/labels_cityscapes/.0.png.0123456789ab.part").write_bytes(b"half")
    results = convert(root)
    assert (results["converted"], results["already_there"]) == (1, 3)
    assert stored.stat().st_mtime_ns == made
    assert len(open_labelled(f"vistas-cityscapes:{root}").training) == 3
    assert not list(root.rglob("*.part"))  # what a killed process left


def test_broken_label_maps_are_listed_and_the_rest_is_made(root, capsys):
    cut = root / "training/labels/0.png"
    cut.write_bytes(cut.read_bytes()[:-30])
    Image.fromarray(np.full(SIZE[::-1], 66, np.uint8)).save(root / "training/labels/1.png")
    Image.new("RGB", SIZE).save(root / "validation/labels/0.png")
    with pytest.raises(SystemExit) as stop:
        main(["convert-vistas", str(root), "--workers", "2"])
    assert stop.value.code == 1
    assert [path.name for path in (root / "training/labels_cityscapes").iterdir()] == ["2.png"]
    results = read_json(root / "results.json")
    assert results["converted"] == 1
    expected = (
        "0.png is broken or cut off",
        "1.png contains label id 66, but Vistas v1.2 has 0 to 65",
        "its mode is RGB",
    )
    for line, why in zip(results["failed"], expected, strict=True):
        assert why in line
        assert "\n" not in line


def test_another_folder_opens_like_the_root(root, tmp_path):
    out = tmp_path / "converted"
    results = convert(root, out=out, lane_markings=True)
    assert results["labels"] == f"vistas-lanes:{out}"
    labelled = open_labelled(results["labels"])
    assert len(labelled.training) == 3
    assert labelled.read_label(labelled.validation[0]).shape == SIZE[::-1]
    assert not list(root.rglob("labels_cityscapes*"))
    assert convert(root, out=out, lane_markings=True)["already_there"] == 4


def test_what_is_missing_is_reported(root, tmp_path):
    with pytest.raises(FgsnError, match="training/labels is missing; unpack Mapillary Vistas"):
        convert(tmp_path)
    for path in (root / "validation/labels").iterdir():
        path.unlink()
    with pytest.raises(FgsnError, match="validation/labels contains no label maps"):
        convert(root)
    assert not list(root.rglob("labels_cityscapes*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_that_cannot_be_written_to_ends_the_conversion_at_once(root, workers):
    (root / "training/labels_cityscapes").write_text("in the way")
    with pytest.raises(FgsnError, match=r"cannot make the folder .*labels_cityscapes") as failure:
        convert_vistas(ConvertVistasSettings(root=root, workers=workers))
    assert "\n" not in str(failure.value)
    assert not (root / "results.json").exists()

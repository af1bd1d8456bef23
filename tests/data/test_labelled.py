import numpy as np
import pytest
from PIL import Image

from fgsn.data.labelled import CITYSCAPES_IDS, open_labelled
from fgsn.errors import FgsnError, UsageError

SIZE = (8, 6)


def put_label(path, ids, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    Image.fromarray(np.resize(np.array(ids, np.uint8), (height, width))).save(path)


def make_camvid(root, make_image):
    for part, split in (("train", "train"), ("val", "val")):
        lines = []
        for number in range(2):
            make_image(root / f"images/{part}/{number}.png", *SIZE)
            put_label(root / f"labels/{part}/{number}.png", range(12))
            lines.append(f"images/{part}/{number}.png labels/{part}/{number}.png\n")
        (root / f"{split}.txt").write_text("".join(lines))


def make_cityscapes(root, make_image):
    for split in ("train", "val"):
        for city in ("aachen", "bremen"):
            make_image(root / f"leftImg8bit/{split}/{city}/{city}_0_leftImg8bit.png", *SIZE)
            put_label(root / f"gtFine/{split}/{city}/{city}_0_gtFine_labelIds.png", range(34))


def make_world(root, make_image):
    for split in ("training", "validation"):
        make_image(root / f"segmented_images/{split}/imgs/0.png", *SIZE)
        put_label(root / f"segmented_images/{split}/annos/0.png", range(34))


MAKERS = {"camvid": make_camvid, "cityscapes": make_cityscapes, "world": make_world}


@pytest.mark.parametrize(("name", "classes", "samples"), [("camvid", 11, 2), ("cityscapes", 19, 2), ("world", 19, 1)])
def test_opens_every_format(tmp_path, make_image, name, classes, samples):
    MAKERS[name](tmp_path, make_image)
    labelled = open_labelled(f"{name}:{tmp_path}")
    assert labelled.name == name
    assert len(labelled.classes) == len(set(labelled.classes)) == classes
    assert len(labelled.training) == len(labelled.validation) == samples
    label = labelled.read_label(labelled.training[0])
    assert label.shape == SIZE[::-1]
    assert label.dtype == np.uint8
    assert set(np.unique(label)) == {*range(classes), 255}


def test_cityscapes_ids_become_train_ids(tmp_path, make_image):
    make_cityscapes(tmp_path, make_image)
    labelled = open_labelled(f"cityscapes:{tmp_path}")
    sample = labelled.training[0]
    wanted = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    wanted |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    for stored in (*range(34), 255):
        put_label(sample.label, [stored])
        assert np.unique(labelled.read_label(sample)).tolist() == [wanted.get(stored, 255)]
    assert len(CITYSCAPES_IDS) == 19


def test_labels_that_cannot_be(tmp_path, make_image):
    make_camvid(tmp_path, make_image)
    labelled = open_labelled(f"camvid:{tmp_path}")
    sample = labelled.validation[0]
    put_label(sample.label, [0], size=(6, 8))
    with pytest.raises(FgsnError, match="is 6 x 8, but its image is 8 x 6"):
        labelled.read_label(sample)
    put_label(sample.label, [12])
    with pytest.raises(FgsnError, match="label id 12, which camvid does not know"):
        labelled.read_label(sample)
    make_image(sample.label, *SIZE)
    with pytest.raises(FgsnError, match="one 8-bit label id per pixel, but its mode is RGB"):
        labelled.read_label(sample)
    sample.label.write_bytes(b"half")
    with pytest.raises(FgsnError, match=r"0\.png"):
        labelled.read_label(sample)


def test_specifications_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match="FORMAT:PATH"):
        open_labelled(str(tmp_path))
    with pytest.raises(UsageError, match="did you mean 'camvid'"):
        open_labelled(f"camvit:{tmp_path}")
    with pytest.raises(FgsnError, match="is not a folder"):
        open_labelled(f"camvid:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize(
    ("name", "gone", "wanted"),
    [
        ("camvid", "val.txt", r"val\.txt is missing"),
        ("camvid", "labels/train/1.png", r"1 of 4 files are missing, first .*labels/train/1\.png"),
        ("cityscapes", "leftImg8bit/val", "leftImg8bit/val is missing"),
        ("cityscapes", "gtFine/train", "gtFine/train is missing"),
        ("cityscapes", "leftImg8bit/train/*", "holds no samples"),
        ("cityscapes", "gtFine/train/bremen", r"1 of 4 files are missing, first .*bremen_0_gtFine_labelIds\.png"),
        ("world", "segmented_images", "training/imgs is missing"),
        ("world", "segmented_images/validation/annos", "validation/annos is missing"),
        ("world", "segmented_images/validation/annos/0.png", "1 of 2 files are missing"),
    ],
)
def test_half_a_download_is_told_precisely(tmp_path, make_image, name, gone, wanted):
    MAKERS[name](tmp_path, make_image)
    for path in list(tmp_path.glob(gone)):
        path.rename(tmp_path / f"gone_{path.name}")
    with pytest.raises(FgsnError, match=wanted) as failure:
        open_labelled(f"{name}:{tmp_path}")
    assert "\n" not in str(failure.value)


def test_lists_do_not_leave_the_folder(tmp_path, make_image):
    make_camvid(tmp_path, make_image)
    (tmp_path / "train.txt").write_text("../a.png ../b.png\n")
    with pytest.raises(FgsnError, match="leaves its root"):
        open_labelled(f"camvid:{tmp_path}")
    (tmp_path / "train.txt").write_text("a.png\n")
    with pytest.raises(FgsnError, match="should be 'image label'"):
        open_labelled(f"camvid:{tmp_path}")

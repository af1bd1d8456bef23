import json

import numpy as np
import pytest
from PIL import Image

from fgsn.data.labelled import CITYSCAPES_CLASSES, CITYSCAPES_IDS, FORMATS, VISTAS_CLASSES, open_labelled
from fgsn.errors import FgsnError, UsageError

SIZE = (10, 8)


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


def make_vistas(root, make_image, folder="labels", ids=range(66)):
    for split in ("training", "validation"):
        make_image(root / f"{split}/images/0_a.jpg", *SIZE)
        put_label(root / f"{split}/{folder}/0_a.png", ids, SIZE)


def make_segmented(root, make_image):
    for split in ("training", "validation"):
        make_image(root / f"segmented_images/{split}/imgs/0.jpg", *SIZE)
        put_label(root / f"segmented_images/{split}/annos/0.png", range(34))


def make_converted(root, make_image):
    make_vistas(root, make_image, folder="labels_cityscapes", ids=[*range(34), 255])


def make_lanes(root, make_image):
    make_vistas(root, make_image, folder="labels_cityscapes_lanes", ids=[*range(34), 50, 255])


MAKERS = {
    "camvid": make_camvid,
    "cityscapes": make_cityscapes,
    "segmented": make_segmented,
    "vistas": make_vistas,
    "vistas-cityscapes": make_converted,
    "vistas-lanes": make_lanes,
    "world": make_segmented,
}


def test_every_format_has_its_maker():
    assert MAKERS.keys() == FORMATS.keys()


@pytest.mark.parametrize(
    ("name", "classes", "samples"),
    [
        ("camvid", 11, 2),
        ("cityscapes", 19, 2),
        ("segmented", 19, 1),
        ("vistas", 66, 1),
        ("vistas-cityscapes", 19, 1),
        ("vistas-lanes", 20, 1),
        ("world", 19, 1),
    ],
)
def test_opens_every_format(tmp_path, make_image, name, classes, samples):
    MAKERS[name](tmp_path, make_image)
    labelled = open_labelled(f"{name}:{tmp_path}")
    assert labelled.name == name
    assert len(labelled.classes) == len(set(labelled.classes)) == classes
    assert len(labelled.training) == len(labelled.validation) == samples
    label = labelled.read_label(labelled.training[0])
    assert label.shape == SIZE[::-1]
    assert label.dtype == np.uint8
    learnt = classes - (name == "vistas")  # what is unlabelled is a class of Vistas that nobody learns
    assert set(np.unique(label)) == {*range(learnt), 255}


def test_cityscapes_ids_become_train_ids(tmp_path, make_image):
    make_cityscapes(tmp_path, make_image)
    labelled = open_labelled(f"cityscapes:{tmp_path}")
    sample = labelled.training[0]
    expected = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    expected |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    for stored in (*range(34), 255):
        put_label(sample.label, [stored])
        assert np.unique(labelled.read_label(sample)).tolist() == [expected.get(stored, 255)]
    assert len(CITYSCAPES_IDS) == 19


def test_labels_that_cannot_be(tmp_path, make_image):
    make_camvid(tmp_path, make_image)
    labelled = open_labelled(f"camvid:{tmp_path}")
    sample = labelled.validation[0]
    put_label(sample.label, [0], size=(6, 8))
    with pytest.raises(FgsnError, match="is 6 x 8, but its image is 10 x 8"):
        labelled.read_label(sample)
    put_label(sample.label, [12])
    with pytest.raises(FgsnError, match="label id 12, which camvid does not define"):
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
    ("name", "gone", "expected"),
    [
        ("camvid", "val.txt", r"val\.txt is missing"),
        ("camvid", "labels/train/1.png", r"1 of 4 files are missing, first .*labels/train/1\.png"),
        ("cityscapes", "leftImg8bit/val", "leftImg8bit/val is missing"),
        ("cityscapes", "gtFine/train", "gtFine/train is missing"),
        ("camvid", "labels/val", r"2 of 4 files are missing, .* the folder .*labels/val does not exist"),
        ("cityscapes", "leftImg8bit/train/*", "leftImg8bit/train: 2 of 2 images are missing.*unpack leftImg8bit_train"),
        ("cityscapes", "*/train/*", "leftImg8bit/train contains no images and .*gtFine/train no label maps"),
        (
            "cityscapes",
            "gtFine/train/bremen",
            r"gtFine/train: 1 of 2 label maps are missing, first .*bremen_0_gtFine_labelIds\.png; unpack",
        ),
        ("vistas", "training/images", "training/images is missing; unpack Mapillary Vistas"),
        ("vistas", "validation/labels", "validation/labels is missing; unpack Mapillary Vistas"),
        ("vistas", "training/images/0_a.jpg", r"images: 1 of 1 images are missing, first .*/0_a\.jpg"),
        ("vistas-cityscapes", "training/labels_cityscapes", "run fgsn convert-vistas .* resumes where it stopped"),
        (
            "vistas-lanes",
            "validation/labels_cityscapes_lanes/*",
            "1 of 1 label maps .*convert-vistas .*--lane-markings",
        ),
        ("world", "segmented_images", "training/imgs is missing"),
        ("world", "segmented_images/validation/annos", "validation/annos is missing"),
        (
            "world",
            "segmented_images/validation/annos/0.png",
            r"validation/annos: 1 of 1 label maps are missing, first .*annos/0\.png",
        ),
    ],
)
def test_half_a_download_is_reported_precisely(tmp_path, make_image, name, gone, expected):
    MAKERS[name](tmp_path, make_image)
    for path in list(tmp_path.glob(gone)):
        path.rename(tmp_path / f"gone_{path.parts[-3]}_{path.name}")
    with pytest.raises(FgsnError, match=expected) as failure:
        open_labelled(f"{name}:{tmp_path}")
    assert "\n" not in str(failure.value)


def test_the_lists_of_segnet_are_read_as_they_are(tmp_path, make_image):
    make_camvid(tmp_path, make_image)
    expected = open_labelled(f"camvid:{tmp_path}").training
    lines = (tmp_path / "train.txt").read_text().split("\n")[:-1]
    lines = [" ".join(f"/SegNet/CamVid/{part}" for part in line.split()) for line in lines]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    assert open_labelled(f"camvid:{tmp_path}").training == expected


def test_vistas_takes_the_names_of_its_release(tmp_path, make_image):
    make_vistas(tmp_path, make_image)
    assert open_labelled(f"vistas:{tmp_path}").classes == VISTAS_CLASSES
    labels = [{"name": f"a--b{n}", "readable": f"Class {n}", "evaluate": n not in (64, 65)} for n in range(66)]
    (tmp_path / "config.json").write_text(json.dumps({"labels": labels}))
    labelled = open_labelled(f"vistas:{tmp_path}")
    assert labelled.classes == tuple(f"Class {n}" for n in range(66))
    assert [n for n in range(66) if labelled.train_ids[n] == 255] == [64, 65]
    (tmp_path / "config_v1.2.json").write_text(json.dumps({"labels": labels * 2}))  # wins
    with pytest.raises(FgsnError, match=r"config_v1\.2\.json has 132 labels, but Vistas v1\.2 has 66"):
        open_labelled(f"vistas:{tmp_path}")
    (tmp_path / "config_v1.2.json").write_text(json.dumps({"labels": [{"name": "bird"}]}))
    with pytest.raises(FgsnError, match="a name 'readable' in each"):
        open_labelled(f"vistas:{tmp_path}")


def test_vistas_in_the_folders_of_later_releases(tmp_path, make_image):
    make_vistas(tmp_path, make_image, folder="v1.2/labels")
    sample = open_labelled(f"vistas:{tmp_path}").training[0]
    assert sample.label == tmp_path / "training/v1.2/labels/0_a.png"


def test_lane_markings_are_road_in_19_classes_and_a_class_in_20(tmp_path, make_image):
    make_lanes(tmp_path, make_image)
    plain, lanes = (open_labelled(f"{name}:{tmp_path}") for name in ("vistas-cityscapes", "vistas-lanes"))
    assert (plain.classes, lanes.classes) == (CITYSCAPES_CLASSES, (*CITYSCAPES_CLASSES, "lane marking"))
    assert (plain.train_ids[50], lanes.train_ids[50]) == (0, 19)
    assert plain.training[0].label.parent.name == "labels_cityscapes_lanes"
    make_converted(tmp_path, make_image)
    assert open_labelled(f"vistas-cityscapes:{tmp_path}").training[0].label.parent.name == "labels_cityscapes"


def test_lists_do_not_leave_the_folder(tmp_path, make_image):
    make_camvid(tmp_path, make_image)
    (tmp_path / "train.txt").write_text("../a.png ../b.png\n")
    with pytest.raises(FgsnError, match="leaves its root"):
        open_labelled(f"camvid:{tmp_path}")
    (tmp_path / "train.txt").write_text("a.png\n")
    with pytest.raises(FgsnError, match="should read 'image label'"):
        open_labelled(f"camvid:{tmp_path}")

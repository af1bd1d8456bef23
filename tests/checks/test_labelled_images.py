"""fgsn check on labelled images, through the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgsn.checks.check import check
from fgsn.cli import main
from fgsn.config import CheckSettings
from fgsn.data.labelled import annotated_set, open_labelled
from fgsn.errors import FgsnError


@pytest.fixture
def root(tmp_path, make_image):
    for split in ("train", "val"):
        for number in range(4):
            make_image(tmp_path / f"leftImg8bit/{split}/ulm/ulm_{number}_leftImg8bit.png", 10, 8, seed=number)
            put(tmp_path, split, number, np.full((8, 10), 7))
    return tmp_path


def put(root, split, number, ids):
    path = root / f"gtFine/{split}/ulm/ulm_{number}_gtFine_labelIds.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)
    return path


def problems(root, **settings):
    return check(CheckSettings(path=Path(f"cityscapes:{root}"), **settings))["problems"]


def test_a_good_set_has_no_problems(root, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", f"cityscapes:{root}", "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out) == {
        "kind": "labelled images",
        "format": "cityscapes",
        "classes": 19,
        "training": 4,
        "validation": 4,
        "read": 8,
        "problems": [],
    }


def test_sizes_and_broken_files(root):
    other = put(root, "train", 1, np.full((10, 8), 7))
    cut = root / "leftImg8bit/val/ulm/ulm_3_leftImg8bit.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    found = problems(root)
    assert len(found) == 2
    assert f"{other} is 8 x 10, but its image" in found[0]
    assert f"{cut} is broken or cut off" in found[1]
    assert len(problems(root, decode=1)) == 1  # the size needs no decoding


def test_unknown_ids(tmp_path, make_image):
    for split in ("train", "val"):
        make_image(tmp_path / f"{split}.png", 10, 8)
        Image.fromarray(np.full((8, 10), 10 if split == "train" else 42, np.uint8)).save(tmp_path / f"{split}_ids.png")
        (tmp_path / f"{split}.txt").write_text(f"{split}.png {split}_ids.png\n")
    (line,) = check(CheckSettings(path=Path(f"camvid:{tmp_path}")))["problems"]
    assert "val_ids.png contains label id 42, which camvid does not define" in line


def test_a_half_downloaded_set_is_a_problem(root, capsys):
    put(root, "val", 1, np.full((8, 10), 7)).unlink()
    (line,) = problems(root)
    assert "gtFine/val: 1 of 4 label maps are missing, first" in line
    with pytest.raises(SystemExit) as stop:
        main(["check", f"cityscapes:{root}"])
    assert stop.value.code == 1
    assert "1 of 4 label maps" in " ".join(capsys.readouterr().out.split())


def test_formats_are_named(root):
    with pytest.raises(FgsnError, match=r"give labelled images as FORMAT:PATH .*cityscapes.*vistas"):
        check(CheckSettings(path=root))
    with pytest.raises(FgsnError, match="unknown format 'citiscapes'; did you mean 'cityscapes'"):
        check(CheckSettings(path=Path(f"citiscapes:{root}")))


def test_train_ids_in_the_place_of_label_ids(root):
    for split in ("train", "val"):
        for number in range(4):
            put(root, split, number, np.resize([0, 2, 8, 18, 255], (8, 10)))
    (problem,) = problems(root)
    assert "contains train ids, 0 to 18 and 255: give label ids of cityscapes" in problem
    with pytest.raises(FgsnError, match="contains train ids"):
        open_labelled(f"cityscapes:{root}")
    put(root, "train", 0, np.resize([0, 2, 8, 23, 255], (8, 10)))  # sky: licence plates, -1, are 255 in 8 bits
    put(root, "val", 0, np.resize([0, 2, 8, 23, 255], (8, 10)))
    assert problems(root) == []


def test_label_ids_that_cannot_be(root):
    path = put(root, "train", 0, np.resize([7, 34], (8, 10)))
    assert problems(root) == [f"{path} contains label id 34, which cityscapes does not define"]
    for number in range(4):
        put(root, "train", number, np.full((8, 10), 1))
    (problem,) = problems(root)
    assert problem.endswith("no pixel has a label of a class of cityscapes")


@pytest.mark.parametrize("name", ["segmented", "world"])
def test_annotated_images_with_train_ids(tmp_path, make_image, name):
    for split in ("training", "validation"):
        make_image(tmp_path / f"segmented_images/{split}/imgs/1.png", 10, 8)
        path = tmp_path / f"segmented_images/{split}/annos/1.png"
        path.parent.mkdir()
        Image.fromarray(np.resize([0, 2, 255], (8, 10)).astype(np.uint8)).save(path)
    with pytest.raises(FgsnError, match="contains train ids"):
        open_labelled(f"{name}:{tmp_path}")
    with pytest.raises(FgsnError, match="contains train ids"):  # as evaluate and check open them
        annotated_set(tmp_path, ["validation"])

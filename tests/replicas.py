"""The public data sets in miniature: their folders, file names, array shapes and types, with pictures made up.

The correspondence files are written with h5py as MATLAB writes them, not with our own writer.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

CMU_SIZE, ROBOTCAR_SIZE, LABELLED_SIZE = (128, 96), (96, 96), (96, 72)
CMU_DAYS = ("2010-10-01", "2010-12-21")
ROBOTCAR_CONDITIONS = ("dawn", "night-rain")
PLACES = 3
SHIFT = 3
"""Target images show everything so many pixels further right and down."""


def cmu(root: Path, stored_elsewhere: bool = False) -> Path:
    """CMU Seasons: slices, two cameras, runs told apart by the time in the file names.

    Args:
        root: folder to make.
        stored_elsewhere: the paths in the correspondence files are others than those of the images, as for images of
            visuallocalization.net; only the base names agree.
    """
    for place in range(PLACES):
        numbers, slice_name = place + 11, f"slice{6 + place}"
        reference = f"{slice_name}/query/{_cmu_name(numbers, place % 2, '2010-09-01')}"
        pixels = _picture(CMU_SIZE, seed=place)
        _save(root / "images" / reference, pixels)
        for run, day in enumerate(CMU_DAYS, start=21):
            target = f"{slice_name}/query/{_cmu_name(numbers, place % 2, day)}"
            _save(root / "images" / target, _in_season(pixels, run))
            names = [f"run{name}/{Path(name).name}" if stored_elsewhere else name for name in (reference, target)]
            file = f"correspondence_{slice_name}_run13_run{run}_c{numbers}_c{numbers + 10}.mat"
            _correspond(root / "correspondence_data" / file, names, CMU_SIZE, seed=place)
        _annotate(root, Path(reference).name, pixels, place)
    return root


def robotcar(root: Path) -> Path:
    """RobotCar Seasons: a folder per condition, the rear camera, timestamps as names."""
    for place in range(PLACES):
        reference = f"overcast-reference/rear/{1417178384000000 + place * 10_000_000}.jpg"
        pixels = _picture(ROBOTCAR_SIZE, seed=10 + place)
        _save(root / "images" / reference, pixels)
        for number, condition in enumerate(ROBOTCAR_CONDITIONS):
            target = f"{condition}/rear/{1418721355000000 + number * 10**12 + place}.jpg"
            _save(root / "images" / target, _in_season(pixels, number))
            file = f"correspondence_run1_overcast-reference_run2_{condition}_c{13 + place}_c{2645 + place}.mat"
            _correspond(root / "correspondence_data" / file, (reference, target), ROBOTCAR_SIZE, seed=place)
        _annotate(root, Path(reference).name, pixels, place)
    return root


def cmu_and_robotcar(root: Path) -> Path:
    """Both sets in one root, as the authors merge them."""
    return robotcar(cmu(root))


def camvid(root: Path) -> Path:
    """CamVid in the SegNet release: folders and lists, whose paths start elsewhere."""
    for split in ("train", "val"):
        lines = []
        for number in range(2):
            name = f"0016E5_{7959 + number * 2:05d}.png"
            _save(root / split / name, _picture(LABELLED_SIZE, number))
            _save(root / f"{split}annot" / name, _ids(LABELLED_SIZE, number, range(12)))
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def cityscapes(root: Path) -> Path:
    """Cityscapes: cities in train and val, labelIds between the other kinds of label files."""
    for split, city in (("train", "aachen"), ("train", "ulm"), ("val", "frankfurt")):
        for number in range(2):
            name = f"{city}_{number:06d}_000019"
            _save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", _picture(LABELLED_SIZE, number))
            labels = root / "gtFine" / split / city
            _save(labels / f"{name}_gtFine_labelIds.png", _ids(LABELLED_SIZE, number, range(34)))
            _save(labels / f"{name}_gtFine_color.png", _picture(LABELLED_SIZE, number))
            (labels / f"{name}_gtFine_polygons.json").write_text("{}")
    return root


def vistas(root: Path) -> Path:
    """Mapillary Vistas v1.2: 66 ids as palette PNG, sizes that differ, and the config with the names."""
    for split, count in (("training", 3), ("validation", 2), ("testing", 1)):
        for number in range(count):
            name, size = f"{split[:4]}_{number:03d}-XxY_{number}", (LABELLED_SIZE[0] + 8 * number, LABELLED_SIZE[1])
            _save(root / split / "images" / f"{name}.jpg", _picture(size, number))
            if split != "testing":
                label = Image.fromarray(_ids(size, number, range(66)))
                label.putpalette(list(range(256)) * 3)
                (root / split / "labels").mkdir(parents=True, exist_ok=True)
                label.save(root / split / "labels" / f"{name}.png")
    labels = [{"name": f"a--{n}", "readable": f"Thing {n}", "evaluate": n != 65} for n in range(66)]
    (root / "config.json").write_text(json.dumps({"labels": labels, "version": 1.1}))
    return root


def _cmu_name(number: int, camera: int, day: str) -> str:
    microseconds = int(datetime.fromisoformat(f"{day}T13:31:00").replace(tzinfo=UTC).timestamp() * 1e6)
    return f"img_{number:05d}_c{camera}_{microseconds + number * 100_000 + camera}us.jpg"


def _picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """(H, W, 3) coloured blocks."""
    width, height = size
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(blocks, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


def _in_season(pixels: np.ndarray, seed: int) -> np.ndarray:
    """The picture, further right and down, darker and with noise."""
    noise = np.random.default_rng(seed).normal(0, 4, pixels.shape)
    return (np.roll(pixels, (SHIFT, SHIFT), (0, 1)) * 0.8 + noise).clip(0, 255).astype(np.uint8)


def _ids(size: tuple[int, int], seed: int, ids: range) -> np.ndarray:
    """(H, W) label ids in blocks."""
    return np.array(ids, np.uint8)[_picture(size, seed)[..., 0].astype(int) * len(ids) // 256]


def _annotate(root: Path, name: str, pixels: np.ndarray, place: int) -> None:
    """One annotated image of segmented_images/: of the first place for training, of the others for the other splits."""
    folder = root / "segmented_images" / ("training", "validation", "testing")[place]
    _save(folder / "imgs" / f"{Path(name).stem}.png", pixels)
    _save(folder / "annos" / f"{Path(name).stem}.png", _ids(pixels.shape[1::-1], place, range(34)))


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95)


def _correspond(path: Path, names: Sequence[str], size: tuple[int, int], seed: int) -> None:
    """A .mat file of MATLAB 7.3; h5py sees (N, 2) points, (1, N) distances, both double, and (L, 1) UTF-16 paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = np.random.default_rng(seed).uniform(0, np.array(size) - SHIFT - 1, (60, 2)).round(2)
    distances = np.linalg.norm(points / size * 2 - 1, axis=1)
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in (("pt_i", points), ("pt_j", points + SHIFT), ("dist_from_center", distances[None])):
            file.create_dataset(key, data=array).attrs["MATLAB_class"] = np.bytes_("double")
        for key, name in zip(("im_i_path", "im_j_path"), names, strict=True):
            stored = file.create_dataset(key, data=np.array([[ord(letter)] for letter in name], np.uint16))
            stored.attrs["MATLAB_class"] = np.bytes_("char")
            stored.attrs["MATLAB_int_decode"] = np.int32(2)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")

"""fgsn convert-vistas: convert the label ids of Mapillary Vistas to the labelIds of Cityscapes, in new label maps.

The images stay in place. Existing label maps are skipped, so an interrupted conversion resumes where it stopped.
"""

from pathlib import Path
from typing import Any

from PIL import Image

from fgsn.config import ConvertVistasSettings
from fgsn.data.images import open_image, walk_images
from fgsn.data.labelled.vistas import CONVERTED, LANE_MARKING_ID, SPLITS, VISTAS_CLASSES, vistas_labels
from fgsn.errors import FgsnError
from fgsn.files import FolderLock, atomic_write, write_json, write_yaml
from fgsn.processes import Workers
from fgsn.progress import Meter

VOID = 255
CITYSCAPES_ID = {
    "Road": 7, "Service Lane": 7, "Crosswalk - Plain": 7, "Lane Marking - Crosswalk": 7, "Lane Marking - General": 7,
    "Sidewalk": 8, "Building": 11, "Wall": 12, "Fence": 13, "Pole": 17, "Utility Pole": 17, "Street Light": 17,
    "Traffic Light": 19, "Traffic Sign (Front)": 20, "Vegetation": 21, "Terrain": 22, "Sky": 23, "Person": 24,
    "Bicyclist": 25, "Motorcyclist": 25, "Other Rider": 25, "Car": 26, "Truck": 27, "Bus": 28, "On Rails": 31,
    "Motorcycle": 32, "Bicycle": 33,
}  # fmt: skip
"""The Cityscapes labelId of every Vistas class that has one; all others become void (the authors' map)."""
COMPRESSION = 4
"""zlib level; level 6 takes 2.5 times as long on detailed label maps and saves a tenth of the space."""


def convert_vistas(settings: ConvertVistasSettings) -> dict[str, Any]:
    """Write a label map with Cityscapes labelIds for every label map of Mapillary Vistas v1.2.

    They go to `<split>/labels_cityscapes/` (with lane markings, `<split>/labels_cityscapes_lanes/`) below the root, or
    below `out`, where `<split>/images` becomes a link to the images. Open the folder as `vistas-cityscapes:PATH` (19
    classes) or `vistas-lanes:PATH` (20). Writes `results.json` and `config.yaml` there.

    Returns:
        Counts of converted and of existing label maps; under `failed`, one line per broken label map.

    Raises:
        FgsnError: the folder is not Vistas v1.2, or cannot be written to.
    """
    out = settings.out or settings.root
    jobs, already = [], 0
    for split in SPLITS:
        labels = vistas_labels(settings.root, split)
        found = walk_images(labels)
        if not found:
            raise FgsnError(
                f"{labels} {'contains no label maps' if labels.is_dir() else 'is missing'}; "
                f"unpack Mapillary Vistas v1.2 in {settings.root}, which includes training/ and validation/"
            )
        if out.resolve() != settings.root.resolve():
            _link(out / split / "images", settings.root / split / "images")
        folder = out / split / CONVERTED[settings.lane_markings]
        # Listed once: checking every file takes minutes on a network file system.
        done = {file.relative_to(folder).as_posix() for file in walk_images(folder)}
        names = [file.relative_to(labels).as_posix() for file in found]
        already += sum(name in done for name in names)
        jobs += [(labels / name, folder / name, settings.lane_markings) for name in names if name not in done]
    failed, _lock = [], FolderLock(out).require()
    with (
        Workers(settings.workers) as workers,
        Meter("convert-vistas", already + len(jobs), already, unit=" label maps") as meter,
    ):
        for problem in workers.run(convert_label_map, jobs):
            failed += [problem] if problem else []
            meter.step(f"{len(failed)} broken" if failed else "")
    results = {
        "labels": f"{'vistas-lanes' if settings.lane_markings else 'vistas-cityscapes'}:{out}",
        "converted": len(jobs) - len(failed),
        "already_there": already,
        "failed": failed,
    }
    write_yaml(out / "config.yaml", settings.as_dict())
    write_json(out / "results.json", results)
    return results


def convert_label_map(source: Path, target: Path, lane_markings: bool) -> str | None:
    """Convert one label map, atomically; returns None, or a line that explains what is wrong with it.

    Raises FgsnError if the converted label map cannot be written.
    """
    try:
        size, pixels = _read(source)
    except FgsnError as error:
        return str(error)
    # The bytes of an 8-bit image are its pixels, and bytes.translate is the fastest lookup table.
    converted = Image.frombytes("L", size, pixels.translate(conversion_table(lane_markings)))
    with atomic_write(target) as aside:
        converted.save(aside, "PNG", compress_level=COMPRESSION)
    return None


def _read(source: Path) -> tuple[tuple[int, int], bytes]:
    """Size and label ids of a label map; raises FgsnError where it is not from Vistas v1.2."""
    with open_image(source) as image:
        if image.mode not in ("L", "P"):
            raise FgsnError(f"{source} should contain one 8-bit label id per pixel, but its mode is {image.mode}")
        counts, size, pixels = image.histogram(), image.size, image.tobytes()
    unknown = [label for label, count in enumerate(counts) if count and label >= len(VISTAS_CLASSES)]
    if unknown:
        raise FgsnError(f"{source} contains label id {unknown[0]}, but Vistas v1.2 has 0 to {len(VISTAS_CLASSES) - 1}")
    return size, pixels


def conversion_table(lane_markings: bool) -> bytes:
    """256 bytes: the Cityscapes labelId of every Vistas v1.2 label id, 255 for void.

    With `lane_markings`, those have their own labelId (50) instead of road (7).
    """
    ids = [CITYSCAPES_ID.get(name, VOID) for name in VISTAS_CLASSES]
    if lane_markings:
        ids = [
            LANE_MARKING_ID if name.startswith("Lane Marking") else stored
            for name, stored in zip(VISTAS_CLASSES, ids, strict=True)
        ]
    return bytes(ids).ljust(256, bytes([VOID]))


def _link(link: Path, images: Path) -> None:
    """Link to the images beside label maps that are written elsewhere."""
    if link.exists():
        return
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(images.resolve(), target_is_directory=True)
    except OSError as error:
        raise FgsnError(f"cannot link {link} to {images}: {error.strerror}; leave out --out") from None

"""The images of a map and of its queries on disk: which are missing or have another size than their cameras."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fgsn.data.find_image import image_at
from fgsn.data.images import image_size
from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera, require_size
from fgsn.geometry.posed import PosedImages


@dataclass(frozen=True)
class FoundImages:
    """Images by name."""

    files: dict[str, Path]
    broken: dict[str, str]
    """Images that are missing, cannot be read or do not fit their camera, and why."""


def find_images(folder: Path, cameras: Mapping[str, Camera], of: str) -> FoundImages:
    """Find the images of cameras, before any work; raises FgsnError if none of them can be used.

    Args:
        folder: that the names are relative to; an image may have another ending (.png in a model, .jpg on disk).
        cameras: by name of the image.
        of: whose images they are, for messages.
    """
    found = FoundImages({}, {})
    missing = 0
    for name, camera in cameras.items():
        file = image_at(folder, name)
        if file is None:
            missing += 1
            found.broken[name] = f"image {folder / name} does not exist"
            continue
        try:
            require_size(name, camera, image_size(file))
            found.files[name] = file
        except FgsnError as error:
            found.broken[name] = str(error)
    if cameras and not found.files:
        first = next(iter(cameras))
        if missing == len(cameras):
            raise FgsnError(
                f"none of the {len(cameras)} images of the {of} is in {folder} (first {folder / first})"
                + _hint(folder, first)
            )
        raise FgsnError(f"none of the {len(cameras)} images of the {of} can be used: {found.broken[first]}")
    return found


def images_of(folder: Path, map_images: PosedImages, queries: Mapping[str, Camera]) -> FoundImages:
    """Find the images of a map and of queries, given their cameras by name; see `find_images`.

    Raises FgsnError if none of the map's images, or none of the queries', can be used.
    """
    cameras = {name: map_images.camera(row) for row, name in enumerate(map_images.names)}
    ours, theirs = find_images(folder, cameras, "map"), find_images(folder, queries, "queries")
    return FoundImages(ours.files | theirs.files, ours.broken | theirs.broken)


def _hint(folder: Path, name: str) -> str:
    """A folder nearby that contains the image."""
    if not folder.is_dir():
        return f"; {folder} is not a folder"
    near = [*sorted(path for path in folder.iterdir() if path.is_dir()), folder.absolute().parent]
    # The very file first: depth maps have the stems of the images, with another ending.
    fitting = next((path for path in near if (path / name).is_file()), None)
    fitting = fitting or next((path for path in near if image_at(path, name)), None)
    return "" if fitting is None else f"; did you mean --images {fitting}?"

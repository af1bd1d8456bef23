"""Read maps and poses, with image names as in the folder of images."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fgsn.errors import FgsnError
from fgsn.formats.posed_images import camera_key, read_intrinsics, read_posed_images
from fgsn.geometry.camera import Camera, require_size
from fgsn.geometry.colmap import Reconstruction, read_model
from fgsn.geometry.posed import PosedImages, join


def read_map(path: Path, sizes: Mapping[str, tuple[int, int]], condition: str = "") -> Reconstruction:
    """Read a COLMAP model of the given images.

    Args:
        sizes: width and height of all images by name, whose first folder is the condition.
        condition: of a model of one condition, whose image names may omit it.

    Raises:
        FgsnError: the model is missing or damaged, none of its images is known, or image sizes differ.
    """
    model = read_model(path, all_key_points=True)
    model = replace(model, names=names_on_disk(model.names, sizes, condition))
    require_sizes(model, sizes, str(path))
    return model


def names_on_disk(names: Sequence[str], known: Collection[str], condition: str = "") -> list[str]:
    """Names of a model or list as they are on the disk, where images may have another ending, such as .jpg for .png.

    `known` are the names on the disk; names may omit their first folder, the `condition`.
    """
    ending = {name.rpartition(".")[0]: name for name in known}
    found = []
    for name in names:
        full = [name, f"{condition}/{name}"] if condition else [name]
        same = [one for one in full if one in known]
        found.append(
            (same or [ending[stem] for one in full if (stem := one.rpartition(".")[0]) in ending] or full[-1:])[0]
        )
    return found


def read_poses(paths: Sequence[Path], intrinsics: Sequence[Path], known: Collection[str]) -> PosedImages:
    """Read poses of images in one frame from lists and COLMAP models.

    Args:
        paths: lists `name qw qx qy qz tx ty tz`, or folders of COLMAP models, whose points are ignored.
        intrinsics: lists `name MODEL width height parameters…` for the lists of poses.
        known: names of the images on the disk.

    Raises:
        FgsnError: a file is missing or broken, an image has two poses or no intrinsics.
    """
    parts: list[PosedImages] = []
    for path in paths:
        if path.is_dir():
            model = read_model(path, points_needed=False)
            parts.append(PosedImages(model.names, model.cameras, model.camera_of, model.camera_from_world))
        else:
            parts.append(read_posed_images(path, intrinsics))
    return join([replace(part, names=names_on_disk(part.names, known)) for part in parts])


def require_sizes(images: PosedImages, sizes: Mapping[str, tuple[int, int]], source: str) -> None:
    """Require (FgsnError) that cameras from `source` have the size of their images, of which one at least is known."""
    known = [row for row, name in enumerate(images.names) if name in sizes]
    if not known:
        raise FgsnError(
            f"{source}: none of its {len(images.names)} images is in the folder of images (the first is "
            f"'{images.names[0]}'); names should be relative paths such as {min(sizes)}"
        )
    for row in known:
        name = images.names[row]
        try:
            require_size(name, images.camera(row), sizes[name])
        except FgsnError as error:
            raise FgsnError(f"{source}: {error}") from None


def cameras_of(intrinsics: Sequence[Path], sizes: Mapping[str, tuple[int, int]]) -> dict[str, Camera]:
    """The cameras of images, given by their `sizes`, from lists of intrinsics; images that are in none are left out.

    Raises:
        FgsnError: a list is broken, has a camera of another size than its image, or no list has one of any image.
    """
    known = read_intrinsics(intrinsics)
    cameras = {name: known[key] for name in sizes if (key := camera_key(known, name)) is not None}
    lists = ", ".join(map(str, intrinsics))
    if known and not cameras:
        raise FgsnError(
            f"{lists}: no image or folder is named '{next(iter(known))}'; names should be like {min(sizes)}, or like "
            f"{Path(min(sizes)).parent} for all images in it"
        )
    for name, camera in cameras.items():
        try:
            require_size(name, camera, sizes[name])
        except FgsnError as error:
            raise FgsnError(f"{lists}: {error}") from None
    return cameras


def only(images: PosedImages, rows: Sequence[int] | np.ndarray) -> PosedImages:
    """A subset of the images, by rows."""
    rows = np.asarray(rows, np.int64)
    names = [images.names[row] for row in rows]
    return PosedImages(names, images.cameras, images.camera_of[rows], images.camera_from_world[rows])

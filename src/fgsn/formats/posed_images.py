"""Lists of poses, with lists of the cameras that took the images."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fgsn.errors import FgsnError
from fgsn.formats.poses import read_results
from fgsn.formats.queries import read_queries
from fgsn.geometry.camera import Camera
from fgsn.geometry.posed import PosedImages


def read_posed_images(poses: Path, intrinsics: Path | Sequence[Path]) -> PosedImages:
    """Read poses and intrinsics from two lists, in the format of hloc and visuallocalization.net.

    Args:
        poses: lines `name qw qx qy qz tx ty tz`, from the world to the camera.
        intrinsics: one or several files with lines `name MODEL width height parameters...`, where the name is that of
            an image, or of a folder in the images' paths (such as `c0`) for all images below it.

    Raises:
        FgsnError: a file is missing, a line is malformed, or an image has no intrinsics or two poses.
    """
    found, cameras = read_results(poses), read_intrinsics(intrinsics)
    if not found.names:
        raise FgsnError(f"{poses} contains no line with an image")
    rows = {key: row for row, key in enumerate(cameras)}
    camera_of = []
    for name in found.names:
        key = camera_key(cameras, name)
        if key is None:
            where = intrinsics if isinstance(intrinsics, Path) else ", ".join(map(str, intrinsics))
            raise FgsnError(f"{poses}: '{name}' has no intrinsics in {where or 'any list (--intrinsics)'}")
        camera_of.append(rows[key])
    return PosedImages(found.names, [*cameras.values()], np.array(camera_of, np.int64), found.camera_from_world)


def read_intrinsics(paths: Path | Sequence[Path]) -> dict[str, Camera]:
    """Read the cameras of lists `name MODEL width height parameters...`, by image or folder name.

    Raises FgsnError if a file is missing, a line is malformed, or a name has two cameras.
    """
    found: dict[str, Camera] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        for query in read_queries(path):
            if found.setdefault(query.name, query.camera) != query.camera:
                raise FgsnError(f"{path}: '{query.name}' has another camera than in an earlier list; keep one")
    return found


def camera_key(cameras: Mapping[str, Camera], name: str) -> str | None:
    """The key of an image's camera among intrinsics: its name, also with another ending, else the nearest folder."""
    others = (f"{name.rpartition('.')[0]}{ending}" for ending in (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"))
    return next((key for key in (name, *others, *reversed(PurePosixPath(name).parts)) if key in cameras), None)

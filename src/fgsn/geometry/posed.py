"""Images with cameras and poses: the common base of maps, pose lists and sets of depth maps."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.errors import FgsnError
from fgsn.files import numbered_lines, write_text
from fgsn.geometry.camera import PARAMETER_COUNTS, Camera
from fgsn.geometry.pose import Pose


@dataclass(frozen=True, eq=False)
class PosedImages:
    """N images, each with a camera and a pose, in one world frame."""

    names: list[str]
    """Paths of the images with forward slashes."""
    cameras: list[Camera]
    camera_of: NDArray[np.int64]
    """(N,) row of `cameras` for every image."""
    camera_from_world: Pose
    """N poses."""

    def camera(self, image: int) -> Camera:
        """The camera of an image, given by its row."""
        return self.cameras[self.camera_of[image]]

    def project(self, image: int, points_world: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels (M, 2) and depths (M,) of world points (M, 3) in an image; NaN as in `Camera.project`."""
        return self.camera(image).project(self.camera_from_world[image].transform(points_world))


def join(parts: Sequence[PosedImages]) -> PosedImages:
    """Concatenate sets of images that share one world frame; FgsnError if two have the same name, or there are none."""
    names = [name for part in parts for name in part.names]
    if not names:
        raise FgsnError("there are no images with poses")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise FgsnError(f"image '{name}' has {count} poses; keep one")
    first = np.cumsum([0, *(len(part.cameras) for part in parts)])
    return PosedImages(
        names,
        [camera for part in parts for camera in part.cameras],
        np.concatenate([part.camera_of + start for part, start in zip(parts, first[:-1], strict=True)]),
        Pose.concatenate(part.camera_from_world for part in parts),
    )


def read_posed_images(poses: Path, intrinsics: Path | Sequence[Path]) -> PosedImages:
    """Read poses and intrinsics from two lists, in the format of hloc and visuallocalization.net.

    Args:
        poses: lines `name qw qx qy qz tx ty tz`, from the world to the camera.
        intrinsics: one or several files with lines `name MODEL width height parameters...`, where the name is that of
            an image, or of a folder in the images' paths (such as `c0`) for all images below it.

    Raises:
        FgsnError: a file is missing, a line is malformed, or an image has no intrinsics or two poses.
    """
    cameras = read_intrinsics(intrinsics)
    known = list(cameras)
    names, values, camera_of = [], [], []
    for number, line in numbered_lines(poses):
        name, *numbers = line.rsplit(maxsplit=7)
        try:
            value = np.array(numbers, np.float64)
        except ValueError:
            value = np.zeros(0)
        if len(value) != 7 or not np.isfinite(value).all() or not 0.9 < np.linalg.norm(value[:4]) < 1.1:
            raise FgsnError(f"{poses}:{number}: expected 'name qw qx qy qz tx ty tz' with a unit quaternion: {line}")
        key = camera_key(cameras, name)
        if key is None:
            where = intrinsics if isinstance(intrinsics, Path) else ", ".join(map(str, intrinsics))
            raise FgsnError(f"{poses}:{number}: '{name}' has no intrinsics in {where or 'any list (--intrinsics)'}")
        names.append(name)
        values.append(value)
        camera_of.append(known.index(key))
    table = np.array(values).reshape(-1, 7)
    pose = Pose.from_quaternion(table[:, :4], table[:, 4:])
    try:
        return join([PosedImages(names, list(cameras.values()), np.array(camera_of, np.int64), pose)])
    except FgsnError as error:
        raise FgsnError(f"{poses}: {error}") from None


def write_poses(path: Path, names: Sequence[str], camera_from_world: Pose, comments: Sequence[str] = ()) -> None:
    """Write a list `name qw qx qy qz tx ty tz`, from the world to the camera, after comment lines."""
    table = np.concatenate([camera_from_world.quaternion, camera_from_world.translation], axis=1)
    rows = [" ".join([name, *(f"{value:.9f}" for value in row)]) for name, row in zip(names, table, strict=True)]
    write_text(path, "".join(f"{line}\n" for line in [*(f"# {comment}" for comment in comments), *rows]))


def write_intrinsics(path: Path, names: Sequence[str], cameras: Sequence[Camera]) -> None:
    """Write a list `name MODEL width height parameters...`, one line per image, as in hloc's query lists."""
    lines = []
    for name, camera in zip(names, cameras, strict=True):
        parameters = " ".join(f"{value:.9g}" for value in camera.parameters)
        lines.append(f"{name} {camera.model} {camera.width} {camera.height} {parameters}")
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_intrinsics(paths: Path | Sequence[Path]) -> dict[str, Camera]:
    """Read the cameras of lists `name MODEL width height parameters...`, by image or folder name.

    Raises FgsnError if a file is missing or a line is malformed.
    """
    return dict(row for path in ([paths] if isinstance(paths, Path) else paths) for row in _intrinsics(path))


def camera_key(cameras: Mapping[str, Camera], name: str) -> str | None:
    """The key of an image's camera among intrinsics: its name, also with another ending, else the nearest folder."""
    others = (f"{name.rpartition('.')[0]}{ending}" for ending in (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"))
    return next((key for key in (name, *others, *reversed(PurePosixPath(name).parts)) if key in cameras), None)


def _intrinsics(path: Path) -> Iterator[tuple[str, Camera]]:
    for number, line in numbered_lines(path):
        fields = line.split()
        at = next((row for row, field in enumerate(fields) if field in PARAMETER_COUNTS), 1)
        try:
            width, height, *parameters = (float(field) for field in fields[at + 1 :])
            camera = Camera.from_parameters(int(width), int(height), parameters, fields[at])
        except (ValueError, IndexError, OverflowError, FgsnError) as error:
            why = error if isinstance(error, FgsnError) else "expected 'name MODEL width height parameters...'"
            raise FgsnError(f"{path}:{number}: {why}: {line}") from None
        yield line.rsplit(maxsplit=len(fields) - at)[0].strip(), camera  # with spaces as they are

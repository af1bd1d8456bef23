"""COLMAP models. COLMAP's pixel centres lie at +0.5; here, as everywhere in fgsn, they lie at integers.

Tracks are stored as flat arrays with one row per observation: image `track_image[n]` observes point `track_point[n]`
at `track_pixels[n]`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.files import write_text
from fgsn.geometry.colmap_files import ModelFiles, read_binary, read_text_model
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reconstruction(PosedImages):
    """A map: N images with cameras and poses, M points, T observations of points in images."""

    points: NDArray[np.float64]
    """(M, 3) in the world frame."""
    colours: NDArray[np.uint8]
    """(M, 3) RGB."""
    track_point: NDArray[np.int64]
    """(T,) row of `points`."""
    track_image: NDArray[np.int64]
    """(T,) row of `names`."""
    track_pixels: NDArray[np.float64]
    """(T, 2) x, y with pixel centres at integers."""

    def errors(self) -> NDArray[np.float64]:
        """Reprojection error (T,) of every observation, in pixels; NaN behind the camera."""
        pixels = np.empty((len(self.track_image), 2))
        points = self.camera_from_world[self.track_image].transform_one(self.points[self.track_point])
        camera_of = self.camera_of[self.track_image]
        for row in np.unique(camera_of):
            mine = camera_of == row
            pixels[mine] = self.cameras[row].project(points[mine])[0]
        return np.linalg.norm(pixels - self.track_pixels, axis=1)


def write_model(folder: Path, model: Reconstruction) -> None:
    """Write cameras.txt, images.txt and points3D.txt; identifiers count from 1."""
    cameras = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for row, camera in enumerate(model.cameras):
        values = " ".join(_number(value) for value in camera.parameters)
        cameras.append(f"{row + 1} {camera.model} {camera.width} {camera.height} {values}")
    write_text(folder / "cameras.txt", "\n".join(cameras) + "\n")
    order = np.argsort(model.track_image, kind="stable")
    row_in_image = np.empty(len(order), np.int64)  # POINT2D_IDX of every observation
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    bounds = np.searchsorted(model.track_image[order], np.arange(len(model.names) + 1))
    quaternions = model.camera_from_world.quaternion
    for image, name in enumerate(model.names):
        mine = order[bounds[image] : bounds[image + 1]]
        row_in_image[mine] = np.arange(len(mine))
        pose = " ".join(_number(value) for value in (*quaternions[image], *model.camera_from_world.translation[image]))
        images.append(f"{image + 1} {pose} {model.camera_of[image] + 1} {name}")
        images.append(
            " ".join(
                f"{_number(x + 0.5)} {_number(y + 0.5)} {point + 1}"
                for (x, y), point in zip(model.track_pixels[mine], model.track_point[mine], strict=True)
            )
        )
    write_text(folder / "images.txt", "\n".join(images) + "\n")

    errors = model.errors()
    order = np.argsort(model.track_point, kind="stable")
    bounds = np.searchsorted(model.track_point[order], np.arange(len(model.points) + 1))
    lines = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    for point, (position, colour) in enumerate(zip(model.points, model.colours, strict=True)):
        mine = order[bounds[point] : bounds[point + 1]]
        error = float(errors[mine].mean()) if len(mine) else -1.0
        track = " ".join(f"{model.track_image[row] + 1} {row_in_image[row]}" for row in mine)
        values = " ".join(_number(value) for value in position)
        lines.append(f"{point + 1} {values} {' '.join(map(str, colour.tolist()))} {error:.6f} {track}")
    write_text(folder / "points3D.txt", "\n".join(lines) + "\n")


def read_model(folder: Path, points_needed: bool = True) -> Reconstruction:
    """Read a COLMAP model, binary if present, else text; keypoints without a map point are dropped.

    Observations are sorted by point. `rigs` and `frames` of newer models are not read: the images' own poses contain
    the same information.

    Args:
        folder: the folder of cameras, images and points3D.
        points_needed: reject a model without points.

    Raises:
        FgsnError: the model is missing, damaged or empty, or its files do not belong together.
    """
    folder = Path(folder)
    for kind, read in (("bin", read_binary), ("txt", read_text_model)):
        if (folder / f"cameras.{kind}").is_file():
            return _assemble(folder, kind, read(folder), points_needed)
    below = sorted(file.parent for file in folder.glob("*/cameras.*")) if folder.is_dir() else []
    hint = f"; did you mean {below[0]}?" if below else " (cameras, images, points3D as .bin or .txt)"
    raise FgsnError(f"{folder} contains no COLMAP model{hint}")


def _assemble(folder: Path, kind: str, files: ModelFiles, points_needed: bool) -> Reconstruction:
    """Convert identifiers to rows, and check that the three files are consistent."""
    images, points = folder / f"images.{kind}", folder / f"points3D.{kind}"
    if not files.names:
        raise FgsnError(f"{images} contains no images with poses")
    if points_needed and not len(files.points):
        raise FgsnError(f"{points} contains no points; triangulate them first")
    for path, ids in ((images, files.image_ids), (points, files.point_ids)):
        if len(np.unique(ids)) != len(ids):
            raise FgsnError(f"{path} contains an identifier twice; it is damaged")
    for path, values in ((images, files.poses), (points, files.points)):
        bad = np.nonzero(~np.isfinite(values).all(axis=1))[0]
        if len(bad):
            raise FgsnError(f"{path}: entry {bad[0] + 1} contains values that are not finite; it is damaged")
    bad = np.nonzero(np.abs(np.linalg.norm(files.poses[:, :4], axis=1) - 1) > 0.1)[0]
    if len(bad):
        raise FgsnError(f"{images}: the rotation of '{files.names[bad[0]]}' is not a unit quaternion; it is damaged")
    camera_of = _rows_of(np.array(list(files.cameras)), files.camera_ids)
    if (camera_of < 0).any():
        image = int(np.nonzero(camera_of < 0)[0][0])
        raise FgsnError(f"{images}: '{files.names[image]}' has camera {files.camera_ids[image]}, which does not exist")
    track_image = _rows_of(files.image_ids, files.track_image_id)
    if (track_image < 0).any():
        row = int(np.nonzero(track_image < 0)[0][0])
        point, image = files.point_ids[files.track_point[row]], files.track_image_id[row]
        raise FgsnError(f"{points}: point {point} is observed by image {image}, which is not in {images.name}")
    keypoint = files.first_keypoint[track_image] + files.track_keypoint
    known = (files.track_keypoint >= 0) & (keypoint < files.first_keypoint[track_image + 1])
    known[known] = files.keypoint_ids[keypoint[known]] == files.point_ids[files.track_point[known]]
    if not known.all():
        row = int(np.nonzero(~known)[0][0])
        where = f"keypoint {files.track_keypoint[row]} of '{files.names[track_image[row]]}'"
        raise FgsnError(
            f"{points}: point {files.point_ids[files.track_point[row]]} should be {where}, but not according to "
            f"{images.name}; the two files do not belong together"
        )
    return Reconstruction(
        names=files.names,
        cameras=list(files.cameras.values()),
        camera_of=camera_of,
        camera_from_world=Pose.from_quaternion(files.poses[:, :4], files.poses[:, 4:]),
        points=files.points,
        colours=files.colours,
        track_point=files.track_point,
        track_image=track_image,
        track_pixels=files.keypoints[keypoint] - 0.5,
    )


def _rows_of(ids: Rows, queried: Rows) -> Rows:
    """The row of each queried identifier in `ids`, -1 if it is missing."""
    if not len(ids):
        return np.full(len(queried), -1)
    order = np.argsort(ids)
    rows = order[np.minimum(np.searchsorted(ids, queried, sorter=order), len(ids) - 1)]
    return np.where(ids[rows] == queried, rows, -1)


def _number(value: float) -> str:
    return f"{value:.9g}"

"""COLMAP models in text form. COLMAP puts pixel centres at +0.5; here, as everywhere in fgsn, they are integers.

A track is kept as two flat arrays, `track_point` and `track_image`, beside the observed pixels: row n says that
image `track_image[n]` sees point `track_point[n]` at `track_pixels[n]`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.files import read_text, write_text
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A map: one PINHOLE camera, N images with poses, M points, T observations of points in images."""

    camera: Camera
    names: list[str]
    camera_from_world: Pose
    points: NDArray[np.float64]
    """(M, 3) in the world."""
    colours: NDArray[np.uint8]
    """(M, 3) RGB."""
    track_point: NDArray[np.int64]
    """(T,) row of `points`."""
    track_image: NDArray[np.int64]
    """(T,) row of `names`."""
    track_pixels: NDArray[np.float64]
    """(T, 2) x, y with pixel centres at integers."""

    def errors(self) -> NDArray[np.float64]:
        """Reprojection error (T,) of every observation in pixels; NaN behind the camera."""
        poses = self.camera_from_world[self.track_image]
        pixels, _ = self.camera.project(poses.transform_one(self.points[self.track_point]))
        return np.linalg.norm(pixels - self.track_pixels, axis=1)


def write_model(folder: Path, model: Reconstruction) -> None:
    """Write cameras.txt, images.txt and points3D.txt; identifiers count from 1."""
    camera = model.camera
    values = " ".join(_number(value) for value in camera.parameters)
    write_text(
        folder / "cameras.txt",
        f"# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n1 PINHOLE {camera.width} {camera.height} {values}\n",
    )
    order = np.argsort(model.track_image, kind="stable")
    row_in_image = np.empty(len(order), np.int64)  # POINT2D_IDX of every observation
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    bounds = np.searchsorted(model.track_image[order], np.arange(len(model.names) + 1))
    quaternions = model.camera_from_world.quaternion
    for image, name in enumerate(model.names):
        mine = order[bounds[image] : bounds[image + 1]]
        row_in_image[mine] = np.arange(len(mine))
        pose = " ".join(_number(value) for value in (*quaternions[image], *model.camera_from_world.translation[image]))
        images.append(f"{image + 1} {pose} 1 {name}")
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


def read_model(folder: Path) -> Reconstruction:
    """Read a text model with one PINHOLE camera; observations without a point are left out.

    Raises:
        FgsnError: a file is missing, broken, or holds another camera model.
    """
    try:
        return _read(folder)
    except (ValueError, KeyError, IndexError) as error:
        raise FgsnError(f"{folder} is no COLMAP text model that can be read: {error}") from None


def _read(folder: Path) -> Reconstruction:
    camera = _read_camera(folder / "cameras.txt")
    names, poses, image_row, observed = [], [], {}, {}
    lines = [line for line in read_text(folder / "images.txt").split("\n") if not line.startswith("#")]
    for head, body in zip(lines[0::2], lines[1::2], strict=False):
        fields = head.split(maxsplit=9)
        if len(fields) != 10:
            raise FgsnError(f"{folder / 'images.txt'}: expected 10 values for an image, found '{head[:60]}'")
        image_row[int(fields[0])] = len(names)
        observed[int(fields[0])] = np.array(body.split(), np.float64).reshape(-1, 3)
        names.append(fields[9])
        poses.append([float(value) for value in fields[1:8]])
    poses = np.array(poses, np.float64).reshape(-1, 7)

    points, colours, tracks = [], [], []
    for line in read_text(folder / "points3D.txt").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        fields = line.split()
        for image, row in zip(fields[8::2], fields[9::2], strict=True):
            x, y = observed[int(image)][int(row), :2] - 0.5
            tracks.append((len(points), image_row[int(image)], x, y))
        points.append([float(value) for value in fields[1:4]])
        colours.append([int(value) for value in fields[4:7]])
    table = np.array(tracks, np.float64).reshape(-1, 4)
    return Reconstruction(
        camera,
        names,
        Pose.from_quaternion(poses[:, :4], poses[:, 4:]),
        np.array(points, np.float64).reshape(-1, 3),
        np.array(colours, np.uint8).reshape(-1, 3),
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2:],
    )


def _read_camera(path: Path) -> Camera:
    lines = [line.split() for line in read_text(path).splitlines() if line.strip() and line[0] != "#"]
    if len(lines) != 1 or len(lines[0]) != 8 or lines[0][1] != "PINHOLE":
        raise FgsnError(f"{path} should hold exactly one PINHOLE camera")
    _, _, width, height, *parameters = lines[0]
    return Camera.from_parameters(int(width), int(height), [float(value) for value in parameters])


def _number(value: float) -> str:
    return f"{value:.9g}"

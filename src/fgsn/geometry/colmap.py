"""COLMAP models. COLMAP's pixel centres lie at +0.5; here, as everywhere in fgsn, they lie at integers.

Tracks are stored as flat arrays with one row per observation: image `track_image[n]` observes point `track_point[n]`
at `track_pixels[n]`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError, MissingExtraError
from fgsn.files import as_path, write_text
from fgsn.geometry.colmap_files import ModelFiles, read_binary, read_frames, read_text_model
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages
from fgsn.progress import say

Rows = NDArray[np.int64]
LARGEST_MEDIAN_ERROR = 8.0
"""Median reprojection error in pixels above which a model is reported; those of COLMAP are about 1."""
_SAMPLES = 20_000


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
    key_points: list[NDArray[np.float64]] | None = field(default=None, kw_only=True)
    """All key points (P, 2) of the N images, also those that observe no point; None: only observations are known."""
    track_keypoint: NDArray[np.int64] | None = field(default=None, kw_only=True)
    """(T,) row among the key points of its image; None without `key_points`."""

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
        pixels, observed = model.track_pixels[mine], model.track_point[mine] + 1
        row_in_image[mine] = np.arange(len(mine))
        if model.key_points is not None and model.track_keypoint is not None:  # keep their numbers, as in features.h5
            pixels, row_in_image[mine] = model.key_points[image], model.track_keypoint[mine]
            observed = np.full(len(pixels), -1)
            observed[model.track_keypoint[mine]] = model.track_point[mine] + 1
        pose = " ".join(_number(value) for value in (*quaternions[image], *model.camera_from_world.translation[image]))
        images.append(f"{image + 1} {pose} {model.camera_of[image] + 1} {name}")
        images.append(
            " ".join(
                f"{_number(x + 0.5)} {_number(y + 0.5)} {point}" for (x, y), point in zip(pixels, observed, strict=True)
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


def read_model(folder: Path, points_needed: bool = True, all_key_points: bool = False) -> Reconstruction:
    """Read a COLMAP model, binary if present, else text; observations are sorted by point.

    Where the model has `rigs` and `frames` (COLMAP 3.12 and later), poses are taken from them, as COLMAP does. A model
    whose points do not reproject onto its own observations is reported on stderr.

    Args:
        folder: the folder of cameras, images and points3D.
        points_needed: reject a model without points.
        all_key_points: keep the key points without a map point, which `write_model` then writes.

    Raises:
        FgsnError: the model is missing, damaged or empty, or its files do not belong together.
    """
    folder = as_path(folder)
    for kind, read in (("bin", read_binary), ("txt", read_text_model)):
        if (folder / f"cameras.{kind}").is_file():
            model = _assemble(folder, kind, read(folder), points_needed, all_key_points)
            _warn_of_errors(folder, model)
            return model
    below = sorted(file.parent for file in folder.glob("*/cameras.*")) if folder.is_dir() else []
    hint = f"; did you mean {below[0]}?" if below else " (cameras, images, points3D as .bin or .txt)"
    raise FgsnError(f"{folder} contains no COLMAP model{hint}")


def _warn_of_errors(folder: Path, model: Reconstruction) -> None:
    """Report a model whose poses and points do not fit its observations, such as one with a file of another model."""
    some = slice(None, None, max(1, len(model.track_point) // _SAMPLES))
    rows = {name: getattr(model, name)[some] for name in ("track_point", "track_image", "track_pixels")}
    try:
        errors = np.nan_to_num(replace(model, **rows).errors(), nan=np.inf)
    except MissingExtraError:  # distorted cameras, and no pycolmap to project with
        return
    if len(errors) and np.median(errors) > LARGEST_MEDIAN_ERROR:
        say(f"{folder} does not fit itself: the median error of its observations is {np.median(errors):.0f} px")


def _frame_poses(folder: Path, kind: str, files: ModelFiles) -> Pose:
    """Poses (N) `camera_from_world` of the images: of their frames where there are any, else their own."""
    own = Pose.from_quaternion(files.poses[:, :4], files.poses[:, 4:])
    frames = read_frames(folder, kind)
    rows = [row for row, number in enumerate(files.image_ids.tolist()) if number in frames]
    if not rows:
        return own
    table = np.array([frames[int(files.image_ids[row])] for row in rows])  # (n, 2, 7)
    if not (np.abs(np.linalg.norm(table[:, :, :4], axis=2) - 1) < 0.1).all() or not np.isfinite(table).all():
        raise FgsnError(f"{folder}: rigs.{kind} or frames.{kind} has a pose whose rotation is not a unit quaternion")
    sensor_from_rig, rig_from_world = (Pose.from_quaternion(part[:, :4], part[:, 4:]) for part in table.swapaxes(0, 1))
    found = sensor_from_rig @ rig_from_world
    gap = found.centre - own[np.array(rows)].centre
    turned = found.rotation - own[np.array(rows)].rotation
    stale = (np.linalg.norm(gap, axis=1) > 1e-3 * (1 + np.linalg.norm(found.centre, axis=1))) | (
        np.abs(turned).max(axis=(1, 2)) > 1e-3
    )
    if stale.any():
        say(f"{folder}: {stale.sum()} of {len(stale)} images have other poses than their frames, which count")
    own.rotation[rows], own.translation[rows] = found.rotation, found.translation
    return own


def _assemble(folder: Path, kind: str, files: ModelFiles, points_needed: bool, all_key_points: bool) -> Reconstruction:
    """Convert identifiers to rows, and check that the files are consistent."""
    images, points = folder / f"images.{kind}", folder / f"points3D.{kind}"
    if not files.names:
        raise FgsnError(f"{images} contains no images with poses")
    if points_needed and not len(files.points):
        raise FgsnError(f"{points} contains no points; triangulate them first")
    for path, ids in ((images, files.image_ids), (points, files.point_ids)):
        if len(np.unique(ids)) != len(ids):
            raise FgsnError(f"{path} contains an identifier twice; it is damaged")
    for path, values, called in ((images, files.poses, files.names), (points, files.points, files.point_ids)):
        bad = np.nonzero(~np.isfinite(values).all(axis=1))[0]
        if len(bad):
            raise FgsnError(f"{path}: the entry '{called[bad[0]]}' has values that are not finite; it is damaged")
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
        camera_from_world=_frame_poses(folder, kind, files),
        points=files.points,
        colours=files.colours,
        track_point=files.track_point,
        track_image=track_image,
        track_pixels=files.keypoints[keypoint] - 0.5,
        key_points=np.split(files.keypoints - 0.5, files.first_keypoint[1:-1]) if all_key_points else None,
        track_keypoint=files.track_keypoint if all_key_points else None,
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

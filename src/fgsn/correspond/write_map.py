"""Write the map of a data set for localization: points of the reference, and cameras and poses of other conditions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.geometry.posed import PosedImages, write_intrinsics, write_poses


@dataclass(frozen=True)
class DatasetMap:
    """Poses of the images of a data set, and the points of its reference condition."""

    images: PosedImages
    """Images of all conditions in one frame."""
    points: Reconstruction | None
    """A model with images of the reference condition (and possibly others), if there is one."""
    origin: str
    """Where the poses come from, for a comment in the files."""


def write_map(out: Path, dataset_map: DatasetMap, reference: str, condition_of: Callable[[str], str]) -> None:
    """Write sparse/ (the model of the reference's images), queries/ and truth/ of every other condition.

    Args:
        out: the data set.
        dataset_map: the map.
        reference: the reference condition.
        condition_of: the condition of an image, by its name.
    """
    if dataset_map.points is not None:
        mine = [row for row, name in enumerate(dataset_map.points.names) if condition_of(name) == reference]
        model = model_of(dataset_map.points, np.array(mine, np.int64))
        if len(model.points):
            write_model(out / "sparse", model)
    images = dataset_map.images
    conditions = np.array([condition_of(name) for name in images.names])
    for condition in sorted(set(conditions) - {reference}):
        rows = np.nonzero(conditions == condition)[0]
        names = [images.names[row] for row in rows]
        write_intrinsics(out / "queries" / f"{condition}.txt", names, [images.camera(int(row)) for row in rows])
        comment = f"name qw qx qy qz tx ty tz, from the world to the camera; {dataset_map.origin}"
        write_poses(out / "truth" / f"{condition}.txt", names, images.camera_from_world[rows], [comment])


def model_of(model: Reconstruction, images: np.ndarray) -> Reconstruction:
    """The part of a model with some of the images, by rows: the points that two of them see, and their observations."""
    number = np.full(len(model.names), -1)
    number[images] = np.arange(len(images))
    kept = number[model.track_image] >= 0
    often = np.bincount(model.track_point[kept], minlength=len(model.points)) >= 2
    kept &= often[model.track_point]
    return Reconstruction(
        [model.names[row] for row in images],
        model.cameras,
        model.camera_of[images],
        model.camera_from_world[images],
        points=model.points[often],
        colours=model.colours[often],
        track_point=(np.cumsum(often) - 1)[model.track_point[kept]],
        track_image=number[model.track_image[kept]],
        track_pixels=model.track_pixels[kept],
        key_points=None if model.key_points is None else [model.key_points[row] for row in images],
        track_keypoint=None if model.track_keypoint is None else model.track_keypoint[kept],
    )

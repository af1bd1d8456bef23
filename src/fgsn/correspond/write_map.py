"""Write the map of a data set for localization: points of the reference, and cameras and poses of other conditions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgsn.correspond.views import rows_by_condition
from fgsn.formats.poses import write_poses
from fgsn.formats.queries import write_queries
from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.geometry.posed import PosedImages


@dataclass(frozen=True)
class DatasetMap:
    """Poses of the images of a data set, and the points of its reference condition."""

    images: PosedImages
    """Images of all conditions in one frame."""
    points: Reconstruction | None
    """A model with images of the reference condition (and possibly others), if there is one."""
    origin: str
    """Where the poses come from, for a comment in the files."""


def write_map(out: Path, dataset_map: DatasetMap, reference: str) -> None:
    """Write sparse/ (the model of the reference's images), queries/ and truth/ of every other condition into `out`."""
    if dataset_map.points is not None:
        mine = rows_by_condition(dataset_map.points.names).get(reference, np.zeros(0, np.int64))
        model = model_of(dataset_map.points, mine)
        if len(model.points):
            write_model(out / "sparse", model)
    images = dataset_map.images
    for condition, rows in sorted(rows_by_condition(images.names).items()):
        if condition == reference:
            continue
        names = [images.names[row] for row in rows]
        write_queries(out / "queries" / f"{condition}.txt", names, [images.camera(int(row)) for row in rows])
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

"""The map that belongs to a data set, for localization: the reference's points, and cameras and poses of the others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.geometry.posed import PosedImages, write_intrinsics, write_poses


@dataclass(frozen=True)
class Map:
    """What is known of where the images of a data set were taken."""

    images: PosedImages
    """Images of all conditions in one frame."""
    points: Reconstruction | None
    """A model with images of the reference condition (and maybe others), if there are points."""
    origin: str
    """Where the poses come from, in a few words."""


def write_map(out: Path, found: Map, reference: str, condition_of: Callable[[str], str]) -> None:
    """Write sparse/ (the model of the reference's images), queries/ and truth/ of every other condition.

    Args:
        out: the data set.
        found: the map.
        reference: the reference condition.
        condition_of: the condition of an image, by its name.
    """
    if found.points is not None:
        mine = [row for row, name in enumerate(found.points.names) if condition_of(name) == reference]
        model = model_of(found.points, np.array(mine, np.int64))
        if len(model.points):
            write_model(out / "sparse", model)
    images = found.images
    conditions = np.array([condition_of(name) for name in images.names])
    for condition in sorted(set(conditions) - {reference}):
        rows = np.nonzero(conditions == condition)[0]
        names = [images.names[row] for row in rows]
        write_intrinsics(out / "queries" / f"{condition}.txt", names, [images.camera(int(row)) for row in rows])
        comment = f"name qw qx qy qz tx ty tz, from the world to the camera; {found.origin}"
        write_poses(out / "truth" / f"{condition}.txt", names, images.camera_from_world[rows], [comment])


def model_of(model: Reconstruction, images: np.ndarray) -> Reconstruction:
    """The model of some of the images, by their rows: the points that two of them see, and what these observe."""
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
    )

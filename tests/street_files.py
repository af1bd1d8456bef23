"""The street of `street.py` as files: a COLMAP model of a summer's drive, and label maps of all images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fgsn.bench import street
from fgsn.bench.street import CAMERA
from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.geometry.pose import Pose
from fgsn.inference.label_maps import write_label_map

Seen = Callable[[Pose], tuple[np.ndarray, np.ndarray]]


def looking(x: float, y: float, turn: float) -> Pose:
    """A camera in the street, 1.7 above the road, turned by some degrees."""
    rotation = street.LEVEL @ Rotation.from_euler("z", turn, degrees=True).as_matrix().T
    return Pose.from_centre(rotation, [x, y, 1.7])


def batch(poses: list[Pose]) -> Pose:
    """Poses as one batch."""
    return Pose(np.stack([p.rotation for p in poses]), np.stack([p.translation for p in poses]))


def write_street(
    root: Path, labels: int, images: int, others: dict[str, Pose], points: int = 700
) -> tuple[list[str], Seen, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Write map/ and labels/.

    Args:
        root: where.
        labels: number of labels.
        images: of the map.
        others: poses of other images that get label maps, by name.
        points: of the map.

    Returns:
        Names of the map's images; a function that gives the rows and all pixels of the points that a pose sees; and for
        each image the rows of its points, its own number, and its pixels.
    """
    voters = street.make_map(np.random.default_rng(0), points, labels)
    poses = [looking(4.0 * n, -1.0, 0.0) for n in range(images)]
    names = [f"summer/c0/{n:03d}.jpg" for n in range(images)]
    for name, pose in [*zip(names, poses, strict=True), *others.items()]:
        write_label_map((root / "labels" / name).with_suffix(".png"), street.render(pose, CAMERA, labels), labels)

    def seen(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        pixels, depth = CAMERA.project(pose.transform(voters.points))
        return np.nonzero(CAMERA.contains(pixels) & (depth > 1) & (depth < 50))[0], pixels

    tracks = []
    for image, pose in enumerate(poses):
        rows, pixels = seen(pose)
        tracks.append((rows, np.full(len(rows), image), pixels[rows]))
    point, image, pixels = (np.concatenate(column) for column in zip(*tracks, strict=True))
    model = Reconstruction(
        names, [CAMERA], np.zeros(images, np.int64), batch(poses), points=voters.points,
        colours=np.zeros((points, 3), np.uint8), track_point=point, track_image=image, track_pixels=pixels,
    )  # fmt: skip
    write_model(root / "map", model)
    return names, seen, tracks

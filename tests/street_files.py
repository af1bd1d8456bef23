"""The street of `street.py` as files: a COLMAP model of a summer's drive, and label maps of all images."""

from collections.abc import Callable
from pathlib import Path

import h5py
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


Track = tuple[np.ndarray, np.ndarray, np.ndarray]


def write_street(
    root: Path, labels: int, images: int, others: dict[str, Pose], points: int = 700
) -> tuple[list[str], Seen, list[Track]]:
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


def write_hloc(
    folder: Path, queries: dict[str, Pose], names: list[str], seen: Seen, tracks: list[Track], wrong: float
) -> None:
    """Write what hloc leaves behind for the queries and the images of the map (see `write_street`).

    Args:
        folder: where.
        queries: poses by name.
        names: of the map's images.
        seen: what a pose sees.
        tracks: of the map's images.
        wrong: share of the matches that are wrong.
    """
    rng = np.random.default_rng(0)
    folder.mkdir()
    with h5py.File(folder / "features.h5", "w") as features, h5py.File(folder / "matches.h5", "w") as matches:
        for name, (_, _, at) in zip(names, tracks, strict=True):
            features[f"{name}/keypoints"] = at.astype(np.float32)
        for name, pose in queries.items():
            rows, pixels = seen(pose)
            features[f"{name}/keypoints"] = pixels[rows].astype(np.float32)
            for other, (points, _, _) in zip(names, tracks, strict=True):
                partner = np.full(len(rows), -1, np.int32)
                for key, row in enumerate(rows):
                    right = np.nonzero(points == row)[0]
                    if rng.random() < wrong:
                        partner[key] = rng.integers(len(points))
                    elif len(right):
                        partner[key] = right[0]
                group = f"{name.replace('/', '-')}/{other.replace('/', '-')}"
                matches[f"{group}/matches0"] = partner
                matches[f"{group}/matching_scores0"] = np.where(partner >= 0, 0.5, 0).astype(np.float16)
    (folder / "pairs.txt").write_text("".join(f"{a} {b}\n" for a in queries for b in names[:1]))

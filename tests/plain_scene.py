"""A street of rectangles that tests can look at: ground, walls, an end, and a board that hides what is behind it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fgsn.formats.poses import write_poses
from fgsn.formats.queries import write_queries
from fgsn.geometry.camera import Camera
from fgsn.geometry.colmap import Reconstruction, write_model
from fgsn.geometry.pose import Pose
from fgsn.geometry.posed import PosedImages, join
from fgsn.matching.keypoints import Keypoints
from matched_scene import KnowingMatcher

CAMERA = Camera(96, 72, 77.0, 76.0, 47.5, 35.5)
# Corner and two edges; x right, y down, z ahead, the camera at a height of 1.5.
STREET = np.array([
    [(-40, 1.5, -10), (80, 0, 0), (0, 0, 90)],
    [(-5, -9, -10), (0, 12, 0), (0, 0, 90)],
    [(6, -9, -10), (0, 12, 0), (0, 0, 90)],
    [(-40, -30, 60), (80, 0, 0), (0, 40, 0)],
    [(-3, -1.5, 9), (2, 0, 0), (0, 3, 0)],
], float)  # fmt: skip


def drive(count: int, aside: float, step: float = 2.0, shift: float = 0.0) -> Pose:
    """Poses along the street, each turned a little."""
    turn = 0.03 * np.sin(np.arange(count) + aside)
    rotation = np.zeros((count, 3, 3))
    rotation[:, 0, 0] = rotation[:, 2, 2] = np.cos(turn)
    rotation[:, 0, 2], rotation[:, 2, 0], rotation[:, 1, 1] = np.sin(turn), -np.sin(turn), 1
    centres = np.column_stack([np.full(count, aside), np.zeros(count), shift + step * np.arange(count)])
    return Pose.from_centre(rotation, centres)


def images(condition: str, poses: Pose, camera: Camera = CAMERA) -> PosedImages:
    """Images of one condition."""
    count = len(poses.translation)
    return PosedImages(
        [f"{condition}/c0/{row:03d}.jpg" for row in range(count)], [camera], np.zeros(count, np.int64), poses
    )


def look(camera: Camera, pose: Pose, pixels: np.ndarray) -> np.ndarray:
    """World points (N, 3) seen at pixels (N, 2), NaN for the sky."""
    centre, directions = pose.centre, camera.rays(pixels) @ pose.rotation
    depth = np.full(len(pixels), np.inf)
    for corner, one, other in STREET:
        normal = np.cross(one, other)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = ((corner - centre) @ normal) / (directions @ normal)
            at = centre + along[:, None] * directions - corner
            inside = [(at @ edge >= 0) & (at @ edge <= edge @ edge) for edge in (one, other)]
        depth = np.where((along > 0) & inside[0] & inside[1] & (along < depth), along, depth)
    return centre + np.where(np.isfinite(depth), depth, np.nan)[:, None] * directions


def sees(camera: Camera, pose: Pose, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points (N, 3) are in an image, and whether it sees them."""
    pixels, _ = camera.project(pose.transform(points))
    seen = camera.contains(pixels)
    found = look(camera, pose, np.nan_to_num(pixels))
    return pixels, seen & (np.linalg.norm(found - points, axis=1) < 0.01)


def depth_map(camera: Camera, pose: Pose) -> np.ndarray:
    """Depth (height, width) along the optical axis, NaN for the sky."""
    points = look(camera, pose, camera.grid())
    return pose.transform(points)[:, 2].reshape(camera.height, camera.width)


def reconstruct(posed: PosedImages, seed: int, points: int = 150, noise: float = 0.0) -> Reconstruction:
    """A map of what the images see: random points of each, observed by all that see them (with noise, if asked)."""
    rng = np.random.default_rng(seed)
    world = []
    for row in range(len(posed.names)):
        camera = posed.camera(row)
        seen = look(camera, posed.camera_from_world[row], rng.uniform(0, (camera.width, camera.height), (points, 2)))
        world.append(seen[np.isfinite(seen).all(axis=1)])
    world = np.concatenate(world)
    tracks = []
    for row in range(len(posed.names)):
        pixels, seen = sees(posed.camera(row), posed.camera_from_world[row], world)
        tracks.append((np.nonzero(seen)[0], np.full(seen.sum(), row), pixels[seen]))
    point, image, pixels = (np.concatenate(column) for column in zip(*tracks, strict=True))
    kept = np.bincount(point, minlength=len(world)) >= 2
    number = np.cumsum(kept) - 1
    image, pixels, point = image[kept[point]], pixels[kept[point]], number[point[kept[point]]]
    colours = rng.integers(0, 256, (kept.sum(), 3)).astype(np.uint8)
    return Reconstruction(
        **vars(posed), points=world[kept], colours=colours, track_point=point, track_image=image,
        track_pixels=pixels + noise * rng.normal(size=pixels.shape),
    )  # fmt: skip


def share_right(pair: object, cameras: dict[str, tuple[Camera, Pose]], pixels: float = 2.0) -> tuple[float, float]:
    """Of a matched pair: the share within some pixels of the truth, and the share that the target really sees."""
    (camera, pose), (other, other_pose) = cameras[pair.reference], cameras[pair.target]
    at, seen = sees(other, other_pose, look(camera, pose, pair.points_ref))
    right = np.linalg.norm(at - pair.points_tgt, axis=1) < pixels
    return float(right.mean()), float((right & seen).mean())


def truth(*sets: PosedImages) -> dict[str, tuple[Camera, Pose]]:
    """Camera and pose of every image by its name."""
    return {
        name: (posed.camera(row), posed.camera_from_world[row])
        for posed in sets
        for row, name in enumerate(posed.names)
    }


SUMMER = images("summer", drive(5, 0.0, 3))
WINTER = images("winter", drive(5, 0.6, 3, 0.4))
BOTH = join([SUMMER, WINTER])


def write_images(folder: Path) -> Path:
    """Write an image for every one of both drives, which shows its number (see `KnowingMatcher`)."""
    for number, name in enumerate(BOTH.names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", CAMERA.size, (number,) * 3).save(folder / name, quality=95)
    return folder


def knowing_matcher() -> KnowingMatcher:
    """Knows the points of the street in the images."""
    model, rng = reconstruct(BOTH, 0, points=100), np.random.default_rng(0)
    look = rng.normal(size=(len(model.points), 64)).astype(np.float32)
    look /= np.linalg.norm(look, axis=1, keepdims=True)
    found = []
    for number in range(len(model.names)):
        rows = np.nonzero(model.track_image == number)[0]
        pixels = model.track_pixels[rows].astype(np.float32)
        found.append(Keypoints(pixels, look[model.track_point[rows]], np.ones(len(rows), np.float32), CAMERA.size))
    return KnowingMatcher(found)


def write_models(folder: Path) -> None:
    """Write a model of each drive, summer/ and winter/, with names as in the folder of its own condition."""
    for number, drive in enumerate((SUMMER, WINTER)):
        model = reconstruct(drive, number, points=400)
        condition = model.names[0].partition("/")[0]
        write_model(folder / condition, replace(model, names=[name.partition("/")[2] for name in model.names]))


def write_lists(folder: Path) -> None:
    """Write poses of each drive, summer.txt and winter.txt, intrinsics.txt, and depth maps in depth/."""
    for condition, drive in (("summer", SUMMER), ("winter", WINTER)):
        write_poses(folder / f"{condition}.txt", drive.names, drive.camera_from_world)
    write_queries(folder / "intrinsics.txt", ["c0"], [CAMERA])
    for row, name in enumerate(BOTH.names):
        path = (folder / "depth" / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, depth_map(CAMERA, BOTH.camera_from_world[row]).astype(np.float32))

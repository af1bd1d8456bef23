"""A scene of points and cameras around it, with a matcher that knows which point is which."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.matching.keypoints import Keypoints
from fgsn.matching.nearest import mutual_nearest

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)


@dataclass
class KnowingMatcher:
    """Gives each image its own keypoints, in whatever size it comes; its number stands in its first pixel."""

    found: list[Keypoints]
    name: str = "knowing"
    features: str = "knowing"
    keypoints: int = 0
    device: str = "cpu"
    compares_descriptors: bool = True
    asked: list[str] = field(default_factory=list)

    def extract(self, image):
        self.asked.append("extract")
        found = self.found[int(image[0, 0, 0])]
        scale = image.shape[1] / found.size[0]
        pixels = ((found.pixels + 0.5) * scale - 0.5).astype(np.float32)
        return Keypoints(pixels, found.descriptors, found.scores, image.shape[1::-1])

    def match(self, a, b):
        self.asked.append("match")
        return mutual_nearest(a.descriptors, b.descriptors, least_cosine=0.9)


@dataclass
class Scene:
    images: dict[str, Path]
    poses: Pose
    points: np.ndarray
    pixels: list[np.ndarray]
    """Of every point in every image, exactly."""
    matcher: KnowingMatcher


def depth(points: np.ndarray) -> np.ndarray:
    """How far away the wall is, by x and y."""
    return 9 + 0.4 * points[:, 0] + np.sin(points[:, 1]) + np.sin(0.7 * points[:, 0])


def make_scene(folder: Path, names: list[str], points: int = 300, noise: float = 0.3, seed: int = 0) -> Scene:
    """Points of a wavy wall; the cameras drive along it, all seeing most of them."""
    rng = np.random.default_rng(seed)
    world = rng.uniform((-6, -4, 0), (6, 4, 0), (points, 3))
    world[:, 2] = depth(world)
    centres = np.stack([np.linspace(-1.5, 1.5, len(names)), np.zeros(len(names)), np.zeros(len(names))], axis=1)
    centres += rng.normal(0, 0.15, centres.shape)
    turns = Rotation.from_euler("yx", rng.normal(0, 3, (len(names), 2)), degrees=True).as_matrix()
    poses = Pose.from_centre(turns, centres)
    look = rng.normal(size=(points, 64)).astype(np.float32)
    look /= np.linalg.norm(look, axis=1, keepdims=True)
    images, pixels, found = {}, [], []
    for number, name in enumerate(names):
        exact, _ = CAMERA.project(poses[number].transform(world))
        seen = CAMERA.contains(exact)
        noisy = np.clip(exact[seen] + rng.normal(0, noise, (seen.sum(), 2)), 0, (319, 239)).astype(np.float32)
        found.append(Keypoints(noisy, look[seen], np.ones(seen.sum(), np.float32), (320, 240)))
        pixels.append(exact)
        images[name] = folder / name
        images[name].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((240, 320, 3), number, np.uint8)).save(images[name])
    return Scene(images, poses, world, pixels, KnowingMatcher(found))

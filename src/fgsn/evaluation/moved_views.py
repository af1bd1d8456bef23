"""Views of an image as a camera that stands elsewhere would see it: random windows at another scale.

A label of the scene stays with its scene point when the view moves; a label of the image frame does not.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from fgsn.data.correspondences import Correspondences
from fgsn.data.images import read_image
from fgsn.evaluation.label_metrics import label_metrics
from fgsn.inference.label_lookup import labels_at
from fgsn.progress import tracked

Segment = Callable[[UInt8[np.ndarray, "height width 3"]], np.ndarray]
"""Returns the (H, W) label map of the pixels of an image."""

SMALLEST_SIDE = 65
"""Pixels of the shorter side of a view, at least."""
GRID = 6
"""Pixels between the points at which an image is compared with its crop."""
KEYS = (
    "agreement_moved_view", "kappa_moved_view", "information_bits_moved_view", "agreement_crop", "kappa_crop",
)  # fmt: skip
CROP = 0.7
"""Width and height of the centre crop of `centre_crop`, as a share of the image."""


@dataclass(frozen=True, eq=False)
class View:
    """A window of an image, resized."""

    pixels: UInt8[np.ndarray, "height width 3"]
    corner: tuple[int, int]
    """x and y of the window's first pixel in the image."""
    size: tuple[int, int]
    """Width and height of the window in the image."""

    def points(self, points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        """Points of the image (x, y; pixel centres at integers) in the pixels of the view."""
        scale = np.array(self.pixels.shape[1::-1]) / self.size
        return (points - self.corner + 0.5) * scale - 0.5

    def contains(self, points: Float[np.ndarray, "points 2"]) -> Bool[np.ndarray, " points"]:
        """Which points of the image lie inside the window."""
        offset = points - self.corner
        return np.all((offset >= 0) & (offset <= np.array(self.size) - 1), axis=1)


def moved_view(pixels: UInt8[np.ndarray, "height width 3"], name: str, seed: int) -> View:
    """A random window at a scale of 1/2 to 2, the same for the same image name and seed."""
    rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
    scale = 2.0 ** rng.uniform(-1, 1)
    share = min(1.0, 1 / scale) * rng.uniform(0.8, 1.0)
    return _window(pixels, share, scale, rng.random(2))


def centre_crop(pixels: UInt8[np.ndarray, "height width 3"]) -> View:
    """The middle of an image (`CROP` of its sides), enlarged back to the size of the image."""
    return _window(pixels, CROP, 1 / CROP, np.array([0.5, 0.5]))


def _window(pixels: np.ndarray, share: float, scale: float, place: np.ndarray) -> View:
    """A window of `share` of both sides at a relative place (0 to 1 each), resized by `scale`."""
    image = np.array(pixels.shape[1::-1])
    size = np.maximum((image * share).round().astype(int), 1)
    corner = ((image - size) * place).round().astype(int)
    scale = max(scale, SMALLEST_SIDE / size.min())
    shape = (size * scale).round().astype(int)
    window = pixels[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]]
    resized = Image.fromarray(window).resize((int(shape[0]), int(shape[1])), Image.Resampling.BILINEAR)
    return View(np.asarray(resized), (int(corner[0]), int(corner[1])), (int(size[0]), int(size[1])))


def moved_view_metrics(
    label_of: Callable[[Path], np.ndarray],
    segment: Segment,
    pairs: Sequence[Correspondences],
    clusters: int,
    place_of: Callable[[Path], str],
    images: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics with the target seen through moved views, and of images against their enlarged crops.

    `segment` labels the pixels of a view, of at most `images` target images, spread evenly.

    Returns:
        `agreement_moved_view`, `kappa_moved_view`, `information_bits_moved_view`: labels of the reference images
        against those of a moved view of the target images, at the same scene points. `agreement_crop`, `kappa_crop`:
        labels of the target images against those of their `centre_crop`, at points on a grid. None without a point.
    """
    by_target: dict[Path, list[Correspondences]] = {}
    for pair in pairs:
        by_target.setdefault(pair.target, []).append(pair)
    chosen = list(by_target)[:: max(1, -(-len(by_target) // max(images, 1)))]
    moved: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    cropped: list[tuple[np.ndarray, np.ndarray]] = []
    for image in tracked(chosen, "moved views", len(chosen), unit=" images"):
        pixels = read_image(image)
        view = moved_view(pixels, "/".join(image.parts[-3:]), seed)
        labels = segment(view.pixels)
        for pair in by_target[image]:
            inside = view.contains(pair.points_tgt)
            before = labels_at(label_of(pair.reference), pair.points_ref[inside])
            after = labels_at(labels, view.points(pair.points_tgt[inside]))
            known = (before >= 0) & (after >= 0)
            moved.append((before[known], after[known], np.repeat(place_of(pair.reference), known.sum())))
        crop = centre_crop(pixels)
        grid = np.stack(np.meshgrid(*(np.arange(0, side, GRID) for side in pixels.shape[1::-1])), -1).reshape(-1, 2)
        grid = grid[crop.contains(grid)].astype(float)
        cropped.append((labels_at(label_of(image), grid), labels_at(segment(crop.pixels), crop.points(grid))))
    metrics: dict[str, Any] = dict.fromkeys(KEYS)
    if sum(len(rows) for rows, _, _ in moved):
        before, after, places = (np.concatenate(column) for column in zip(*moved, strict=True))
        found = label_metrics(before, after, clusters, places, seed=seed)
        for name, key in zip(KEYS, ("agreement", "kappa", "information_bits_same_view"), strict=False):
            metrics[name] = found[key]
        both = [np.concatenate(column) for column in zip(*cropped, strict=True)]
        known = (both[0] >= 0) & (both[1] >= 0)
        found = label_metrics(both[0][known], both[1][known], clusters, seed=seed)
        metrics |= {"agreement_crop": found["agreement"], "kappa_crop": found["kappa"]}
    return metrics

"""Training samples of the self-supervised stage: a crop of the reference, one of the target, and their matches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64, UInt8

from fgsn.data.augment import jittered, padded
from fgsn.data.correspondences import read_correspondences
from fgsn.data.images import read_image
from fgsn.data.resize import resized, scaled_points

STRIDE = 8
"""Pixels between feature cells, as in `fgsn.models.layers` (which needs torch)."""
PAD_VALUE = 127


@dataclass(frozen=True)
class PairSample:
    """Two square crops and the matches between them: everything that a training step needs from one pair."""

    clean: UInt8[np.ndarray, "side side 3"]
    """The unchanged reference crop, which the frozen network labels."""
    reference: UInt8[np.ndarray, "side side 3"]
    """The reference crop with colour jitter, for training."""
    target: UInt8[np.ndarray, "side side 3"]
    inside: tuple[int, int]
    """Rows and columns of feature cells of the reference crop that lie on the image, not on padding."""
    cells_ref: Int64[np.ndarray, "matches 2"]
    """Column and row of the feature cell of each match in the reference crop."""
    cells_tgt: Int64[np.ndarray, "matches 2"]
    weights: Float[np.ndarray, " matches"]
    """Weight of each match: exp(-distance from the image's centre)."""
    file: Path
    """The correspondence file."""
    instead_of: tuple[str, ...] = ()
    """Problems of the pairs that this one replaces, a line each."""


def pair_sample(
    path: Path, images: Path, side: int, short_side: int, jitter: float, rng: np.random.Generator
) -> PairSample:
    """Crop both images of a pair around one random correspondence.

    Args:
        path: correspondence file.
        images: folder that its image names are relative to.
        side: side of the crops in pixels, 8 n + 1; smaller images are padded.
        short_side: images are resized to this shorter side first; 0 keeps their size.
        jitter: strength of the random colour changes.
        rng: random generator.
    """
    pair = read_correspondences(path, images)
    centre = int(rng.integers(len(pair.points_ref))) if len(pair.points_ref) else None
    reference, points_ref = _crop(pair.reference, pair.points_ref, centre, side, short_side)
    target, points_tgt = _crop(pair.target, pair.points_tgt, centre, side, short_side)
    cells_ref, cells_tgt = cells_of(points_ref), cells_of(points_tgt)
    inside_ref, inside_tgt = _inside(reference), _inside(target)
    seen = ((cells_ref >= 0) & (cells_ref < inside_ref[::-1])).all(axis=1)
    seen &= ((cells_tgt >= 0) & (cells_tgt < inside_tgt[::-1])).all(axis=1)
    clean = padded(reference, side, PAD_VALUE)
    return PairSample(
        clean=clean,
        reference=jittered(clean, jitter, rng),
        target=jittered(padded(target, side, PAD_VALUE), jitter, rng),
        inside=inside_ref,
        cells_ref=cells_ref[seen],
        cells_tgt=cells_tgt[seen],
        weights=pair.weights[seen],
        file=path,
    )


def cells_of(points: Float[np.ndarray, "points 2"]) -> Int64[np.ndarray, "points 2"]:
    """Nearest feature cell (column, row) of points (x, y): cell c sits exactly on pixel 8 c."""
    return np.floor(points / STRIDE + 0.5).astype(np.int64)


def _inside(crop: np.ndarray) -> tuple[int, int]:
    """Rows and columns of feature cells of a crop before padding."""
    return (crop.shape[0] - 1) // STRIDE + 1, (crop.shape[1] - 1) // STRIDE + 1


def _crop(
    image: Path, points: np.ndarray, centre: int | None, side: int, short_side: int
) -> tuple[np.ndarray, np.ndarray]:
    """The window around point `centre`, shifted into the image, and all points in its pixel coordinates."""
    original = read_image(image)
    pixels = resized(original, short_side)
    points = scaled_points(points, original.shape, pixels.shape)
    middle = points[centre] if centre is not None else np.array(pixels.shape[1::-1]) / 2
    limit = np.maximum(np.array(pixels.shape[1::-1]) - side, 0)
    left, top = np.clip(np.floor(middle + 0.5) - (side + 1) // 2, 0, limit).astype(int)
    return pixels[top : top + side, left : left + side], points - (left, top)

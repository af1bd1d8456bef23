"""Training samples of the self-supervised stage: a crop of the reference, one of the target, and their matches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image

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
    image: Path
    """The reference image."""
    corner: tuple[float, float]
    """x and y of the reference crop's first pixel in the (resized) reference image."""
    zoom: float
    """Pixels of the reference crop per pixel of the (resized) reference image."""
    file: Path
    """The correspondence file."""
    instead_of: tuple[str, ...] = ()
    """Problems of the pairs that this one replaces, a line each."""


def pair_sample(
    path: Path,
    images: Path,
    side: int,
    short_side: int,
    jitter: float,
    rng: np.random.Generator,
    zoom: float = 0.0,
    shift: float = 0.0,
) -> PairSample:
    """Crop both images of a pair around one random correspondence, each at a random scale and offset of its own.

    Args:
        path: correspondence file; its image names are relative to `images`.
        side: side of the crops in pixels, 8 n + 1; smaller images are padded.
        short_side: resize images so that the shorter side has this many pixels; 0 keeps the size.
        jitter: strength of the random colour changes.
        zoom: crops are zoomed by a random factor of 2^-zoom to 2^zoom; 0 for none (as in the paper).
        shift: crops are moved by up to this share of their side along each axis; 0 centres them on the correspondence.
    """
    pair = read_correspondences(path, images)
    centre = int(rng.integers(len(pair.points_ref))) if len(pair.points_ref) else None
    crops = []
    for image, points in ((pair.reference, pair.points_ref), (pair.target, pair.points_tgt)):
        factor = 2.0 ** rng.uniform(-zoom, zoom) if zoom else 1.0
        offset = rng.uniform(-shift, shift, 2) if shift else np.zeros(2)
        crops.append(_crop(image, points, centre, side, short_side, factor, offset))
    (reference, points_ref, corner, factor), (target, points_tgt, _, _) = crops
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
        image=pair.reference,
        corner=corner,
        zoom=factor,
        file=path,
    )


def cells_of(points: Float[np.ndarray, "points 2"]) -> Int64[np.ndarray, "points 2"]:
    """Nearest feature cell (column, row) of points (x, y): cell c sits exactly on pixel 8 c."""
    return np.floor(points / STRIDE + 0.5).astype(np.int64)


def _inside(crop: np.ndarray) -> tuple[int, int]:
    """Rows and columns of feature cells of a crop before padding."""
    return (crop.shape[0] - 1) // STRIDE + 1, (crop.shape[1] - 1) // STRIDE + 1


def _crop(
    image: Path, points: np.ndarray, centre: int | None, side: int, short_side: int, zoom: float, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[float, float], float]:
    """The window around point `centre`, moved by `offset` of its side and then into the image, and zoomed.

    Returns:
        Its pixels, all points in its pixels, the window's corner in the resized image, and the zoom.
    """
    original = read_image(image, short_side)
    pixels = resized(original, short_side)
    points = scaled_points(points, original.shape, pixels.shape)
    size = np.array(pixels.shape[1::-1])
    middle = points[centre] if centre is not None else size / 2
    window = side / zoom  # pixels of the resized image along a side of the crop
    limit = np.maximum(size - int(np.ceil(window)), 0)
    left, top = np.clip(np.floor(middle + offset * window + 0.5) - (int(window) + 1) // 2, 0, limit).astype(int)
    if zoom == 1.0:
        crop = pixels[top : top + side, left : left + side]
    else:
        width, height = np.minimum(side, ((size - (left, top)) * zoom).astype(int)).clip(1)
        box = (left, top, min(left + width / zoom, size[0]), min(top + height / zoom, size[1]))
        crop = np.asarray(Image.fromarray(pixels).resize((int(width), int(height)), Image.Resampling.BILINEAR, box=box))
    return crop, (points - (left, top) + 0.5) * zoom - 0.5, (float(left), float(top)), zoom

"""Resize images to a given shorter side, and move points with them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fgsn.errors import FgsnError


def resized(
    pixels: UInt8[np.ndarray, "height width 3"], short_side: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """The image with its shorter side resized to `short_side` pixels (bilinear, antialiased); 0 keeps the size.

    Raises FgsnError as `check_resized`.
    """
    check_resized(pixels.shape, short_side)
    height, width = resized_shape(pixels.shape, short_side)
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def resized_shape(shape: Sequence[int], short_side: int) -> tuple[int, int]:
    """(height, width) of an image of shape (height, width, …) after `resized`; rounded down, as torchvision does."""
    height, width = shape[:2]
    if not short_side:
        return height, width
    shorter = min(height, width)
    return height * short_side // shorter, width * short_side // shorter


def check_resized(shape: Sequence[int], short_side: int) -> None:
    """Refuse (FgsnError) an image of shape (height, width, …) that `resized` would make too large: a thin strip."""
    height, width = resized_shape(shape, short_side)
    limit = Image.MAX_IMAGE_PIXELS or height * width
    if height * width > limit:
        raise FgsnError(
            f"{shape[1]} x {shape[0]} pixels become {width} x {height} with a shorter side of {short_side}, more than "
            f"{limit // 1_000_000} million; use a smaller --short-side"
        )


def scaled_points(
    points: Float[np.ndarray, "points 2"], before: Sequence[int], after: Sequence[int]
) -> Float[np.ndarray, "points 2"]:
    """Points (x, y) of an image of shape (height, width, …) on the resized image; pixel centres at integers."""
    factor = np.array([after[1] / before[1], after[0] / before[0]])
    return (points + 0.5) * factor - 0.5

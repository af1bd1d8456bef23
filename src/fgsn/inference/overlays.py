"""Pictures of label maps: the labels' colours over the image, with a legend of the most frequent ones."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fgsn.errors import FgsnError

ALPHA = 0.55
"""Weight of the colours: 0 shows only the image, 1 only the labels."""
LEGEND = 8
"""Labels in the legend, at most: the most frequent ones, and fewer if the width is too small."""
SMALLEST_LEGEND = 11
MARGIN = 4


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray, classes: Sequence[str] | None = None
) -> np.ndarray:
    """Blend the colours of labels (H, W) over an image (H, W, 3), with a legend in a strip at the bottom.

    Args:
        image: uint8 RGB.
        labels: integers in [0, K).
        palette: (K, 3) uint8 colours.
        classes: names of the labels for the legend; default: their numbers.

    Raises:
        FgsnError: shapes do not match, or a label has no colour.
    """
    if image.shape != (*labels.shape, 3):
        raise FgsnError(f"an image of shape {image.shape} does not match labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= len(palette):
        raise FgsnError(f"label {labels.max()} has no colour in a palette of {len(palette)}")
    picture = np.round((1 - ALPHA) * image + ALPHA * palette[labels]).astype(np.uint8)
    return _with_legend(picture, labels, palette, classes)


def _with_legend(
    picture: np.ndarray, labels: np.ndarray, palette: np.ndarray, classes: Sequence[str] | None
) -> np.ndarray:
    """The picture with the most frequent labels, and their shares of the image, unless it is too small for that."""
    height, width = labels.shape
    size = max(SMALLEST_LEGEND, height // 32)
    strip = size + 2 * MARGIN
    if strip > height // 3:
        return picture
    counts = np.bincount(labels.ravel(), minlength=len(palette))
    font = ImageFont.load_default(size)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    top, left = height - strip, MARGIN
    draw.rectangle((0, top, width, height), fill=(24, 24, 27))
    for label in np.argsort(-counts, kind="stable")[: min(LEGEND, np.count_nonzero(counts))].tolist():
        name = classes[label] if classes else str(label)
        text = f"{name}: {100 * counts[label] / labels.size:.0f} %"
        right = left + size + MARGIN + draw.textlength(text, font=font)
        if right > width - MARGIN:
            break
        box = (left, top + MARGIN, left + size - 1, top + MARGIN + size - 1)
        draw.rectangle(box, fill=tuple(palette[label].tolist()))
        draw.text((left + size + MARGIN, top + strip // 2), text, fill=(244, 244, 245), font=font, anchor="lm")
        left = int(right) + 3 * MARGIN
    return np.array(canvas)

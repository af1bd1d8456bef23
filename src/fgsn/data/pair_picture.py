"""Pictures of correspondences: matched points in two images side by side, and coverage maps."""

import colorsys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from fgsn.errors import FgsnError

HEIGHT = 420
"""Height in pixels of each image in the picture."""
MOST_POINTS = 400
LINES = 12
WRONG = (255, 40, 40)
STRIP = 26


def pair_picture(
    images: Sequence[UInt8[np.ndarray, "height width 3"]],
    points: Sequence[Float[np.ndarray, "points 2"]],
    wrong: np.ndarray | None = None,
    title: str = "",
) -> UInt8[np.ndarray, "height width 3"]:
    """Two images side by side; equal colours mark corresponding points, a few lines guide the eye.

    Args:
        images: reference and target, RGB.
        points: (N, 2) x, y in each; row n of both is one correspondence.
        wrong: (N,) which points look wrong; drawn in red, each with a line.
        title: one line of text above.
    """
    count = len(points[0])
    if len(points[1]) != count:
        raise FgsnError(f"{count} points in one image and {len(points[1])} in the other are not pairs")
    wrong = np.zeros(count, bool) if wrong is None else wrong
    scales = [HEIGHT / image.shape[0] for image in images]
    small = [
        Image.fromarray(image).resize((max(1, round(image.shape[1] * scale)), HEIGHT), Image.Resampling.LANCZOS)
        for image, scale in zip(images, scales, strict=True)
    ]
    top, left = (STRIP if title else 0), small[0].width + 6
    canvas = Image.new("RGB", (left + small[1].width, top + HEIGHT), (24, 24, 27))
    for image, at in zip(small, (0, left), strict=True):
        canvas.paste(image, (at, top))
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((8, STRIP // 2), title, fill=(244, 244, 245), font=ImageFont.load_default(13), anchor="lm")
    shown = _some(count, wrong)
    at_ref, at_tgt = (
        (part[shown] + 0.5) * scale + (shift, top) for part, scale, shift in zip(points, scales, (0, left), strict=True)
    )
    colours = [_colour(*point) for point in points[0][shown] / np.array(images[0].shape[1::-1])]
    lines = set(np.linspace(0, len(shown) - 1, min(LINES, len(shown))).round().astype(int).tolist())
    for row, (one, other) in enumerate(zip(at_ref, at_tgt, strict=True)):
        colour = WRONG if wrong[shown[row]] else colours[row]
        if row in lines or wrong[shown[row]]:
            draw.line((*one, *other), fill=colour, width=1)
        for x, y in (one, other):
            draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour, outline=(0, 0, 0))
    return np.asarray(canvas)


def coverage_picture(
    shares: Sequence[Float[np.ndarray, "rows columns"]], names: Sequence[str]
) -> UInt8[np.ndarray, "height width 3"]:
    """Coverage maps side by side, dark where an image has no correspondences.

    Each is the share of the points in every cell of the image, with a name as its title.
    """
    cell, gap = 24, 12
    rows, columns = shares[0].shape
    width = len(shares) * (columns * cell + gap) + gap
    canvas = Image.new("RGB", (width, rows * cell + STRIP + 2 * gap), (24, 24, 27))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for number, (share, name) in enumerate(zip(shares, names, strict=True)):
        left = gap + number * (columns * cell + gap)
        draw.text((left, STRIP // 2 + 4), name, fill=(244, 244, 245), font=font, anchor="lm")
        bright = share / max(share.max(), 1e-12)
        for (row, column), value in np.ndenumerate(bright):
            box = (left + column * cell, STRIP + gap + row * cell)
            level = round(30 + 225 * float(value) ** 0.5)
            draw.rectangle((*box, box[0] + cell - 2, box[1] + cell - 2), fill=(level // 3, level * 2 // 3, level))
    return np.asarray(canvas)


def _some(count: int, wrong: np.ndarray) -> np.ndarray:
    """Rows to draw: up to MOST_POINTS good points, then (on top) as many wrong ones."""
    good, bad = np.nonzero(~wrong)[0], np.nonzero(wrong)[0]
    keep = np.linspace(0, len(good) - 1, min(MOST_POINTS, len(good))).round().astype(int) if len(good) else []
    return np.concatenate([good[keep], bad[:MOST_POINTS]]).astype(int)


def _colour(across: float, down: float) -> tuple[int, int, int]:
    """A colour by position in the reference: hue from left to right, lighter further up."""
    red, green, blue = colorsys.hls_to_rgb(0.85 * float(np.clip(across, 0, 1)), 0.7 - 0.35 * float(down), 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)

"""Images and label maps as data URIs, scaled down to keep the page small."""

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgsn.data.images import read_image
from fgsn.inference.label_maps import read_label_map, read_palette

JPEG_QUALITY = 80


def image_uri(path: Path, width: int) -> str:
    """An image as a JPEG data URI, at most `width` pixels wide; FgsnError if the file is missing or broken."""
    image = Image.fromarray(read_image(path))
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    return data_uri(image, "JPEG", quality=JPEG_QUALITY)


def label_picture(path: Path, width: int, colours: NDArray[np.uint8] | None = None) -> str:
    """A label map as a PNG data URI, at most `width` pixels wide; FgsnError if it is missing or broken.

    `colours` (K, 3) are those of the labels; default: the palette of the label map.
    """
    labels, _ = read_label_map(path)
    colours = read_palette(path) if colours is None else colours
    if labels.shape[1] > width:
        # Nearest neighbour: interpolated colours would stand for other labels.
        rows = max(1, round(labels.shape[0] * width / labels.shape[1]))
        across = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
        down = ((np.arange(rows) + 0.5) * labels.shape[0] / rows).astype(int)
        labels = labels[down[:, None], across]
    used, small = np.unique(labels, return_inverse=True)
    if len(used) > 256:
        return data_uri(Image.fromarray(colours[labels]), "PNG", optimize=True)
    image = Image.fromarray(small.reshape(labels.shape).astype(np.uint8))
    image.putpalette(colours[used].tobytes())
    return data_uri(image, "PNG", optimize=True)


def data_uri(image: Image.Image, kind: str, **options: object) -> str:
    """An image as a data URI; `kind` and `options` as in `Image.save`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def hexadecimal(colour: NDArray[np.uint8]) -> str:
    """A colour (3,) in CSS notation, #rrggbb."""
    return "#" + bytes(colour.tolist()).hex()

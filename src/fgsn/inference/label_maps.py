"""Label maps as PNG files: one label per pixel, with the number of labels and their colours in the file.

With up to 256 labels the file is an ordinary 8-bit palette PNG, with more it is 16-bit greyscale with the palette in a
text chunk. No label is special: 255 is a label like any other.
"""

import base64
import binascii
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fgsn.data.images import COUNT_KEY, open_image
from fgsn.errors import FgsnError, whole_number
from fgsn.files import as_path, atomic_write, file_mark
from fgsn.inference.colours import palette as default_palette

LARGEST = 65536
PALETTE_KEY, IMAGE_KEY = "fgsn:palette", "fgsn:image"


def write_label_map(
    path: Path | str, labels: np.ndarray, clusters: int, palette: np.ndarray | None = None, source: Path | None = None
) -> None:
    """Write a label map atomically.

    Args:
        path: the PNG file.
        labels: (H, W) integers in [0, clusters).
        clusters: number of labels K, at most 65536.
        palette: (K, 3) uint8 colours; default: `fgsn.inference.colours.palette(clusters)`.
        source: file of the image, whose `file_mark` is stored, so that another image of this name is noticed.

    Raises:
        FgsnError: labels or palette are invalid, or the file cannot be written.
    """
    labels = np.asarray(labels)
    _check(labels, clusters, path)
    colours = np.asarray(default_palette(clusters) if palette is None else palette)
    if colours.shape != (clusters, 3) or colours.dtype.kind not in "iu" or not ((colours >= 0) & (colours < 256)).all():
        wrong = f"{colours.dtype} {colours.shape}"
        raise FgsnError(f"{path}: {clusters} labels require a palette of ({clusters}, 3) values 0 to 255, not {wrong}")
    colours = np.ascontiguousarray(colours, np.uint8)
    info = PngInfo()
    info.add_text(COUNT_KEY, str(clusters))
    if source is not None:
        info.add_text(IMAGE_KEY, file_mark(source))
    if clusters <= 256:
        image = Image.fromarray(labels.astype(np.uint8)).convert("L")
        image.putpalette(colours.tobytes().ljust(3 * 256, b"\0"))  # a full palette makes it 8 bits a pixel
    else:
        image = Image.fromarray(labels.astype(np.uint16))
        info.add_text(PALETTE_KEY, base64.b64encode(colours.tobytes()).decode("ascii"))
    with atomic_write(path) as aside:
        image.save(aside, format="PNG", pnginfo=info)


def read_label_map(path: Path | str) -> tuple[np.ndarray, int]:
    """Read a label map: (H, W) int32 labels, and the number of labels K.

    Raises:
        FgsnError: the file is missing, damaged, or was not written by fgsn.
    """
    image, clusters = _open(path)
    labels = np.asarray(image).astype(np.int32)
    _check(labels, clusters, path)
    return labels, clusters


def read_palette(path: Path | str) -> np.ndarray:
    """Read the (K, 3) uint8 colours stored in a label map; FgsnError as `read_label_map`."""
    image, clusters = _open(path)
    if clusters <= 256:
        data = bytes(image.getpalette("RGB") or ())
    else:
        try:
            data = base64.b64decode(image.info.get(PALETTE_KEY, ""), validate=True)
        except binascii.Error:
            data = b""
    if len(data) < 3 * clusters:
        raise FgsnError(f"{path}: the palette of this label map is damaged; run fgsn segment again")
    return np.frombuffer(data[: 3 * clusters], dtype=np.uint8).reshape(clusters, 3).copy()


def _open(path: Path | str) -> tuple[Image.Image, int]:
    path = as_path(path)
    try:
        with open_image(path, ["PNG"]) as image:
            image.load()
    except FgsnError as error:
        if not path.exists():
            raise FgsnError(f"{path} does not exist") from None
        raise FgsnError(f"{path} is not a readable PNG; run fgsn segment again ({error})") from None
    count = image.info.get(COUNT_KEY, "")
    if not (isinstance(count, str) and count.isdecimal() and 1 <= int(count) <= LARGEST):
        raise FgsnError(f"{path} does not say how many labels it has: it was not written by fgsn segment")
    if image.mode != ("P" if int(count) <= 256 else "I;16"):
        raise FgsnError(f"{path} is not a label map: pixel type {image.mode} does not match {count} labels")
    return image, int(count)


def _check(labels: np.ndarray, clusters: int, path: Path | str) -> None:
    whole_number(f"{path}: the number of labels", clusters, 1, LARGEST)
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise FgsnError(f"{path}: labels must be (height, width) integers, not {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= clusters:
        raise FgsnError(f"{path}: labels range from {labels.min()} to {labels.max()}, but there are {clusters} labels")

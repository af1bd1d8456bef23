"""Read images, their sizes, and lists of them.

The EXIF orientation is deliberately ignored: correspondences, poses and label maps refer to pixels as stored in the
file.
"""

import hashlib
import itertools
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, UnidentifiedImageError

from fgsn.config.base import OnBadImage
from fgsn.data.resize import check_resized
from fgsn.errors import FgsnError, reason
from fgsn.files import as_path, inside, is_file, read_lines
from fgsn.progress import say

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""Pillow's names of the formats that are read, whatever a file is called; some others run programs (PostScript)."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})

UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".dng", ".cr2", ".nef", ".arw", ".raw"})
"""Images in formats that are not read; they are counted where a folder is listed."""

COUNT_KEY = "fgsn:clusters"
"""Name under which a label map states its number of labels; no photograph has it."""

_OPENING = Lock()


@contextmanager
def open_image(path: Path | str, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """Open an image file with Pillow, of one of the `formats` that it knows by these names.

    Every way in which it can be broken becomes a one-line FgsnError: missing, not an image, truncated, far too large.
    """
    path = as_path(path)
    if path.exists() and not path.is_file():  # reading a pipe would wait forever
        raise FgsnError(f"image {path} is not a file")
    try:
        # Filters of warnings belong to the process, but images are read in threads.
        with _OPENING, warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            image = Image.open(path, formats=list(formats))
        with image:
            yield image
    except FgsnError:
        raise
    except FileNotFoundError:
        raise FgsnError(f"image {path} does not exist") from None
    except UnidentifiedImageError:
        raise FgsnError(f"{path} is not an image, or is cut off near its start") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise FgsnError(f"image {path} has more than {limit} million pixels; make it smaller") from None
    except Exception as error:  # Pillow's decoders raise almost anything on broken files
        raise FgsnError(f"image {path} is broken or cut off: {reason(error)}") from None


@contextmanager
def skip_bad_image(on_bad_image: OnBadImage) -> Iterator[None]:
    """Leave the body where an image cannot be read and report it; with "stop", raise the error instead."""
    try:
        yield
    except FgsnError as error:
        if on_bad_image == "stop":
            raise
        say(f"{error}; left out")


def read_image(path: Path | str, short_side: int = 0) -> np.ndarray:
    """Read an image as 8-bit RGB.

    Grey and palette images become RGB, an alpha channel is dropped, 16 bits are scaled to 8 over their full range, and
    an animation gives its first frame.

    Args:
        path: the file.
        short_side: what the shorter side will be resized to later (see `fgsn.data.resize.resized`); 0: nothing.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        FgsnError: the image is missing, broken, cut off, far too large, now or resized, has floating-point pixels, or
            is a label map.
    """
    with open_image(path) as image:
        if COUNT_KEY in image.info:
            raise FgsnError(f"{path} is a label map of fgsn segment, not a photograph")
        try:
            check_resized((image.height, image.width), short_side)
        except FgsnError as error:
            raise FgsnError(f"image {path} is too large: {error}") from None
        if image.mode == "F":
            raise FgsnError(f"image {path} has floating-point pixels; save it with 8 or 16 bits")
        if image.mode.startswith("I"):
            grey = np.round(np.clip(np.asarray(image), 0, 65535) / 257).astype(np.uint8)  # 65535 becomes 255
            return np.repeat(grey[:, :, None], 3, axis=2)
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return np.array(image.convert("RGB"))


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height of an image in pixels, without decoding it; FgsnError if it is missing or not an image."""
    with open_image(path) as image:
        return image.size


def list_images(path: Path | str) -> list[tuple[Path, str]]:
    """List the images of a file, a folder or a text list.

    Args:
        path: an image, a folder (including subfolders, without hidden files) or a text file with one image
            path per line, relative to the folder of the list, to its subfolder `images`, or to the working folder.

    Returns:
        The absolute path and the relative name (with folders) of each image, in list order or sorted by name.

    Raises:
        FgsnError: the path or a listed image does not exist, or there are no images.
    """
    path = Path(path)
    if path.is_dir():
        found = [(file.absolute(), file.relative_to(path).as_posix()) for file in walk_images(path)]
    elif not path.exists():
        raise FgsnError(f"{path} does not exist; give an image, a folder or a list of images")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        found = [(path.absolute(), path.name)]
    else:
        found = _listed(path)
    if not found:
        looked = f"{path} contains no images (looked for {', '.join(sorted(IMAGE_SUFFIXES))})"
        raise FgsnError("; ".join([looked, *unread_images(path)]))
    return found


def walk_images(root: Path) -> list[Path]:
    """All images below a folder, sorted by relative name; each linked folder is followed once."""
    seen: set[str] = set()
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in files if _is_image_name(name)]
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def unread_images(root: Path) -> list[str]:
    """A line that counts the images below a folder in formats that are not read, if there are any."""
    suffixes = (Path(name).suffix.lower() for _, _, files in os.walk(root, followlinks=False) for name in files)
    counts = Counter(suffix for suffix in suffixes if suffix in UNREAD_SUFFIXES)
    found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    return [f"{root} contains images in formats that are not read: {found}; convert them to JPEG"] if found else []


def equal_files(files: Iterable[Path]) -> list[list[Path]]:
    """Groups of files with the same content; only files of equal size are read."""
    sizes: dict[int, list[Path]] = defaultdict(list)
    contents: dict[bytes, list[Path]] = defaultdict(list)
    for file in files:
        sizes[file.stat().st_size].append(file)
    for file in itertools.chain.from_iterable(same for same in sizes.values() if len(same) > 1):
        contents[hashlib.sha256(file.read_bytes()).digest()].append(file)
    return [same for same in contents.values() if len(same) > 1]


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def _listed(path: Path) -> list[tuple[Path, str]]:
    """The images of a text list; absolute paths are named relative to their common folder."""
    lines = read_lines(path)
    absolute = [line for line in lines if Path(line).is_absolute()]
    shared = Path(os.path.commonpath([Path(line).parent for line in absolute])) if absolute else Path()
    found: dict[str, Path] = {}
    for line in lines:
        if line in absolute:
            name, places = Path(line).relative_to(shared).as_posix(), [Path(line)]
        else:
            name = Path(line).as_posix()
            places = [inside(base, line) for base in (path.parent, path.parent / "images", Path())]
        file = next((place.absolute() for place in places if is_file(place)), None)
        if file is None:
            several = "; a list has one path per line and nothing else" if len(re.split(r"[\s,;]+", line)) > 1 else ""
            raise FgsnError(f"{path} lists '{line}', which does not exist (looked in {places[0].parent}){several}")
        if found.setdefault(name, file) != file:
            raise FgsnError(f"{path} lists two images named '{name}': {found[name]} and {file}")
    return [(file, name) for name, file in found.items()]

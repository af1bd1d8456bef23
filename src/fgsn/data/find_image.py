"""Find an image by its stored path, even where the folders have another layout."""

import time
from itertools import takewhile
from pathlib import Path, PurePosixPath

from fgsn.data.images import IMAGE_SUFFIXES, walk_images
from fgsn.errors import FgsnError
from fgsn.files import inside, is_file

INDEX_SECONDS = 60.0
"""Minimum age of a folder's index before an unknown name causes the folder to be listed again."""


class MissingImageError(FgsnError):
    """An image that a data set names does not exist."""


def find_image(images: Path, name: str) -> Path:
    """The image at `name`, else the one below `images` with its base name that shares the longest path ending with it.

    `name` is relative to `images`, with forward slashes.

    Raises:
        MissingImageError: there is none, or several match equally well.
        FgsnError: the name leaves the folder.
    """
    if found := image_at(images, name):
        return found
    expected = inside(images, name)
    parts = PurePosixPath(expected.relative_to(images).as_posix()).parts
    candidates = _named(images.absolute(), parts[-1])
    if not candidates:
        raise MissingImageError(f"image '{name}' is not in {images}, and no image in its subfolders has that base name")
    shared = [_shared_ending(candidate.relative_to(images.absolute()).parts, parts) for candidate in candidates]
    best = [candidate for candidate, score in zip(candidates, shared, strict=True) if score == max(shared)]
    if len(best) > 1:
        raise MissingImageError(f"image '{name}' is not in {images}, and could be {best[0]} or {best[1]}")
    return images / best[0].relative_to(images.absolute())


def image_at(images: Path, name: str) -> Path | None:
    """The image at `name`, or beside it with another ending: RobotCar's are .png in some lists and .jpg on disk.

    Raises FgsnError if the name leaves the folder.
    """
    expected = inside(images, name)
    others = (expected.with_suffix(case(suffix)) for suffix in IMAGE_SUFFIXES for case in (str.lower, str.upper))
    known = expected.suffix.lower() in IMAGE_SUFFIXES
    return next((path for path in (expected, *(sorted(others) if known else ())) if is_file(path)), None)


class _Index:
    """The images below a folder by base name, at one point in time."""

    def __init__(self, folder: Path) -> None:
        self.made = time.monotonic()
        self.files: dict[str, list[Path]] = {}
        for file in walk_images(folder):
            self.files.setdefault(file.name, []).append(file)


_indexes: dict[Path, _Index] = {}


def _named(images: Path, base: str) -> list[Path]:
    """The images with that base name.

    Listing tens of thousands of files is slow on a network file system, so it is done once, and again only for unknown
    names (images added later), at most once a minute.
    """
    index = _indexes.get(images)
    if index is None or (base not in index.files and time.monotonic() - index.made > INDEX_SECONDS):
        index = _indexes[images] = _Index(images)
    return [file for file in index.files.get(base, []) if file.is_file()]


def _shared_ending(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Number of equal parts at the end of two paths."""
    both = zip(reversed(one), reversed(other), strict=False)
    return len(list(takewhile(lambda parts: parts[0] == parts[1], both)))

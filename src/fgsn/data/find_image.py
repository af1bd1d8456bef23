"""Find the image that a data set calls by a path, also where the path is of another layout."""

import time
from pathlib import Path, PurePosixPath

from fgsn.data.images import walk_images
from fgsn.errors import FgsnError
from fgsn.files import inside, is_file

INDEX_SECONDS = 60.0
"""How old the index of a folder must be before a name that it lacks has the folder listed again."""


class MissingImageError(FgsnError):
    """A data set names an image that is not there."""


def find_image(images: Path, name: str) -> Path:
    """The image stored as `name`, else the one of that base name whose path ends most like it.

    Args:
        images: the folder that `name` is relative to; searched with its subfolders.
        name: a relative path with forward slashes.

    Raises:
        MissingImageError: there is none, or several are equally alike.
        FgsnError: the name leaves the folder.
    """
    expected = inside(images, name)
    if is_file(expected):
        return expected
    parts = PurePosixPath(expected.relative_to(images).as_posix()).parts
    candidates = _named(images.absolute(), parts[-1])
    if not candidates:
        raise MissingImageError(f"image '{name}' is not in {images}, nor is one of that base name in its subfolders")
    alike = [_shared_ending(candidate.relative_to(images.absolute()).parts, parts) for candidate in candidates]
    best = [candidate for candidate, score in zip(candidates, alike, strict=True) if score == max(alike)]
    if len(best) > 1:
        raise MissingImageError(f"image '{name}' is not in {images}, and could be {best[0]} or {best[1]}")
    return images / best[0].relative_to(images.absolute())


class _Index:
    """The images below a folder by base name, as they were at one time."""

    def __init__(self, folder: Path) -> None:
        self.made = time.monotonic()
        self.files: dict[str, list[Path]] = {}
        for file in walk_images(folder):
            self.files.setdefault(file.name, []).append(file)


_indexes: dict[Path, _Index] = {}


def _named(images: Path, base: str) -> list[Path]:
    """The images of that base name.

    Listing tens of thousands of files takes long on a network file system, so it is done once, and again only when a
    name is unknown (images that arrived later), at most once a minute.
    """
    index = _indexes.get(images)
    if index is None or (base not in index.files and time.monotonic() - index.made > INDEX_SECONDS):
        index = _indexes[images] = _Index(images)
    return [file for file in index.files.get(base, []) if file.is_file()]


def _shared_ending(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Number of equal parts at the end of two paths."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count

"""hloc's query lists: the images to localize, each with its camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgsn.errors import FgsnError, nearest
from fgsn.files import write_text
from fgsn.formats.lists import is_number, list_files, read_list, shortened
from fgsn.geometry.camera import PARAMETER_COUNTS, Camera

FORM = "name MODEL width height parameters..."


@dataclass(frozen=True)
class Query:
    """An image to localize."""

    name: str
    """Path of the image relative to the folder of images, with forward slashes."""
    camera: Camera


def read_queries(path: Path | str) -> list[Query]:
    """Read `name MODEL width height parameters...` per line, with COLMAP's camera models and pixel centres at +0.5.

    From a list, or a folder of lists (`queries/<condition>.txt`). Raises FgsnError if a line has missing or malformed
    intrinsics, an unknown camera model, or a repeated name.
    """
    return [Query(name, camera) for name, camera in read_list(path, _parse).items()]


def read_query_lists(paths: Sequence[Path]) -> list[list[Query]]:
    """The queries of every list, see `read_queries`; a list is best of one condition, whose images are then compared.

    Raises FgsnError as `read_queries`, also if two lists contain the same name.
    """
    lists: dict[Path, list[Query]] = {}
    first: dict[str, Path] = {}
    for file in (file for path in paths for file in list_files(path)):
        lists[file] = read_queries(file)
        for query in lists[file]:
            if first.setdefault(query.name, file) != file:
                raise FgsnError(f"'{query.name}' is in {first[query.name]} and in {file}; keep one")
    return list(lists.values())


def write_queries(path: Path, names: Sequence[str], cameras: Sequence[Camera]) -> None:
    """Write a list that `read_queries` reads, one line per image."""
    lines = []
    for name, camera in zip(names, cameras, strict=True):
        parameters = " ".join(f"{value:.9g}" for value in camera.parameters)
        lines.append(f"{name} {camera.model} {camera.width} {camera.height} {parameters}")
    write_text(path, "".join(f"{line}\n" for line in lines))


def _parse(line: str) -> tuple[str, Camera]:
    fields = line.split()
    at = next((row for row, field in enumerate(fields) if row and field in PARAMETER_COUNTS), 0)
    if not at:
        number = next((row for row, field in enumerate(fields) if row and is_number(field)), 0)
        if number < 2:
            raise FgsnError(f"'{shortened(line)}' has no intrinsics; expected '{FORM}'")
        word = fields[number - 1]
        raise FgsnError(f"unknown camera model '{word}'; {nearest(word, PARAMETER_COUNTS)}")
    numbers = [float(field) for field in fields[at + 1 :] if is_number(field)]
    if len(numbers) < len(fields) - at - 1 or len(numbers) < 2 or not all(size.is_integer() for size in numbers[:2]):
        raise FgsnError(f"expected '{FORM}': {shortened(line)}")
    width, height, *parameters = numbers
    name = line.rsplit(maxsplit=len(fields) - at)[0].strip()  # with spaces as they are
    camera = Camera.from_parameters(int(width), int(height), parameters, fields[at])
    centre = camera.matrix[:2, 2] / (width, height)
    if np.abs(centre - 0.5).max() > 1:
        x, y = camera.matrix[:2, 2] + 0.5
        raise FgsnError(f"the principal point ({x:g}, {y:g}) is far outside the image of {width:g} x {height:g} pixels")
    return name, camera

"""Lists with one image per line and numbers after its name: the common base of queries, priors, poses and results."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.files import as_path, numbered_lines
from fgsn.geometry.pose import Pose

Value = TypeVar("Value")
CMU_NAME = re.compile(r"img_\d+_c[01]_(\d{15,17})us(_rect)?(\.jpg)?")
"""Base names of Extended CMU Seasons, with the time of capture in microseconds."""
POSE_FORM = "name qw qx qy qz tx ty tz"
UNIT_TOLERANCE = 0.01
"""Largest deviation of a quaternion's length from 1, since files contain rounded numbers."""


def list_files(path: Path | str) -> list[Path]:
    """The list itself, or the .txt files of a folder, sorted; FgsnError if there is none."""
    path = as_path(path)
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.txt") if not file.name.startswith("."))
    if not files:
        raise FgsnError(f"{path} contains no .txt files")
    return files


def read_list(
    path: Path | str, parse: Callable[[str], tuple[str, Value]], may_be_empty: bool = False
) -> dict[str, Value]:
    """Read a list, or every list of a folder, with one line per image.

    Args:
        parse: converts a line to the image's name and value; raises FgsnError or ValueError if it is malformed.
        may_be_empty: accept a list without images.

    Returns:
        Values by name, in the order of the lines.

    Raises:
        FgsnError: a file is missing or empty, or a line is malformed or repeats a name; with file and line.
    """
    found: dict[str, Value] = {}
    first: dict[str, str] = {}
    files = list_files(path)
    for file in files:
        for number, line in numbered_lines(file):
            try:
                name, value = parse(line)
            except (FgsnError, ValueError, OverflowError) as error:
                raise FgsnError(f"{file}:{number}: {error}") from None
            if name in found:
                several = "" if len(files) == 1 else f", or give one file of {path} instead of all"
                raise FgsnError(f"{file}:{number}: '{name}' is already in {first[name]}; keep one{several}")
            found[name] = value
            first[name] = f"line {number}" if len(files) == 1 else f"{file.name}:{number}"
    if not found and not may_be_empty:
        raise FgsnError(f"{path} contains no line with an image")
    return found


def numbers_after_name(line: str, form: str) -> tuple[str, NDArray[np.float64]]:
    """Split a line into a name, which may contain spaces, and the finite numbers after it; else raise FgsnError.

    The expected `form`, such as `name gx gy gz height`, has one number per word after the first.
    """
    count = len(form.split()) - 1
    fields = line.rsplit(maxsplit=count)
    name = fields.pop(0) if len(fields) > count else ""
    try:
        numbers = np.array([float(field) for field in fields])
    except ValueError:
        numbers = np.zeros(0)
    if len(numbers) == count and len(name.split()) > 1 and is_number(name.split()[-1]):
        raise FgsnError(f"expected '{form}', but there are more numbers: {shortened(line)}")
    if not name or len(numbers) != count or not np.isfinite(numbers).all():
        raise FgsnError(f"expected '{form}' with finite numbers: {shortened(line)}")
    return name, numbers


def unit_quaternion(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalise a quaternion (4,) that has length 1 except for rounding; FgsnError if it has not."""
    length = float(np.linalg.norm(numbers))
    if not abs(length - 1) <= UNIT_TOLERANCE:
        raise FgsnError(f"the quaternion {' '.join(f'{n:g}' for n in numbers)} has length {length:.4g}, not 1")
    return numbers / length


def pose_numbers(line: str, form: str = POSE_FORM) -> tuple[str, NDArray[np.float64]]:
    """Name and numbers (7,) of a line that starts with `name qw qx qy qz`, with the quaternion normalised.

    Raises FgsnError if the line has another form, or the quaternion's length is not 1.
    """
    name, numbers = numbers_after_name(line, form)
    numbers[:4] = unit_quaternion(numbers[:4])
    return name, numbers


def poses_of(numbers: Iterable[NDArray[np.float64]]) -> Pose:
    """N poses from N arrays (7,) of `pose_numbers`."""
    table = np.array(list(numbers), np.float64).reshape(-1, 7)
    return Pose.from_quaternion(table[:, :4], table[:, 4:])


def shortened(line: str) -> str:
    """A line, shortened for an error message."""
    line = " ".join(line.split())
    return line if len(line) <= 100 else line[:97] + "..."


def is_number(text: str) -> bool:
    """Whether a field is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True

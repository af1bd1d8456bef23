"""Ground-truth poses: our own lists, and those of Extended CMU Seasons and RobotCar Seasons v2.

Three formats, one image per line:

- `name qw qx qy qz tx ty tz`, from the world to the camera: ours, hloc's, and result files,
- `name qw qx qy qz cx cy cz`, the same rotation with the camera centre C = -R^T t: Extended CMU Seasons
  (`camera-poses/*.txt`, `ground-truth-database-images-slice<N>.txt`),
- `name` and a 4 x 4 matrix from the camera to the world, row by row: RobotCar Seasons v2 (`robotcar_v2_train.txt`;
  kapture's importer inverts it, too).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.files import numbered_lines, read_text
from fgsn.formats.lists import (
    CMU_NAME,
    UNIT_TOLERANCE,
    list_files,
    numbers_after_name,
    pose_numbers,
    poses_of,
    read_list,
)
from fgsn.geometry.pose import Pose

Floats = NDArray[np.float64]
Convention = Literal["auto", "translation", "centre", "matrix"]
_CENTRE_FORM = "name qw qx qy qz cx cy cz"
_MATRIX_FORM = "name " + " ".join(f"m{row}{column}" for row in range(1, 5) for column in range(1, 5))
_CMU_FOLDER = re.compile(r"slice\d+|database|query")


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground-truth poses of N images, and the condition of each."""

    names: list[str]
    camera_from_world: Pose
    """N poses."""
    conditions: list[str]
    """N names of conditions; '' if unknown."""


def read_truth(path: Path | str, convention: Convention = "auto") -> Truth:
    """Read the ground-truth poses of a list or of every .txt file in a folder.

    Args:
        path: the file or folder.
        convention: meaning of the numbers (see above). `auto` reads lines of 17 fields as matrices, lines of 8 as
            centres if a comment in the list names cx or the file is named as in Extended CMU Seasons, and as
            translations otherwise.

    Returns:
        The poses. An image's condition is the first folder of its path (`snow/c0/x.jpg`), the day of capture if it is
        named as in Extended CMU Seasons, or the name of its list in a folder of lists.

    Raises:
        FgsnError: a file is missing, a line is malformed, or a name occurs twice; with file and line.
    """
    files = list_files(path)
    names: dict[str, str] = {}  # with their conditions
    poses = []
    for file in files:
        parse, to_poses = _FORMS[_guess(file) if convention == "auto" else convention]
        found = read_list(file, parse, may_be_empty=True)  # as are some of Extended CMU Seasons
        for name in found:
            if name in names:
                raise FgsnError(f"{file}: '{name}' is in another file of {path}, too; keep one")
            names[name] = condition_of(name, file.stem if Path(path).is_dir() else "")
        poses.append(to_poses(found.values()))
    if not names:
        raise FgsnError(f"{path} contains no poses")
    return Truth(list(names), Pose.concatenate(poses), list(names.values()))


def condition_of(name: str, otherwise: str = "") -> str:
    """The condition in an image's path: its first folder, or the day in a name of Extended CMU Seasons."""
    parts = PurePosixPath(name).parts
    if len(parts) > 1 and not _CMU_FOLDER.fullmatch(parts[0]):
        return parts[0]
    taken = CMU_NAME.search(name)
    if taken:
        return datetime.fromtimestamp(int(taken[1]) / 1e6, UTC).strftime("%Y-%m-%d")
    return otherwise


def _guess(file: Path) -> Convention:
    """The convention of a list, guessed from its number of fields, comments and file name."""
    first = next((line for _, line in numbered_lines(file)), "")
    if len(first.split()) >= 17:
        return "matrix"
    comments = " ".join(line for line in read_text(file).split("\n") if line.lstrip().startswith("#"))
    if re.search(r"\btx\b", comments):
        return "translation"
    if file.name.startswith("ground-truth-database-images-slice") or file.absolute().parent.name == "camera-poses":
        return "centre"
    if re.search(r"\bcx\b", comments):
        return "centre"
    return "translation"


def _matrix_numbers(line: str) -> tuple[str, Floats]:
    name, numbers = numbers_after_name(line, _MATRIX_FORM)
    matrix = numbers.reshape(4, 4)
    rotation = matrix[:3, :3]
    if not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise FgsnError("the last row of the 4 x 4 matrix should be 0 0 0 1")
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > UNIT_TOLERANCE or np.linalg.det(rotation) < 0:
        raise FgsnError("the 3 x 3 part of the matrix is not a rotation")
    return name, numbers


def _poses_of_centres(numbers: Iterable[Floats]) -> Pose:
    camera_at_centre = poses_of(numbers)
    return Pose.from_centre(camera_at_centre.rotation, camera_at_centre.translation)


def _poses_of_matrices(numbers: Iterable[Floats]) -> Pose:
    world_from_camera = np.array(list(numbers), np.float64).reshape(-1, 4, 4)
    return Pose(world_from_camera[:, :3, :3], world_from_camera[:, :3, 3]).inverse()


# Of each convention, the parser of a line, and the function from the numbers of all lines to poses.
_FORMS: dict[Convention, tuple[Callable[[str], tuple[str, Floats]], Callable[[Iterable[Floats]], Pose]]] = {
    "translation": (pose_numbers, poses_of),
    "centre": (partial(pose_numbers, form=_CENTRE_FORM), _poses_of_centres),
    "matrix": (_matrix_numbers, _poses_of_matrices),
}

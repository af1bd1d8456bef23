"""Result files of visuallocalization.net: one line per localized query, `name qw qx qy qz tx ty tz`.

Rotation and translation map from the world to the camera; the translation is not the camera centre.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.files import write_text
from fgsn.formats.lists import CMU_NAME, pose_numbers, poses_of, read_list
from fgsn.geometry.pose import Pose

Naming = Literal["as is", "cmu", "robotcar"]


@dataclass(frozen=True, eq=False)
class PoseList:
    """N images with poses, without cameras."""

    names: list[str]
    camera_from_world: Pose
    """N poses."""


def write_results(path: Path | str, names: Sequence[str], poses: Pose, naming: Naming = "as is") -> int:
    """Write poses in the benchmark's format, atomically.

    Args:
        path: the text file.
        names: N paths of the localized queries; queries without a pose are left out.
        poses: N poses `camera_from_world`.
        naming: `cmu` writes base names, once for an image shared by two slices; `robotcar` writes
            `rear/<timestamp>.jpg` and omits the other cameras, which the benchmark does not score; `as is` writes the
            paths.

    Returns:
        The number of poses written.

    Raises:
        FgsnError: lengths differ, a pose is not finite or not a rotation, two images get one name, or none has any.
    """
    names = list(names)
    rotation, translation = poses.rotation.reshape(-1, 3, 3), poses.translation.reshape(-1, 3)
    if not len(names) == len(rotation) == len(translation):
        raise FgsnError(f"{path}: {len(names)} names for {len(rotation)} poses")
    good = np.isfinite(rotation).all(axis=(1, 2)) & np.isfinite(translation).all(axis=1)
    drift = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max(axis=(1, 2), initial=0.0)
    good &= (drift < 1e-3) & (np.linalg.det(np.where(np.isfinite(rotation), rotation, 0)) > 0)
    if not good.all():
        raise FgsnError(f"{path}: the pose of '{names[int(np.argmin(good))]}' is not finite or not a rotation")
    quaternions = Pose(rotation, translation).quaternion if names else np.zeros((0, 4))
    written: dict[str, str] = {}
    lines = []
    for name, numbers in zip(names, np.concatenate([quaternions, translation], axis=1), strict=True):
        short = _result_name(name, naming)
        if short is None:
            continue
        if naming == "cmu" and short in written and CMU_NAME.fullmatch(short):
            continue  # an image at the border of two slices; the time in its name is unique
        if short in written:
            raise FgsnError(f"{path}: '{written[short]}' and '{name}' would both be written as '{short}'")
        if not short.strip() or short.startswith("#") or "\n" in short or short != short.strip():
            raise FgsnError(f"{path}: '{short}' cannot be the name of an image in a list")
        written[short] = name
        lines.append(f"{short} {' '.join(f'{number:.12g}' for number in numbers)}\n")
    if names and not lines:
        raise FgsnError(f"{path}: no name fits --naming {naming}, first: '{names[0]}'")
    write_text(path, "".join(lines))
    return len(lines)


def write_poses(path: Path, names: Sequence[str], camera_from_world: Pose, comments: Sequence[str] = ()) -> None:
    """Write a list `name qw qx qy qz tx ty tz`, from the world to the camera, after comment lines."""
    table = np.concatenate([camera_from_world.quaternion, camera_from_world.translation], axis=1)
    rows = [" ".join([name, *(f"{value:.9f}" for value in row)]) for name, row in zip(names, table, strict=True)]
    write_text(path, "".join(f"{line}\n" for line in [*(f"# {comment}" for comment in comments), *rows]))


def read_results(path: Path | str, known: Collection[str] | None = None) -> PoseList:
    """Read the poses of a file or of every .txt file in a folder.

    Args:
        path: the file or folder.
        known: names or paths of the queries; a name in the file must be one of them, or the end of one.

    Raises:
        FgsnError: a line is malformed, a quaternion's length is not 1, or a name is repeated or unknown; with file and
            line.
    """
    lookup = None if known is None else SuffixLookup(known)

    def parse(line: str) -> tuple[str, NDArray[np.float64]]:
        name, numbers = pose_numbers(line)
        if lookup is not None:
            lookup.find(name)
        return name, numbers

    table = read_list(path, parse, may_be_empty=True)
    return PoseList(list(table), poses_of(table.values()))


class SuffixLookup:
    """Finds the path of a shortened name: `x.jpg` is `slice7/query/x.jpg` if no other path ends with it.

    File extensions are ignored: RobotCar's images are .png in some lists and .jpg in others.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.names = set(names)
        self._paths: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name in sorted(self.names):
            parts = PurePosixPath(name).with_suffix("").parts
            self._paths.setdefault(parts[-1], []).append((parts, name))

    def find(self, name: str) -> str:
        """The only path that is `name`, ends with it, or is its end; FgsnError if there is none or several."""
        if name in self.names:
            return name
        parts = PurePosixPath(name).with_suffix("").parts if PurePosixPath(name).name else ("",)
        candidates = [path for known, path in self._paths.get(parts[-1], []) if _same_suffix(known, parts)]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise FgsnError(f"'{name}' could be {candidates[0]} or {candidates[1]}; write more of the path")
        close = difflib.get_close_matches(name, sorted(self.names)[:2000], n=1)
        raise FgsnError(f"'{name}' is not a known query" + (f"; did you mean '{close[0]}'?" if close else ""))


def _same_suffix(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    count = min(len(one), len(other))
    return one[-count:] == other[-count:]


def _result_name(name: str, naming: Naming) -> str | None:
    parts = PurePosixPath(name).parts
    if naming == "cmu":
        return parts[-1]
    if naming == "robotcar":
        return "/".join(parts[-2:]) if len(parts) > 1 and parts[-2] == "rear" else None
    return name

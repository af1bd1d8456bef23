"""Readers of the files of a COLMAP model, binary and text, with checks and without COLMAP.

COLMAP's documentation describes the formats. pycolmap reads them as well, but accepts some damaged files and creates
one Python object per observation instead of arrays.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgsn.errors import FgsnError
from fgsn.files import read_text
from fgsn.geometry.camera import PARAMETER_COUNTS, Camera

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ORIGIN = np.array([1.0, 0, 0, 0, 0, 0, 0])
_KEYPOINT = np.dtype([("xy", "<f8", 2), ("point", "<i8")])  # 2^64 - 1 for none, read as -1
_POINT = np.dtype([("id", "<i8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")])


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """The contents of the three files, with COLMAP's identifiers and pixel centres at +0.5."""

    cameras: dict[int, Camera]
    image_ids: Integers
    names: list[str]
    poses: Floats
    """(N, 7) qw qx qy qz tx ty tz"""
    camera_ids: Integers
    first_keypoint: Integers
    """(N + 1,) first row of each image in `keypoints`."""
    keypoints: Floats
    """(P, 2)"""
    keypoint_ids: Integers
    """(P,) map point of each keypoint, -1 for none."""
    point_ids: Integers
    points: Floats
    colours: NDArray[np.uint8]
    track_point: Integers
    """(T,) row of `points`."""
    track_image_id: Integers
    track_keypoint: Integers
    """(T,) index of the keypoint within its image."""


class _Bytes:
    """A binary file that is read sequentially."""

    def __init__(self, path: Path) -> None:
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise FgsnError(f"cannot read {path}: {error.strerror}") from None
        self.at = 0

    def take(self, layout: str) -> tuple[int | float, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def count(self) -> int:
        return int(self.take("Q")[0])

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        start, self.at = self.at, end + 1
        return self.data[start:end].decode()

    def array(self, kind: np.dtype[np.void], count: int) -> NDArray[np.void]:
        values = np.frombuffer(self.data, kind, count, self.at) if count else np.empty(0, kind)
        self.at += values.nbytes
        return values


@contextmanager
def _opened(path: Path) -> Iterator[_Bytes]:
    """Open a file that must be read to its end; errors name the file and the position."""
    file = _Bytes(path)
    try:
        yield file
        if file.at != len(file.data):
            raise ValueError
    except (struct.error, ValueError, OverflowError, MemoryError):
        size = len(file.data)
        raise FgsnError(f"{path} is damaged or truncated: invalid data after byte {file.at} of {size}") from None
    except FgsnError as error:
        raise FgsnError(f"{path}: {error}") from None


def read_binary(folder: Path) -> ModelFiles:
    """Read cameras.bin, images.bin and points3D.bin; FgsnError if a file is missing or damaged."""
    cameras, models = {}, list(PARAMETER_COUNTS)
    images, names, seen = [], [], []
    with _opened(folder / "images.bin") as file:
        for _ in range(file.count()):
            images.append(file.take("I7dI"))
            names.append(file.text())
            seen.append(file.array(_KEYPOINT, file.count()))
    used = {int(image[8]) for image in images}
    with _opened(folder / "cameras.bin") as file:
        for _ in range(file.count()):
            number, model, width, height = (int(value) for value in file.take("IiQQ"))
            if model == len(models) and number not in used:  # EQUIRECTANGULAR, from which views may have been cut
                file.take("2d")
                continue
            if not 0 <= model < len(models):
                raise FgsnError(f"camera {number} has the unknown model {model}")
            parameters = file.take(f"{PARAMETER_COUNTS[models[model]]}d")
            cameras[number] = Camera.from_parameters(width, height, parameters, models[model])
    with _opened(folder / "points3D.bin") as file:
        count, start, size = file.count(), file.at, _POINT.itemsize
        length, data, heads, tracks = struct.Struct("<Q"), file.data, [], []
        for _ in range(count):
            end = start + size + 8 * length.unpack_from(data, start + size - 8)[0]
            heads.append(data[start : start + size])
            tracks.append(data[start + size : end])
            start = file.at = end
    points = np.frombuffer(b"".join(heads), _POINT)
    track = np.frombuffer(b"".join(tracks), "<u4").reshape(-1, 2).astype(np.int64)
    return _joined(
        cameras, images, names, [(file["xy"], file["point"]) for file in seen], points["id"].astype(np.int64),
        points["xyz"].astype(np.float64), points["rgb"].astype(np.uint8), points["track"].astype(np.int64), track,
    )  # fmt: skip


def read_text_model(folder: Path) -> ModelFiles:
    """Read cameras.txt, images.txt and points3D.txt; FgsnError if a file is missing or damaged."""
    cameras: dict[int, Camera] = {}

    def camera(line: str, _: Iterator[tuple[int, str]]) -> None:
        number, model, width, height, *parameters = line.split()
        if model not in PARAMETER_COUNTS and not any(image[8] == _integer(number) for image in images):
            return  # such as the panorama from which the views were cut
        cameras[_integer(number)] = Camera.from_parameters(int(width), int(height), np.array(parameters, float), model)

    images, names, seen = [], [], []

    def image(line: str, lines: Iterator[tuple[int, str]]) -> None:
        fields = line.split(maxsplit=9)
        body = np.fromiter(map(float, next(lines, (0, ""))[1].split()), np.float64).reshape(-1, 3)
        images.append((_integer(fields[0]), *map(float, fields[1:8]), _integer(fields[8])))
        names.append(fields[9].strip())
        points = np.where(body[:, 2] == 2.0**64, -1, body[:, 2])  # no point, as an unsigned number
        if (np.abs(points) >= 2.0**63).any():
            raise ValueError
        seen.append((body[:, :2], points.astype(np.int64)))

    ids, positions, colours, tracks = [], [], [], []

    def point(line: str, _: Iterator[tuple[int, str]]) -> None:
        fields = line.split(maxsplit=8)
        ids.append(_integer(fields[0]))
        positions.append((float(fields[1]), float(fields[2]), float(fields[3])))
        colours.append(tuple(_integer(field, 256) for field in fields[4:7]))
        float(fields[7])
        tracks.append(np.fromiter(map(int, fields[8].split() if len(fields) > 8 else ()), np.int64).reshape(-1, 2))

    for name, read in (("images", image), ("cameras", camera), ("points3D", point)):
        _each_line(folder / f"{name}.txt", read)
    return _joined(
        cameras, images, names, seen, np.array(ids, np.int64), np.array(positions, np.float64).reshape(-1, 3),
        np.array(colours, np.uint8).reshape(-1, 3), np.array([len(track) for track in tracks], np.int64),
        np.concatenate([np.zeros((0, 2), np.int64), *tracks]),
    )  # fmt: skip


def read_frames(folder: Path, kind: str) -> dict[int, tuple[Floats, Floats]]:
    """The poses `sensor_from_rig` and `rig_from_world` of every image, as qw qx qy qz tx ty tz, by its identifier.

    `kind` is `bin` or `txt`. Empty for models without rigs and frames, and without images whose camera has no pose in
    its rig. Raises FgsnError if a file is damaged.
    """
    rigs, frames = folder / f"rigs.{kind}", folder / f"frames.{kind}"
    if not (rigs.is_file() and frames.is_file()):
        return {}
    sensors: dict[tuple[int, int], Floats] = {}  # by rig and camera
    found: dict[int, tuple[Floats, Floats]] = {}

    def rig(words: _Words) -> None:
        number, count = words.number(), words.number()
        for sensor in range(count):  # the first is the origin of the rig
            camera, identifier = words.sensor()
            pose = _ORIGIN if sensor == 0 else words.pose() if words.flag() else None
            if camera and pose is not None:
                sensors[number, identifier] = pose

    def frame(words: _Words) -> None:
        words.number()
        number, pose = words.number(), words.pose()
        for _ in range(words.number()):
            camera, identifier = words.sensor()
            image = words.number(large=True)
            if camera and (number, identifier) in sensors:
                found[image] = sensors[number, identifier], pose

    for path, read in ((rigs, rig), (frames, frame)):
        if kind == "txt":
            _each_line(path, lambda line, _, read=read: read(_TextWords(line)))
        else:
            with _opened(path) as file:
                for _ in range(file.count()):
                    read(_BinaryWords(file))
    return found


class _BinaryWords:
    """The entries of rigs.bin and frames.bin, which differ from those of the text files in their numbers of bytes."""

    def __init__(self, file: _Bytes) -> None:
        self.file = file

    def number(self, large: bool = False) -> int:
        return int(self.file.take("Q" if large else "I")[0])

    def flag(self) -> bool:
        return bool(self.file.take("B")[0])

    def pose(self) -> Floats:
        return np.array(self.file.take("7d"))

    def sensor(self) -> tuple[bool, int]:
        kind, identifier = self.file.take("iI")
        return kind == 0, int(identifier)


class _TextWords:
    """The same entries in a line of a text file."""

    def __init__(self, line: str) -> None:
        self.words = iter(line.split())

    def number(self, large: bool = False) -> int:
        return _integer(next(self.words, ""))

    def flag(self) -> bool:
        return self.number() != 0

    def pose(self) -> Floats:
        return np.array([float(next(self.words, "")) for _ in range(7)])

    def sensor(self) -> tuple[bool, int]:
        return next(self.words, "") == "CAMERA", self.number()


_Words = _BinaryWords | _TextWords


def _integer(text: str, end: int = 2**53) -> int:
    """A non-negative integer; identifiers are stored in float64 arrays, which are exact below 2^53."""
    value = int(text)
    if not 0 <= value < end:
        raise ValueError
    return value


def _each_line(path: Path, read: Callable[[str, Iterator[tuple[int, str]]], None]) -> None:
    """Pass every line that is not a comment to `read`, with an iterator of the lines after it."""
    lines = iter(enumerate(read_text(path).split("\n"), 1))
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        try:
            read(line, lines)
        except (ValueError, IndexError, OverflowError):
            raise FgsnError(f"{path}:{number}: this line is not an entry of a COLMAP model: {line[:60]}") from None
        except FgsnError as error:
            raise FgsnError(f"{path}:{number}: {error}") from None


def _joined(
    cameras: dict[int, Camera], images: list[tuple[int | float, ...]], names: list[str],
    seen: list[tuple[Floats, Integers]], point_ids: Integers, points: Floats, colours: NDArray[np.uint8],
    track_lengths: Integers, track: Integers,
) -> ModelFiles:  # fmt: skip
    table = np.array(images, np.float64).reshape(-1, 9)
    return ModelFiles(
        cameras=cameras,
        image_ids=table[:, 0].astype(np.int64),
        names=names,
        poses=table[:, 1:8],
        camera_ids=table[:, 8].astype(np.int64),
        first_keypoint=np.cumsum([0, *(len(ids) for _, ids in seen)]),
        keypoints=np.concatenate([np.zeros((0, 2)), *(pixels for pixels, _ in seen)]),
        keypoint_ids=np.concatenate([np.zeros(0, np.int64), *(ids for _, ids in seen)]),
        point_ids=point_ids,
        points=points,
        colours=colours,
        track_point=np.repeat(np.arange(len(points)), track_lengths),
        track_image_id=track[:, 0],
        track_keypoint=track[:, 1],
    )

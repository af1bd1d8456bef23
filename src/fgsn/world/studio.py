"""Renders the images of a town and writes their files; town and scenes are built once per process."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgsn.data.correspondences import centre_distance, spread, write_correspondences
from fgsn.data.images import read_image
from fgsn.files import atomic_write
from fgsn.world.conditions import LOOKS
from fgsn.world.drives import (
    AHEAD,
    MAP,
    MOVED_PAIRS,
    PAIRS,
    SENSOR,
    Drive,
    Viewing,
    make_camera,
    make_drive,
    make_scene,
    moving_things,
    stream,
)
from fgsn.world.pairs import MapPiece, SceneCamera, exact_correspondences, map_points
from fgsn.world.render import Rendering, render
from fgsn.world.scene import Scene
from fgsn.world.town import Town, build_town

REFERENCE = "reference"
MAP_POINTS = 300  # per place, at most
FEWEST_POINTS, LEAST_SPREAD = 20, 0.25  # of a pair of two places
_NEIGHBOURS = 7  # places before and after that may see a map point


@dataclass(frozen=True)
class World:
    """Parameters of a town; equal ones share their geometry within a process."""

    root: Path
    seed: int
    places: int
    size: tuple[int, int]
    points: int
    splits: tuple[str, ...]
    """'training' or 'validation' for every place."""
    viewing: Viewing = AHEAD


def place_name(place: int) -> str:
    """The name of a place."""
    return f"place_{place:04d}"


def image_name(drive: str, place: int) -> str:
    """The path of an image relative to images/."""
    return f"{drive}/c0/{place_name(place)}.jpg"


@lru_cache(maxsize=1)
def town_of(seed: int, places: int) -> Town:
    """The town, built once per process."""
    return build_town(seed, places)


@lru_cache(maxsize=1)
def drive_of(seed: int, places: int, name: str, viewing: Viewing = AHEAD) -> Drive:
    """A drive, built once per process."""
    return make_drive(town_of(seed, places), seed, name, places, viewing)


@lru_cache(maxsize=2)  # the reference and the current condition
def _scene_of(seed: int, places: int, name: str) -> Scene:
    return make_scene(town_of(seed, places), seed, drive_of(seed, places, name))


def camera_at(
    seed: int, places: int, size: tuple[int, int], name: str, place: int, viewing: Viewing = AHEAD
) -> SceneCamera:
    """The camera of a drive at a place, in the scene at that moment."""
    scene, drive = _scene_of(seed, places, name), drive_of(seed, places, name, viewing)
    mesh, parts = moving_things(town_of(seed, places), seed, drive, place, len(scene.parts))
    return SceneCamera(scene.with_moving(mesh, parts), make_camera(size), drive.camera_from_world[place])


def render_image(
    seed: int, places: int, size: tuple[int, int], name: str, place: int, viewing: Viewing = AHEAD
) -> tuple[SceneCamera, Rendering]:
    """Render the image of a drive at a place."""
    camera = camera_at(seed, places, size, name, place, viewing)
    rng = stream(seed, SENSOR, name, place)
    return camera, render(camera.scene, LOOKS[name], town_of(seed, places).lamps, camera.camera, camera.pose, rng)


def image_files(world: World, drive: str, place: int) -> Mapping[str, Path]:
    """Paths of the files of one image."""
    flat = f"{drive}_c0_{place_name(place)}.png"
    split = world.root / "segmented_images" / world.splits[place]
    files = {
        "depth": world.root / "depth" / drive / "c0" / f"{place_name(place)}.png",
        "img": split / "imgs" / flat,
        "anno": split / "annos" / flat,
        "image": world.root / "images" / image_name(drive, place),
    }
    if drive != REFERENCE:
        name = f"correspondence_{REFERENCE}_{drive}_{place_name(place)}.mat"
        files["pairs"] = world.root / "correspondence_data" / name
    return files


def make_image(world: World, drive: str, place: int) -> None:
    """Render one image and write it with its depth, labels and correspondences, unless all files exist."""
    files = image_files(world, drive, place)
    if all(file.exists() for file in files.values()):
        return
    camera, rendering = render_image(world.seed, world.places, world.size, drive, place, world.viewing)
    metric = np.where(rendering.depth < 655, rendering.depth, 0)
    _save(files["depth"], np.rint(metric * 100).astype(np.uint16), "PNG", compress_level=1)
    _save(files["anno"], rendering.labels, "PNG", compress_level=6)
    _save(files["img"], rendering.image, "PNG", compress_level=1)
    _save(files["image"], rendering.image, "JPEG", quality=92)
    if drive != REFERENCE:
        reference = camera_at(world.seed, world.places, world.size, REFERENCE, place, world.viewing)
        rng = stream(world.seed, PAIRS, drive, place)
        pixels, others = exact_correspondences(reference, camera, world.points, rng)
        names = image_name(REFERENCE, place), image_name(drive, place)
        write_correspondences(files["pairs"], *names, pixels, others, centre_distance(pixels, camera.camera.size))


def moved_places(place: int, places: int, count: int) -> list[int]:
    """The places before and behind a place that `count` moved pairs join it with, nearest first."""
    others = (place + (step // 2 + 1) * (1 if step % 2 else -1) for step in range(count))
    return [other for other in others if 0 <= other < places]


def moved_pair_file(world: World, drive: str, place: int, other: int) -> Path:
    """The correspondence file of the reference image of a place and the image of a drive at another place."""
    name = f"correspondence_{REFERENCE}_{drive}_{place_name(place)}_to_{other:04d}.mat"
    return world.root / "correspondence_data" / name


def make_moved_pairs(world: World, drive: str, place: int, count: int) -> list[str]:
    """Write correspondences of a reference image with the images of a drive at `count` other places.

    Returns:
        Names of the files: those of pairs that share enough points.
    """
    written = []
    reference = camera_at(world.seed, world.places, world.size, REFERENCE, place, world.viewing)
    for other in moved_places(place, world.places, count):
        file = moved_pair_file(world, drive, place, other)
        if not file.exists():
            target = camera_at(world.seed, world.places, world.size, drive, other, world.viewing)
            rng = stream(world.seed, MOVED_PAIRS, drive, place, other)
            pixels, others = exact_correspondences(reference, target, world.points, rng)
            if len(pixels) < FEWEST_POINTS or min(spread(each, world.size) for each in (pixels, others)) < LEAST_SPREAD:
                continue
            names = image_name(REFERENCE, place), image_name(drive, other)
            write_correspondences(file, *names, pixels, others, centre_distance(pixels, world.size))
        written.append(file.name)
    return written


def make_map_piece(world: World, place: int) -> MapPiece:
    """Map points of one place of the reference drive; its image must exist."""
    near = range(max(0, place - _NEIGHBOURS), min(world.places, place + _NEIGHBOURS + 1))
    town = world.seed, world.places, world.size, REFERENCE
    cameras = {other: camera_at(*town, other, world.viewing) for other in near}
    image = read_image(world.root / "images" / image_name(REFERENCE, place))
    return map_points(image, place, cameras, MAP_POINTS, stream(world.seed, MAP, REFERENCE, place))


def _save(path: Path, pixels: NDArray[np.generic], kind: str, **options: int) -> None:
    with atomic_write(path) as aside:
        Image.fromarray(pixels).save(aside, kind, **options)

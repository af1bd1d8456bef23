"""Renders the images of a town and writes their files; town and scenes are built once per process."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgsn.config import WorldSettings
from fgsn.data.correspondences import centre_distance, spread, write_correspondences
from fgsn.data.images import read_image
from fgsn.data.prepare import split_places
from fgsn.files import atomic_write
from fgsn.geometry.pose import Pose
from fgsn.world import drives
from fgsn.world.conditions import LOOKS
from fgsn.world.drives import (
    make_camera,
    make_drive,
    make_scene,
    moving_things,
    stream,
)
from fgsn.world.pairs import MapPiece, exact_correspondences, map_points
from fgsn.world.render import Rendering, render
from fgsn.world.scene import Scene, SceneCamera
from fgsn.world.town import Town, build_town

REFERENCE = "reference"
MAP_POINTS = 300  # per place, at most
FEWEST_POINTS, LEAST_SPREAD = 20, 0.25  # of a pair of two places
VALIDATION_SHARE, SPLIT_SEED = 0.15, 0  # as `fgsn prepare` splits by default
_NEIGHBOURS = 7  # places before and after that may see a map point


def place_name(place: int) -> str:
    """The name of a place."""
    return f"place_{place:04d}"


def image_name(drive: str, place: int) -> str:
    """The path of an image relative to images/."""
    return f"{drive}/c0/{place_name(place)}.jpg"


@lru_cache(maxsize=1)
def _town_of(seed: int, places: int) -> Town:
    return build_town(seed, places)


@lru_cache(maxsize=2)  # the reference and the current condition
def _scene_of(seed: int, places: int, drive: str) -> Scene:
    return make_scene(_town_of(seed, places), seed, drive)


@lru_cache(maxsize=1)
def _validation_places(places: int) -> frozenset[str]:
    return frozenset(split_places(map(place_name, range(places)), VALIDATION_SHARE, SPLIT_SEED)[1])


@lru_cache(maxsize=1)
def drive_poses(world: WorldSettings, drive: str) -> Pose:
    """Poses `camera_from_world` of a drive, one per place; computed once per process."""
    town = _town_of(world.seed, world.places)
    return make_drive(town, world.seed, drive, world.places, world.heading, world.stray)


def camera_at(world: WorldSettings, drive: str, place: int) -> SceneCamera:
    """The camera of a drive at a place, in the scene at that moment."""
    town, scene = _town_of(world.seed, world.places), _scene_of(world.seed, world.places, drive)
    mesh, parts = moving_things(town, world.seed, drive, place, len(scene.parts))
    return SceneCamera(scene.with_moving(mesh, parts), make_camera(world.size), drive_poses(world, drive)[place])


def render_image(world: WorldSettings, drive: str, place: int) -> tuple[SceneCamera, Rendering]:
    """Render the image of a drive at a place."""
    camera, lamps = camera_at(world, drive, place), _town_of(world.seed, world.places).lamps
    return camera, render(camera, LOOKS[drive], lamps, stream(world.seed, drives.SENSOR, drive, place))


def image_files(world: WorldSettings, drive: str, place: int) -> Mapping[str, Path]:
    """Paths of the files of one image."""
    flat = f"{drive}_c0_{place_name(place)}.png"
    held_out = place_name(place) in _validation_places(world.places)
    split = world.out / "segmented_images" / ("validation" if held_out else "training")
    files = {
        "depth": world.out / "depth" / drive / "c0" / f"{place_name(place)}.png",
        "img": split / "imgs" / flat,
        "anno": split / "annos" / flat,
        "image": world.out / "images" / image_name(drive, place),
    }
    if drive != REFERENCE:
        name = f"correspondence_{REFERENCE}_{drive}_{place_name(place)}.mat"
        files["pairs"] = world.out / "correspondence_data" / name
    return files


def make_image(world: WorldSettings, drive: str, place: int) -> None:
    """Render one image and write it with its depth, labels and correspondences, unless all files exist."""
    files = image_files(world, drive, place)
    if all(file.exists() for file in files.values()):
        return
    camera, rendering = render_image(world, drive, place)
    metric = np.where(rendering.depth < 655, rendering.depth, 0)
    _save(files["depth"], np.rint(metric * 100).astype(np.uint16), "PNG", compress_level=1)
    _save(files["anno"], rendering.labels, "PNG", compress_level=6)
    _save(files["img"], rendering.image, "PNG", compress_level=1)
    _save(files["image"], rendering.image, "JPEG", quality=92)
    if drive != REFERENCE:
        rng = stream(world.seed, drives.PAIRS, drive, place)
        pixels, others = exact_correspondences(camera_at(world, REFERENCE, place), camera, world.points, rng)
        names = image_name(REFERENCE, place), image_name(drive, place)
        write_correspondences(files["pairs"], *names, pixels, others, centre_distance(pixels, world.size))


def moved_places(place: int, places: int, count: int) -> list[int]:
    """The places before and behind a place that `count` moved pairs join it with, nearest first."""
    others = (place + (step // 2 + 1) * (1 if step % 2 else -1) for step in range(count))
    return [other for other in others if 0 <= other < places]


def make_moved_pairs(world: WorldSettings, drive: str, place: int) -> list[str]:
    """Write correspondences of a reference image with the images of a drive at `world.moved_pairs` other places.

    Returns the names of the files of pairs that share enough points.
    """
    written = []
    reference = camera_at(world, REFERENCE, place)
    for other in moved_places(place, world.places, world.moved_pairs):
        name = f"correspondence_{REFERENCE}_{drive}_{place_name(place)}_to_{other:04d}.mat"
        file = world.out / "correspondence_data" / name
        if not file.exists():
            rng = stream(world.seed, drives.MOVED_PAIRS, drive, place, other)
            pixels, others = exact_correspondences(reference, camera_at(world, drive, other), world.points, rng)
            if len(pixels) < FEWEST_POINTS or min(spread(each, world.size) for each in (pixels, others)) < LEAST_SPREAD:
                continue
            names = image_name(REFERENCE, place), image_name(drive, other)
            write_correspondences(file, *names, pixels, others, centre_distance(pixels, world.size))
        written.append(name)
    return written


def make_map_piece(world: WorldSettings, place: int) -> MapPiece:
    """Map points of one place of the reference drive; its image must exist."""
    near = range(max(0, place - _NEIGHBOURS), min(world.places, place + _NEIGHBOURS + 1))
    cameras = {other: camera_at(world, REFERENCE, other) for other in near}
    image = read_image(world.out / "images" / image_name(REFERENCE, place))
    return map_points(image, place, cameras, MAP_POINTS, stream(world.seed, drives.MAP, REFERENCE, place))


def _save(path: Path, pixels: NDArray[np.generic], kind: str, **options: int) -> None:
    with atomic_write(path) as aside:
        Image.fromarray(pixels).save(aside, kind, **options)

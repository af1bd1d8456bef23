"""Drives: camera poses at every place, and the parked and moving things of that day."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from fgsn.config import CONDITIONS
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.world.conditions import LOOKS, Condition
from fgsn.world.meshes import Mesh, MeshBuilder, Part
from fgsn.world.scene import RayMesh, Scene
from fgsn.world.town import KERB, KERB_HEIGHT, LANE, PAVED, SPACING, Town
from fgsn.world.traffic import car, person

DRIVES = ("reference", *CONDITIONS, "reference2")
CAMERA_HEIGHT = 1.65
# Purposes of random generators, in addition to those in town.py.
TRAJECTORY, PARKED, MOVING, SENSOR, PAIRS, MAP, NOISE, MOVED_PAIRS, STRAY = range(10, 19)
STRAY_AHEAD, STRAY_TURN = 3.0, 20.0  # metres, degrees; to the left it is one lane


class Viewing(NamedTuple):
    """Where the cameras of a town stand and look; see the settings of these names."""

    heading: float = 0.0
    stray: float = 0.0


AHEAD = Viewing()


@dataclass(frozen=True, eq=False)
class Drive:
    """One traversal of the street."""

    name: str
    look: Condition
    camera_from_world: Pose
    """(N) one pose per place."""


def stream(seed: int, purpose: int, drive: str, *places: int) -> np.random.Generator:
    """The random generator of a purpose, drive and place (or two places)."""
    return np.random.default_rng((seed, purpose, DRIVES.index(drive), *(places or (0,))))


def make_camera(size: tuple[int, int]) -> Camera:
    """The camera of all drives; its horizontal field of view is about 65 degrees."""
    width, height = size
    focal = 0.78 * width
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def make_drive(town: Town, seed: int, name: str, places: int, viewing: Viewing = AHEAD) -> Drive:
    """Drive along the street, smoothly swaying by decimetres and a few degrees relative to the other drives.

    The images of all drives but the reference stray by the share `viewing.stray` of a lane, independently.
    """
    rng = stream(seed, TRAJECTORY, name)
    sway = np.zeros((places, 6))
    deviation = np.array([0.5, 0.35, 0.04, 1.6, 0.7, 0.5])  # along, left, up in metres; yaw, pitch, roll in degrees
    state = rng.normal(size=6)
    for place in range(places):
        sway[place] = np.clip(state, -2.2, 2.2) * deviation
        state = 0.7 * state + (1 - 0.7**2) ** 0.5 * rng.normal(size=6)
    reach = viewing.stray * np.array([STRAY_AHEAD, LANE, STRAY_TURN]) * (name != DRIVES[0])
    stray = reach * stream(seed, STRAY, name).uniform([-1, 0, -1], 1, (places, 3))
    along = np.arange(places) * SPACING + sway[:, 0] + stray[:, 0]
    points, street = town.route.at(along, -LANE / 2 + sway[:, 1] + stray[:, 1])
    centres = np.column_stack([points, CAMERA_HEIGHT + sway[:, 2]])
    # The car points to where the street is a few metres ahead.
    ahead, _ = town.route.at(along + 6.0, -LANE / 2 + stray[:, 1])
    yaw = np.arctan2(*(ahead - points).T[::-1]) * 0.5 + street * 0.5 + np.deg2rad(sway[:, 3] + stray[:, 2])
    tilt = np.deg2rad(sway[:, 4:])
    world_from_car = Rotation.from_euler("ZYX", np.column_stack([yaw, tilt]))
    car_from_camera = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # x right, y down, z ahead
    turned = Rotation.from_euler("Z", -viewing.heading, degrees=True).as_matrix() @ car_from_camera
    rotation = np.swapaxes(world_from_car.as_matrix() @ turned, 1, 2)
    return Drive(name, LOOKS[name], Pose.from_centre(rotation, centres))


def make_scene(town: Town, seed: int, drive: Drive) -> Scene:
    """The town on the day of a drive, with its leaves and parked cars."""
    rng = stream(seed, PARKED, drive.name)
    standing = town.mesh.take(town.mesh.keep < drive.look.leaves)
    build = MeshBuilder(first=len(town.parts))
    for place in town.parking:
        taken, shift, turn = rng.random(), rng.normal(0, 0.3), rng.normal(0, 0.02)
        if taken < drive.look.parked:
            car(build, place.at(shift, rng.normal(0, 0.08), turn), rng)
    parked = build.mesh()
    joined = Mesh(*(np.concatenate(both) for both in zip(vars(standing).values(), vars(parked).values(), strict=True)))
    return Scene(RayMesh(joined), town.parts + build.parts)


def moving_things(town: Town, seed: int, drive: Drive, place: int, first: int) -> tuple[Mesh, list[Part]]:
    """Cars and people around a place at the moment of its image; `first` is the number of their first part."""
    rng = stream(seed, MOVING, drive.name, place)
    build = MeshBuilder(first=first)
    here = place * SPACING
    if rng.random() < 0.55:
        car(build, town.route.frame(here + rng.uniform(12, 60), LANE / 2 + rng.normal(0, 0.15), np.pi), rng, lit=True)
    if rng.random() < 0.3:
        car(build, town.route.frame(here + rng.uniform(14, 45), -LANE / 2 + rng.normal(0, 0.15)), rng, lit=True)
    for _ in range(rng.poisson(2.5)):
        hand = rng.choice([-1, 1])
        at = town.route.frame(
            here + rng.uniform(5, 35), hand * rng.uniform(KERB + 0.7, PAVED - 0.4), rng.choice([0, np.pi])
        )
        person(build, at.at(0, 0, rng.normal(0, 0.2), KERB_HEIGHT), rng)
    return build.mesh(), build.parts

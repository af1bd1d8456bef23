"""Drives: camera poses at every place, and the parked and moving things of that day."""

import numpy as np
from scipy.spatial.transform import Rotation

from fgsn.config import CONDITIONS
from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.world.conditions import LOOKS
from fgsn.world.meshes import Mesh, MeshBuilder, Part
from fgsn.world.scene import RayMesh, Scene
from fgsn.world.town import KERB, KERB_HEIGHT, LANE, PAVED, SPACING, Town
from fgsn.world.traffic import car, person

DRIVES = ("reference", *CONDITIONS, "reference2")
CAMERA_HEIGHT = 1.65
# Purposes of random generators, in addition to those in town.py.
TRAJECTORY, PARKED, MOVING, SENSOR, PAIRS, MAP, NOISE, MOVED_PAIRS, STRAY = range(10, 19)
STRAY_AHEAD, STRAY_TURN = 3.0, 20.0  # metres, degrees; to the left it is one lane


def stream(seed: int, purpose: int, drive: str, *places: int) -> np.random.Generator:
    """The random generator of a purpose, drive and place (or two places)."""
    return np.random.default_rng((seed, purpose, DRIVES.index(drive), *(places or (0,))))


def make_camera(size: tuple[int, int]) -> Camera:
    """The camera of all drives; its horizontal field of view is about 65 degrees."""
    width, height = size
    focal = 0.78 * width
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def make_drive(town: Town, seed: int, drive: str, places: int, heading: float = 0.0, stray: float = 0.0) -> Pose:
    """Poses `camera_from_world` of a drive, one per place.

    The car sways smoothly by decimetres and a few degrees relative to the other drives. The camera looks `heading`
    degrees to the right of the driving direction. Images of all drives but the reference stray by the share `stray`
    of a lane, 3 m and 20 degrees.
    """
    rng = stream(seed, TRAJECTORY, drive)
    sway = np.zeros((places, 6))
    deviation = np.array([0.5, 0.35, 0.04, 1.6, 0.7, 0.5])  # along, left, up in metres; yaw, pitch, roll in degrees
    state = rng.normal(size=6)
    for place in range(places):
        sway[place] = np.clip(state, -2.2, 2.2) * deviation
        state = 0.7 * state + (1 - 0.7**2) ** 0.5 * rng.normal(size=6)
    reach = stray * np.array([STRAY_AHEAD, LANE, STRAY_TURN]) * (drive != DRIVES[0])
    strayed = reach * stream(seed, STRAY, drive).uniform([-1, 0, -1], 1, (places, 3))
    along = np.arange(places) * SPACING + sway[:, 0] + strayed[:, 0]
    points, street = town.route.at(along, -LANE / 2 + sway[:, 1] + strayed[:, 1])
    centres = np.column_stack([points, CAMERA_HEIGHT + sway[:, 2]])
    # The car points to where the street is a few metres ahead.
    ahead, _ = town.route.at(along + 6.0, -LANE / 2 + strayed[:, 1])
    yaw = np.arctan2(*(ahead - points).T[::-1]) * 0.5 + street * 0.5 + np.deg2rad(sway[:, 3] + strayed[:, 2])
    tilt = np.deg2rad(sway[:, 4:])
    world_from_car = Rotation.from_euler("ZYX", np.column_stack([yaw, tilt]))
    car_from_camera = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # x right, y down, z ahead
    turned = Rotation.from_euler("Z", -heading, degrees=True).as_matrix() @ car_from_camera
    rotation = np.swapaxes(world_from_car.as_matrix() @ turned, 1, 2)
    return Pose.from_centre(rotation, centres)


def make_scene(town: Town, seed: int, drive: str) -> Scene:
    """The town on the day of a drive, with its leaves and parked cars."""
    rng, look = stream(seed, PARKED, drive), LOOKS[drive]
    standing = town.mesh.take(town.mesh.keep < look.leaves)
    build = MeshBuilder(first=len(town.parts))
    for place in town.parking:
        taken, shift, turn = rng.random(), rng.normal(0, 0.3), rng.normal(0, 0.02)
        if taken < look.parked:
            car(build, place.at(shift, rng.normal(0, 0.08), turn), rng)
    parked = build.mesh()
    joined = Mesh(*(np.concatenate(both) for both in zip(vars(standing).values(), vars(parked).values(), strict=True)))
    return Scene(RayMesh(joined), town.parts + build.parts)


def moving_things(town: Town, seed: int, drive: str, place: int, first: int) -> tuple[Mesh, list[Part]]:
    """Cars and people around a place at the moment of its image; `first` is the number of their first part."""
    rng = stream(seed, MOVING, drive, place)
    build = MeshBuilder(first=first)
    here = place * SPACING
    if rng.random() < 0.55:
        car(build, town.route.frame(here + rng.uniform(12, 60), LANE / 2 + rng.normal(0, 0.15), np.pi), rng, lit=True)
    if rng.random() < 0.3:
        car(build, town.route.frame(here + rng.uniform(14, 45), -LANE / 2 + rng.normal(0, 0.15)), rng, lit=True)
    for _ in range(rng.poisson(2.5)):
        hand = rng.choice([-1, 1])
        along, left = here + rng.uniform(5, 35), hand * rng.uniform(KERB + 0.7, PAVED - 0.4)
        at = town.route.frame(along, left, rng.choice([0, np.pi]))
        person(build, at.at(0, 0, rng.normal(0, 0.2), KERB_HEIGHT), rng)
    return build.mesh(), build.parts

"""Street furniture: lamps, signs, traffic lights, fences, walls, benches, hydrants, cabinets."""

import numpy as np

from fgsn.world.meshes import LocalFrame, MeshBuilder
from fgsn.world.texture import Array

LAMP_HEIGHT = 6.2
LAMP_REACH = 1.6


def lamp(build: MeshBuilder, frame: LocalFrame, colour: tuple[float, float, float]) -> tuple[float, float, float]:
    """Add a street lamp whose arm points along local -y; returns the world position of its light."""
    pole = build.part("pole", colour)
    build.tube(pole, frame, (0, 0, 0), (0, 0, 1.1), 0.11, 0.11, 8)
    build.tube(pole, frame, (0, 0, 1.1), (0, 0, LAMP_HEIGHT), 0.075, 0.05, 8)
    build.tube(pole, frame, (0, 0, LAMP_HEIGHT), (0, -LAMP_REACH, LAMP_HEIGHT + 0.25), 0.05, 0.04, 6)
    y, z = -LAMP_REACH, LAMP_HEIGHT + 0.2
    build.box(pole, frame, (-0.13, y - 0.3, z), (0.13, y + 0.3, z + 0.12))
    bulb = build.part("bulb", (0.7, 0.7, 0.65))
    build.box(bulb, frame, (-0.1, y - 0.26, z - 0.05), (0.1, y + 0.26, z))
    x_light, y_light, z_light = frame.place((0, y, z - 0.2))
    return float(x_light), float(y_light), float(z_light)


def sign(build: MeshBuilder, frame: LocalFrame, kind: int, rng: np.random.Generator) -> None:
    """Add a traffic sign that faces local -x. Kinds: 0 round, 1 triangle, 2 square, 3 board with arrows, 4 octagon."""
    pole = build.part("pole", (0.35, 0.36, 0.37))
    height = float(rng.uniform(2.3, 2.8))
    build.tube(pole, frame, (0, 0, 0), (0, 0, height + 0.35), 0.035, 0.035, 6)
    sides = {0: 20, 1: 3, 2: 4, 3: 4, 4: 8}[kind]
    radius = 0.62 if kind == 3 else 0.38
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False) + np.pi / 2 + (np.pi / sides if kind != 1 else 0)
    y, z = np.cos(angle) * radius * (1.4 if kind == 3 else 1), np.sin(angle) * radius
    plate = build.part("sign", (1, 1, 1), (float(kind), float(rng.integers(6))))
    back = build.part("metal", (0.3, 0.3, 0.3))
    for part, x in ((plate, -0.05), (back, -0.035)):
        rim = frame.place(np.column_stack([np.full(sides, x), y, height + z]))
        middle = np.broadcast_to(frame.place((x, 0, height)), rim.shape)
        uv = np.column_stack([y, z]) / 0.38
        corners = np.stack([middle, rim, np.roll(rim, -1, axis=0)], axis=1)
        build.triangles(part, corners, np.stack([np.zeros_like(uv), uv, np.roll(uv, -1, axis=0)], axis=1))


def traffic_light(build: MeshBuilder, frame: LocalFrame) -> None:
    """Add a traffic light that faces local -x."""
    pole = build.part("pole", (0.10, 0.11, 0.11))
    build.tube(pole, frame, (0, 0, 0), (0, 0, 3.2), 0.06, 0.06, 8)
    build.box(build.part("traffic light", (0.02, 0.02, 0.02)), frame, (-0.25, -0.17, 2.3), (-0.05, 0.17, 3.2))


def picket_fence(build: MeshBuilder, frame: LocalFrame, length: float, rng: np.random.Generator) -> None:
    """Add pickets on two rails along local x, from 0 to `length`."""
    colours = [(0.55, 0.54, 0.50), (0.25, 0.15, 0.08), (0.35, 0.22, 0.12), (0.10, 0.16, 0.10)]
    part = build.part("fence", colours[rng.integers(4)])
    height, step = float(rng.uniform(0.9, 1.3)), float(rng.uniform(0.14, 0.22))
    for z in (0.25, height - 0.25):
        build.box(part, frame, (0, 0, z), (length, 0.04, z + 0.09))
    x = np.arange(0, length - 0.1, step)
    build.quads(part, frame.place(_bars(x, 0.09, -0.03, height + 0.06 * np.sin(x * 2.1))))


def metal_fence(build: MeshBuilder, frame: LocalFrame, length: float) -> None:
    """Add thin bars between posts, along local x."""
    part = build.part("fence", (0.06, 0.08, 0.07))
    x, height = np.arange(0, length, 0.13), 1.5
    build.quads(part, frame.place(_bars(x, 0.025, 0.0, np.full_like(x, height))))
    for z in (0.15, height - 0.15):
        build.box(part, frame, (0, -0.02, z), (length, 0.02, z + 0.05))
    for post in np.arange(0, length, 2.6):
        build.box(part, frame, (post, -0.04, 0), (post + 0.08, 0.04, height + 0.1))


def _bars(x: Array, width: float, y: float, top: Array) -> Array:
    """Upright rectangles (N, 4, 3) from the ground to `top` (N,), which begin at x (N,) and lie in one plane."""
    corners = ((x, 0 * x), (x + width, 0 * x), (x + width, top), (x, top))
    return np.stack([np.column_stack([at, np.full_like(x, y), z]) for at, z in corners], axis=1)


def garden_wall(build: MeshBuilder, frame: LocalFrame, length: float, rng: np.random.Generator) -> None:
    """Add a wall of bricks, stones or plaster with a coping, along local x."""
    style = int(rng.integers(3))
    colour = [(0.50, 0.47, 0.40), (0.35, 0.15, 0.10), (0.36, 0.34, 0.31)][style]
    height = float(rng.uniform(0.7, 2.1))
    part = build.part("wall", np.array(colour) * rng.uniform(0.8, 1.2), (float(style),))
    build.box(part, frame, (0, -0.12, 0), (length, 0.12, height))
    build.box(build.part("wall", (0.4, 0.39, 0.36), (0.0,)), frame, (0, -0.17, height), (length, 0.17, height + 0.09))


def clutter(build: MeshBuilder, frame: LocalFrame, rng: np.random.Generator) -> None:
    """Add one object on the pavement: bollards, a bin, a bench, a cabinet or a hydrant."""
    kind = rng.integers(5)
    if kind == 0:
        part = build.part("pole", (0.12, 0.12, 0.13))
        for x in np.arange(0, 4.5, 1.5):
            build.tube(part, frame, (x, 0, 0), (x, 0, 0.95), 0.07, 0.055, 8)
    elif kind == 1:
        build.tube(build.part("object", (0.05, 0.16, 0.09)), frame, (0, 0, 0), (0, 0, 0.9), 0.24, 0.28, 10)
    elif kind == 2:
        part = build.part("object", (0.28, 0.17, 0.09))
        build.box(part, frame, (0, -0.25, 0.42), (1.7, 0.25, 0.48))
        build.box(part, frame, (0, 0.22, 0.48), (1.7, 0.27, 0.9))
        for x in (0.15, 1.45):
            build.box(part, frame, (x, -0.2, 0), (x + 0.08, 0.2, 0.42))
    elif kind == 3:
        build.box(build.part("object", (0.33, 0.36, 0.33)), frame, (0, 0, 0), (0.9, 0.4, float(rng.uniform(1.0, 1.5))))
    else:
        part = build.part("object", (0.5, 0.04, 0.03))
        build.tube(part, frame, (0, 0, 0), (0, 0, 0.7), 0.13, 0.11, 8)
        build.tube(part, frame, (0, 0, 0.7), (0, 0, 0.82), 0.12, 0.02, 8)

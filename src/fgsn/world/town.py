"""The town: a street with crossings and everything along it, a pure function of its seed and length.

To each side of the centre line: a lane, a parking strip, the kerb, the pavement, then front gardens and houses. Each
side of each block has a character (terrace, villas, park, works).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fgsn.world import buildings, furniture, plants
from fgsn.world.meshes import LocalFrame, Mesh, MeshBuilder, Part
from fgsn.world.route import Route, lay_route

SPACING = 8.0  # metres between places
VIEW = 150.0  # metres of street beyond the last place
LANE, KERB, PAVED = 3.3, 5.5, 8.3  # metres from the middle to the edge of the lane, the kerb, the garden line
SIDE_ROAD = 3.4  # half width of a crossing street
KERB_HEIGHT = 0.13
_SIDE_LENGTH = 75.0
_LAWN = 42.0
# Purposes of random generators; each is seeded with (seed, purpose, number).
BLOCKS, TREES, FAR = 2, 3, 4
Placer = Callable[[float, float], LocalFrame]  # (along, left) -> a frame whose y axis points away from the street


@dataclass(frozen=True, eq=False)
class Town:
    """Everything that is static, and the parking spaces."""

    route: Route
    mesh: Mesh
    parts: list[Part]
    lamps: NDArray[np.float64]
    """(L, 3) positions of the street lights."""
    parking: list[LocalFrame]
    """Parking spaces; x points along the street."""


def build_town(seed: int, places: int) -> Town:
    """Build the town of a seed along a street with `places` places."""
    route = lay_route(seed, places * SPACING + VIEW)
    build, lamps, parking = MeshBuilder(), [], []
    trees = [plants.grow(np.random.default_rng((seed, TREES, i))) for i in range(5)]
    road = build.part("road", (0.075, 0.075, 0.078))
    walk = build.part("sidewalk", (0.30, 0.29, 0.275))
    kerb = build.part("kerb", (0.36, 0.35, 0.34))
    lawn = build.part("lawn", (0.07, 0.115, 0.028))
    side = build.part("side road", (0.075, 0.075, 0.078))
    route.ribbon(build, road, (route.start, route.end), (-KERB, KERB), 0.0)
    edges = np.concatenate([[route.start - SIDE_ROAD], route.crossings])
    for block, (begin, end) in enumerate(pairwise(edges)):
        rng = np.random.default_rng((seed, BLOCKS, block))
        _markings(build, route, begin, end, rng)
        for hand in (-1, 1):
            paved = (begin + SIDE_ROAD, end - SIDE_ROAD)
            route.ribbon(build, walk, paved, (hand * KERB, hand * PAVED), KERB_HEIGHT)
            route.curb(build, kerb, paved, hand * KERB, (0.0, KERB_HEIGHT))
            route.ribbon(build, kerb, paved, (hand * KERB, hand * (KERB + 0.18)), KERB_HEIGHT + 0.004)
            garden = (begin + SIDE_ROAD + 2.6, end - SIDE_ROAD - 2.6)
            route.ribbon(build, lawn, garden, (hand * PAVED, hand * _LAWN), KERB_HEIGHT - 0.02)
            _crossing(build, route, (side, walk, kerb, lawn), end, hand, rng)
            _block(build, route, garden, hand, trees, rng)
            for along in np.arange(begin + 14 + 9 * (hand > 0), end - 10, 27.0):
                colour = (0.07, 0.09, 0.08) if block % 2 else (0.32, 0.33, 0.34)
                at = route.frame(along, hand * (KERB + 0.45), 0.0 if hand > 0 else np.pi)
                lamps.append(furniture.lamp(build, at, colour))
            for along in np.arange(begin + 11, end - 13, 6.2):
                turn = 0.0 if hand < 0 else np.pi
                parking.append(route.frame(along, hand * (KERB - 1.05), turn))
    _far(build, route, seed, lawn)
    mesh = build.mesh()
    # Leaves come last, so that all other triangles have the same numbers in every condition.
    mesh = mesh.take(np.argsort(mesh.keep >= 0, kind="stable"))
    return Town(route, mesh, build.parts, np.array(lamps).reshape(-1, 3), parking)


def _markings(build: MeshBuilder, route: Route, begin: float, end: float, rng: Generator) -> None:
    """Add zebra crossings, stop lines, arrows, patches of newer asphalt and manholes before the crossing at `end`."""
    white = build.part("marking", (0.55, 0.55, 0.52))
    for left in np.arange(-KERB + 0.45, KERB - 0.4, 1.0):
        for along in (end - SIDE_ROAD - 4.2, end + SIDE_ROAD + 1.2):
            route.ribbon(build, white, (along, along + 3.0), (left, left + 0.5), 0.006)
    route.ribbon(build, white, (end - SIDE_ROAD - 6.0, end - SIDE_ROAD - 5.6), (-LANE, -0.1), 0.006)
    for along in rng.uniform(begin + 12, end - 22, 1):
        route.ribbon(build, white, (along, along + 2.4), (-1.75, -1.6), 0.006)
        tip = route.frame(along + 2.4, -1.675)
        build.triangles(white, tip.place([(0, 0.4, 0.006), (0, -0.4, 0.006), (1.2, 0, 0.006)]))
    for _ in range(6):
        patch = build.part("road", np.full(3, rng.uniform(0.035, 0.12)), (1.0,))
        along, left = rng.uniform(begin, end), rng.uniform(-KERB, KERB - 1.5)
        size = rng.uniform(0.6, 2.2), rng.uniform(0.5, 1.5)
        route.ribbon(build, patch, (along, along + size[0] * 2), (left, left + size[1]), 0.003)
    for _ in range(4):
        lid = build.part("metal", (0.10, 0.10, 0.10), (1.0,))
        at = route.frame(rng.uniform(begin, end), rng.uniform(-2.8, 2.8))
        angle = np.linspace(0, 2 * np.pi, 17)
        rim = np.column_stack([0.33 * np.cos(angle), 0.33 * np.sin(angle), np.full(17, 0.008)])
        middle = np.broadcast_to([0, 0, 0.008], (16, 3))
        fan = np.stack([middle, rim[:-1], rim[1:]], axis=1)
        build.triangles(lid, at.place(fan), fan[..., :2])


def _crossing(
    build: MeshBuilder, route: Route, parts: tuple[int, ...], along: float, hand: int, rng: Generator
) -> None:
    """Add one arm of a side street, straight, with pavements; it ends at a house."""
    side, walk, kerb, lawn = parts
    at = route.frame(along, hand * KERB, hand * np.pi / 2)
    arm = Route(0.0, at.place([(d * 0.5, 0.0) for d in range(161)]), np.full(161, at.heading), np.zeros(0))
    arm.ribbon(build, side, (0, _SIDE_LENGTH), (-SIDE_ROAD, SIDE_ROAD), 0.0)
    for flank in (-1, 1):
        edges = flank * SIDE_ROAD, flank * (SIDE_ROAD + 2.6)
        arm.ribbon(build, walk, (PAVED - KERB, _SIDE_LENGTH), edges, KERB_HEIGHT)
        arm.curb(build, kerb, (0, _SIDE_LENGTH), flank * SIDE_ROAD, (0.0, KERB_HEIGHT))
    arm.ribbon(build, lawn, (_SIDE_LENGTH, _SIDE_LENGTH + 4), (-12, 12), KERB_HEIGHT)
    end = arm.frame(_SIDE_LENGTH + 4, 0, -np.pi / 2)
    buildings.house(build, end, 16.0, 9.0, int(rng.integers(2, 5)), rng, urban=True)


def _block(
    build: MeshBuilder, route: Route, garden: tuple[float, float], hand: int, trees: list[plants.Tree], rng: Generator
) -> None:
    """Fill one side of a block according to its random character."""
    begin, end = garden

    def at(along: float, left: float) -> LocalFrame:
        """A frame whose y axis points away from the street."""
        return route.frame(along, hand * left, 0.0 if hand > 0 else np.pi)

    character = rng.choice(["terrace", "villas", "park", "works"], p=[0.4, 0.36, 0.12, 0.12])
    if character == "terrace":
        along, setback = begin, float(rng.choice([0.0, 0.0, 2.5]))
        while along < end - 7:
            width = min(float(rng.uniform(8, 15)), end - along)
            step = float(rng.choice([0.0, 0.0, 0.6]))
            front = at(along + width / 2, PAVED + setback + step)
            depth, floors = float(rng.uniform(9, 12)), int(rng.integers(3, 6))
            buildings.house(build, front, width - 0.02, depth, floors, rng, urban=True)
            along += width + (float(rng.uniform(2.5, 4)) if rng.random() < 0.15 else 0.0)
        for spot in np.arange(begin + 6, end - 4, float(rng.uniform(9, 14))):
            if rng.random() < 0.85:
                tree, height = trees[rng.integers(len(trees))], float(rng.uniform(6, 9))
                plants.plant(build, tree, at(spot, KERB + 0.7), height, rng)
    elif character == "villas":
        along = begin + 1.0
        while along < end - 10:
            lot = float(rng.uniform(14, 21))
            setback = float(rng.uniform(4.5, 8))
            width = min(float(rng.uniform(8, 11.5)), lot - 3.5)
            house = at(along + lot / 2, PAVED + setback)
            buildings.house(build, house, width, float(rng.uniform(8, 10)), int(rng.integers(1, 3)), rng, urban=False)
            _garden(build, at, along, min(lot, end - along), setback, trees, rng)
            along += lot
    elif character == "park":
        _border(build, at, begin, end - begin, rng)
        for _ in range(11):
            spot = at(float(rng.uniform(begin, end)), PAVED + float(rng.uniform(2.5, 24)))
            if rng.random() < 0.75:
                plants.plant(build, trees[rng.integers(len(trees))], spot, float(rng.uniform(6, 12)), rng)
            else:
                plants.conifer(build, spot, float(rng.uniform(6, 12)), rng)
        for _ in range(7):
            spot = at(float(rng.uniform(begin, end)), PAVED + float(rng.uniform(1.5, 8)))
            plants.bush(build, spot, float(rng.uniform(0.8, 1.7)), rng)
        buildings.house(build, at((begin + end) / 2, PAVED + 27), 30.0, 10.0, int(rng.integers(3, 6)), rng, urban=True)
    else:
        _border(build, at, begin, end - begin, rng, metal=True)
        along = begin + 2
        while along < end - 16:
            width = float(rng.uniform(15, 24))
            front = at(along + width / 2, PAVED + float(rng.uniform(6, 12)))
            buildings.house(build, front, width, 12.0, int(rng.integers(1, 4)), rng, urban=True)
            along += width + float(rng.uniform(4, 8))
        for _ in range(3):
            tree, spot = trees[rng.integers(len(trees))], at(float(rng.uniform(begin, end)), PAVED + 2.5)
            plants.plant(build, tree, spot, float(rng.uniform(6, 10)), rng)
    for along in rng.uniform(begin, end, 3):
        # Signs on the right face the camera; those on the left face the other way.
        furniture.sign(build, at(float(along), KERB + 0.35), int(rng.integers(5)), rng)
    furniture.sign(build, route.frame(end, hand * (KERB + 0.5)), int(rng.integers(5)), rng)
    furniture.traffic_light(build, route.frame(end + 0.8, hand * (KERB + 0.4)))
    for along in rng.uniform(begin, end - 5, 4):
        furniture.clutter(build, at(float(along), PAVED - 0.6 if rng.random() < 0.6 else KERB + 0.6), rng)
    # A second row behind the first, so that the gaps show something.
    for along in np.arange(begin + 6, end, 15.0):
        if rng.random() < 0.7:
            back = at(float(along), 31 + float(rng.uniform(0, 4)))
            buildings.house(build, back, 11.0, 8.0, int(rng.integers(1, 5)), rng, urban=bool(rng.random() < 0.5))
        else:
            tree, height = trees[rng.integers(len(trees))], float(rng.uniform(9, 14))
            plants.plant(build, tree, at(float(along), 27.0), height, rng, near=False)


def _garden(
    build: MeshBuilder, at: Placer, along: float, lot: float, setback: float, trees: list[plants.Tree], rng: Generator
) -> None:
    """Add a front garden: a border, a driveway, trees and bushes."""
    drive = build.part("sidewalk", np.array((0.27, 0.24, 0.22)) * rng.uniform(0.8, 1.2))
    corner = at(along + lot - 2.9, PAVED)
    build.box(drive, corner, (0, 0, 0.05), (2.6, setback, KERB_HEIGHT + 0.005))
    _border(build, at, along, lot - 3.2, rng)
    for _ in range(int(rng.integers(2, 5))):
        spot = at(along + float(rng.uniform(1, lot - 4)), PAVED + float(rng.uniform(1.4, setback - 1)))
        kind = rng.random()
        if kind < 0.4:
            plants.plant(build, trees[rng.integers(len(trees))], spot, float(rng.uniform(5.5, 9)), rng)
        elif kind < 0.55:
            plants.conifer(build, spot, float(rng.uniform(4, 8)), rng)
        else:
            plants.bush(build, spot, float(rng.uniform(0.7, 1.5)), rng)


def _border(build: MeshBuilder, at: Placer, along: float, length: float, rng: Generator, metal: bool = False) -> None:
    """Add a hedge, fence or wall between garden and pavement, in pieces that follow the bend."""
    kind = 2 if metal else int(rng.integers(5))
    state = rng.bit_generator.state
    for start in np.arange(0, length, 6.0):
        rng.bit_generator.state = state  # all pieces of a border look the same
        first, last = (at(along + end, PAVED + 0.35) for end in (start, start + min(6.0, length - start)))
        dx, dy = last.x - first.x, last.y - first.y
        frame = LocalFrame(first.x, first.y, float(np.arctan2(dy, dx)), KERB_HEIGHT - 0.02)
        piece = float(np.hypot(dx, dy))
        if kind == 0:
            plants.hedge(build, frame, piece, float(rng.uniform(0.9, 1.8)), rng)
        elif kind == 1:
            furniture.picket_fence(build, frame, piece, rng)
        elif kind == 2:
            furniture.metal_fence(build, frame, piece)
        elif kind == 3:
            furniture.garden_wall(build, frame, piece, rng)


def _far(build: MeshBuilder, route: Route, seed: int, lawn: int) -> None:
    """Add ground up to the horizon, and wooded hills around it."""
    rng = np.random.default_rng((seed, FAR))
    x, y = route.points[len(route.points) // 2]
    reach = (route.end - route.start) / 2 + 60
    ground = build.part("lawn", (0.075, 0.105, 0.032))
    far = reach + 900
    corners = [(x + i * far, y + j * far, -0.35) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    build.quads(ground, [corners], [[corner[:2] for corner in corners]])
    hills = build.part("terrain", (0.045, 0.075, 0.03))
    angle = np.linspace(0, 2 * np.pi, 121)
    rings = []
    for distance, height in ((0.0, -1.0), (60.0, 9.0), (160.0, 24.0), (330.0, 44.0), (600.0, 30.0)):
        wave = sum(rng.uniform(0.3, 1) * np.cos(k * angle + rng.uniform(0, 6)) / k**0.5 for k in range(2, 12))
        z = height * (1 + 0.28 * wave) if height > 0 else np.full(121, height)
        radius = reach + distance
        rings.append(np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle), z]))
    for ring, (low, high) in enumerate(pairwise(rings)):
        uv = (np.column_stack([angle * reach, np.full(121, 150.0 * (ring + step))]) for step in (0, 1))
        build.strip(hills, low, high, *uv)

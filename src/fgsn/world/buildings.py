"""Houses: walls with grids of windows, roofs, balconies, awnings and porches."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fgsn.world.conditions import Colour
from fgsn.world.meshes import LocalFrame, MeshBuilder

Extent = tuple[float, float, float]  # x of both sides, and depth
PLASTER, BRICK, STONE, BOARDS, PANELS = range(5)
_WALLS = {
    PLASTER: [(0.62, 0.54, 0.38), (0.55, 0.30, 0.20), (0.66, 0.62, 0.55), (0.40, 0.47, 0.40), (0.60, 0.43, 0.22),
              (0.35, 0.42, 0.52), (0.50, 0.35, 0.35)],
    BRICK: [(0.33, 0.13, 0.08), (0.40, 0.20, 0.12), (0.25, 0.12, 0.09), (0.44, 0.33, 0.22)],
    STONE: [(0.42, 0.38, 0.31), (0.34, 0.32, 0.30), (0.48, 0.42, 0.32)],
    BOARDS: [(0.45, 0.08, 0.05), (0.60, 0.55, 0.38), (0.18, 0.28, 0.33), (0.62, 0.62, 0.58)],
    PANELS: [(0.45, 0.45, 0.43), (0.38, 0.36, 0.33), (0.50, 0.47, 0.42)],
}  # fmt: skip
_ROOFS = [(0.36, 0.13, 0.07), (0.27, 0.10, 0.07), (0.11, 0.11, 0.12), (0.18, 0.15, 0.13), (0.30, 0.20, 0.14)]
_TRIMS = [(0.60, 0.58, 0.54), (0.35, 0.32, 0.30), (0.22, 0.17, 0.13), (0.52, 0.44, 0.34)]
_RAILS = [(0.05, 0.05, 0.06), (0.30, 0.32, 0.33), (0.12, 0.20, 0.14)]
_CLOTHS = [(0.45, 0.05, 0.05), (0.05, 0.22, 0.12), (0.08, 0.12, 0.35), (0.6, 0.45, 0.1)]
_DOORS = [(0.25, 0.12, 0.06), (0.05, 0.10, 0.20), (0.30, 0.30, 0.28), (0.05, 0.18, 0.08)]


def house(
    build: MeshBuilder, frame: LocalFrame, width: float, depth: float, floors: int, rng: Generator, urban: bool
) -> None:
    """Add a house; its front lies on local y = 0, centred at x = 0, and it extends back to y = depth."""
    style = int(rng.choice([PLASTER, BRICK, STONE, PANELS] if urban else [PLASTER, BRICK, BOARDS]))
    colour = _pick(rng, _WALLS[style])
    floor = float(rng.uniform(2.9, 3.5))
    height = 0.5 + floor * floors
    window = (float(rng.uniform(0.9, 1.5)), float(rng.uniform(1.2, 1.9)))
    bay = float(window[0] + rng.uniform(0.9, 1.9))
    shop = float(urban and rng.random() < 0.5)
    trim = build.part("trim", _pick(rng, _TRIMS))

    x0, x1 = -width / 2, width / 2
    corners = frame.place([(x0, 0), (x1, 0), (x1, depth), (x0, depth)])
    for side in range(4):
        start, end = corners[side], corners[(side + 1) % 4]
        length = float(np.hypot(*(end - start)))
        values = (length, floor, bay, *window, style, shop if side == 0 else -1.0, height)
        build.wall(build.part("facade", colour, values), start, end, frame.z, frame.z + height)

    if urban and rng.random() < 0.45:
        _flat_roof(build, frame, (x0, x1, depth), height, trim, rng)
    else:
        _pitched_roof(build, frame, (x0, x1, depth), height, colour, style, rng)
    build.box(trim, frame, (x0 - 0.05, -0.12, height - 0.35), (x1 + 0.05, 0.0, height))  # cornice
    if urban:
        build.box(trim, frame, (x0, -0.07, floor + 0.45), (x1, 0.0, floor + 0.65))  # belt above the shops
        if rng.random() < 0.5:
            _balconies(build, frame, width, floor, floors, bay, rng)
        if shop:
            _awning(build, frame, width, floor, rng)
        if rng.random() < 0.4:  # drain pipe
            build.tube(trim, frame, (x1 - 0.2, -0.1, 0), (x1 - 0.2, -0.1, height), 0.06, 0.06, 6)
    else:
        _porch(build, frame, rng, trim)
        if rng.random() < 0.5:  # a lower wing to one side
            wing = frame.at(float(rng.choice([x0 - 1.6, x1 + 1.6])), depth * 0.35)
            part = build.part("facade", colour, (3.2, floor, bay, *window, style, -1.0, 2.7))
            build.box(part, wing, (-1.6, 0, 0), (1.6, 4.5, 2.7))
            build.box(build.part("roof", _pick(rng, _ROOFS)), wing, (-1.75, -0.2, 2.7), (1.75, 4.6, 2.9))


def _flat_roof(build: MeshBuilder, frame: LocalFrame, extent: Extent, height: float, trim: int, rng: Generator) -> None:
    x0, x1, depth = extent
    roof = build.part("roof", (0.2, 0.2, 0.2))
    build.box(roof, frame, (x0, 0, height), (x1, depth, height + 0.05))
    for low, high in (((x0, -0.05), (x1, 0.2)), ((x0, 0.2), (x0 + 0.25, depth)), ((x1 - 0.25, 0.2), (x1, depth))):
        build.box(trim, frame, (*low, height), (*high, height + 0.6))
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(x0 + 1, x1 - 2), rng.uniform(1.5, depth - 2)
        build.box(trim, frame, (x, y, height), (x + 1.2, y + 1.2, height + float(rng.uniform(0.8, 2.2))))


def _pitched_roof(
    build: MeshBuilder, frame: LocalFrame, extent: Extent, height: float, colour: Colour, style: int, rng: Generator
) -> None:
    x0, x1, depth = extent
    roof = build.part("roof", _pick(rng, _ROOFS))
    gable = build.part("facade", colour, (0.0, 1.0, 1.0, 0.0, 0.0, style, -1.0, 0.0))
    over = 0.45
    along_street = rng.random() < 0.6
    hip = float(rng.choice([0.0, 0.0, 0.9]))
    pitch = float(rng.uniform(0.6, 1.0))
    if along_street:
        span, length, local = depth, x1 - x0, frame.at(x0, depth / 2)
    else:
        span, length, local = x1 - x0, depth, frame.at((x0 + x1) / 2, 0, np.pi / 2)
    rise, half = pitch * span / 2, span / 2
    inset = hip * half
    eave = height - over * pitch
    ridge = [(inset - over * (hip == 0), 0, height + rise), (length - inset + over * (hip == 0), 0, height + rise)]
    slope = float(np.hypot(half + over, rise + over * pitch))
    for side in (-1, 1):
        low = [(-over, side * (half + over), eave), (length + over, side * (half + over), eave)]
        corners = local.place([low[0], low[1], ridge[1], ridge[0]])
        uv = [(-over, 0), (length + over, 0), (ridge[1][0], slope), (ridge[0][0], slope)]
        build.quads(roof, [corners], [uv])
    for end, (x, out) in enumerate(((0.0, -over), (length, length + over))):
        if hip:
            corners = local.place([(out, -half - over, eave), (out, half + over, eave), ridge[end]])
            build.triangles(roof, [corners], [[(0, 0), (span, 0), (span / 2, slope)]])
        else:
            corners = local.place([(x, -half, height), (x, half, height), (x, 0, height + rise)])
            build.triangles(gable, [corners], [[(0, 0), (span, 0), (span / 2, rise)]])
    chimney = build.part("trim", (0.30, 0.14, 0.10))
    x = length * float(rng.uniform(0.25, 0.75))
    build.box(chimney, local, (x, 0.5, height + rise * 0.4), (x + 0.6, 1.1, height + rise + 0.8))
    if rng.random() < 0.5 and length > 6:
        dormer = build.part("facade", colour, (1.6, 1.4, 1.6, 0.9, 1.0, style, -1.0, 1.4))
        for x in np.arange(2.0, length - 2.0, 4.2):
            y = -half * 0.55
            build.box(dormer, local, (x - 0.8, y, height + 0.2), (x + 0.8, 0, height + 0.45 * rise + 1.0))
            build.box(roof, local, (x - 1, y - 0.2, height + 0.45 * rise + 1), (x + 1, 0, height + 0.45 * rise + 1.12))


def _balconies(
    build: MeshBuilder, frame: LocalFrame, width: float, floor: float, floors: int, bay: float, rng: Generator
) -> None:
    slab = build.part("trim", (0.45, 0.44, 0.42))
    rail = build.part("metal", _pick(rng, _RAILS))
    columns = np.arange(-width / 2 + bay, width / 2 - bay / 2, bay * 2)
    for level in range(1, floors):
        z = level * floor + 0.35
        for x in columns[rng.random(len(columns)) < 0.6]:
            build.box(slab, frame, (x - 1.1, -1.0, z), (x + 1.1, 0, z + 0.14))
            for y in (-1.0, -0.98):
                build.box(rail, frame, (x - 1.1, y, z + 1.02), (x + 1.1, y + 0.03, z + 1.07))
            for bar in np.linspace(x - 1.08, x + 1.08, 10):
                build.box(rail, frame, (bar - 0.015, -0.99, z), (bar + 0.015, -0.96, z + 1.05))


def _awning(build: MeshBuilder, frame: LocalFrame, width: float, floor: float, rng: Generator) -> None:
    cloth = build.part("cloth", _pick(rng, _CLOTHS))
    reach, top = float(rng.uniform(0.8, 1.5)), floor + 0.35
    x0, x1 = -width / 2 + 0.6, float(rng.uniform(0, width / 2 - 0.6))
    corners = frame.place([(x0, -reach, top - 0.7), (x1, -reach, top - 0.7), (x1, 0, top), (x0, 0, top)])
    build.quads(cloth, [corners], [[(x0, 0), (x1, 0), (x1, reach), (x0, reach)]])


def _porch(build: MeshBuilder, frame: LocalFrame, rng: Generator, trim: int) -> None:
    x = float(rng.uniform(-1.5, 1.5))
    door = build.part("door", _pick(rng, _DOORS))
    build.box(door, frame, (x - 0.5, -0.04, 0.3), (x + 0.5, 0.0, 2.4))
    build.box(trim, frame, (x - 1.0, -1.2, 0.0), (x + 1.0, 0.0, 0.3))
    build.box(trim, frame, (x - 1.1, -1.3, 2.6), (x + 1.1, 0.0, 2.75))
    for side in (-1, 1):
        build.tube(trim, frame, (x + side * 0.95, -1.1, 0.3), (x + side * 0.95, -1.1, 2.6), 0.06, 0.06, 6)


def _pick(rng: Generator, palette: list[Colour]) -> Colour:
    colour: NDArray[np.float64] = np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.85, 1.15)
    return float(colour[0]), float(colour[1]), float(colour[2])

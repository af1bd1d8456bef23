"""Materials: each is a registered function from samples on a surface to colours."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgsn.world.buildings import BOARDS, BRICK, PANELS, STONE
from fgsn.world.conditions import Condition
from fgsn.world.texture import Array, lines, mix, noise, random_of, rgb, smooth, within


@dataclass(frozen=True, eq=False)
class Samples:
    """Points on surfaces, one per ray."""

    u: Array
    v: Array
    """Surface coordinates in metres."""
    position: Array
    """(n, 3) in the world."""
    footprint: Array
    """Size of a pixel on the surface in metres."""
    colour: Array
    """(n, 3) base colour of the part."""
    values: Array
    """(n, 8) parameters of the part."""
    part: NDArray[np.int64]
    triangle: NDArray[np.int64]

    @property
    def shift(self) -> Array:
        """(n,) a random shift of the pattern for each part."""
        return random_of(self.part) * 100

    def __getitem__(self, rows: NDArray[np.generic]) -> "Samples":
        return Samples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(eq=False)
class Surface:
    """Shading result of a material: albedo, emitted light, and mirror weight."""

    albedo: Array
    """(n, 3)"""
    glow: Array | None = None
    """(n, 3) emitted light."""
    mirror: Array | None = None
    """(n,) weight of the reflected sky, 0 to 1."""


Shade = Callable[[Samples, Condition], Surface]


@dataclass(frozen=True)
class Material:
    """A kind of surface."""

    shade: Shade
    label: int
    """Cityscapes labelId."""
    static: bool
    """Whether it exists in every condition, so that it may have correspondences."""
    ground: bool
    """Whether water, snow and leaves gather on it."""


MATERIALS: dict[str, Material] = {}


def material(label: int, *names: str, static: bool = True, ground: bool = False) -> Callable[[Shade], Shade]:
    """Decorator that registers a material under one or several names."""

    def register(shade: Shade) -> Shade:
        for name in names:
            MATERIALS[name] = Material(shade, label, static, ground)
        return shade

    return register


def _rough(s: Samples, texel: float, fine: float, coarse: float) -> Array:
    """A brightness factor around 1 with detail at `texel` metres and at ten times that."""
    grain = noise(s.u, s.v, texel, s.footprint, s.shift)
    blotch = noise(s.u + 0.3 * s.v, s.v - 0.3 * s.u, 9.3 * texel, s.footprint, s.shift + 5)
    return np.maximum(1 + fine * grain + coarse * blotch, 0.15)


def _matt(fine: float, coarse: float) -> Shade:
    """The shading of a surface of one colour, with roughness as in `_rough`."""
    return lambda s, look: Surface(s.colour * _rough(s, 0.02, fine, coarse)[:, None])


material(4, "object")(_matt(0.06, 0.1))
material(11, "trim", "cloth", "door")(_matt(0.06, 0.08))
material(17, "pole", "metal")(_matt(0.05, 0.12))
material(24, "person", static=False)(_matt(0.08, 0.1))


@material(7, "road", "side road", ground=True)
def _road(s: Samples, look: Condition) -> Surface:
    albedo = s.colour * _rough(s, 0.02, 0.2, 0.16)[:, None]
    wheel = np.abs(np.abs(np.abs(s.v) - 1.65) - 0.75)
    albedo *= (1 - 0.15 * np.exp(-((wheel / 0.3) ** 2)))[:, None]
    crack = np.abs(noise(s.u, s.v, 0.11, s.footprint, s.shift + 9))
    albedo *= (1 - 0.55 * smooth(0.05 - crack, 0.0, 0.04) * (s.footprint < 0.08))[:, None]
    marked = s.values[:, 0] == 0  # patches of newer asphalt have no markings
    dash = lines(s.v, 100.0, 0.12, s.footprint) * ((s.u / 6) % 1 < 0.5)
    edge = within(np.abs(s.v), 3.28, 3.40, s.footprint)
    bay = within(np.abs(s.v), 3.4, 5.4, s.footprint) * lines(s.u, 6.2, 0.1, s.footprint)
    worn = smooth(noise(s.u, s.v, 0.03, s.footprint, s.shift) + 1.2, 0.0, 0.8)
    white = np.clip(dash + edge + 0.7 * bay, 0, 1) * worn * marked
    return Surface(mix(albedo, (0.52, 0.52, 0.50), white))


@material(7, "marking", ground=True)
def _marking(s: Samples, look: Condition) -> Surface:
    worn = smooth(noise(s.u, s.v, 0.03, s.footprint, 3.0) + 1.1, 0.0, 0.8)
    return Surface(mix((0.10, 0.10, 0.10), s.colour, worn) * _rough(s, 0.02, 0.08, 0.06)[:, None])


@material(8, "sidewalk", ground=True)
def _sidewalk(s: Samples, look: Condition) -> Surface:
    column, row = np.floor(s.u / 0.6).astype(int), np.floor(s.v / 0.45).astype(int)
    slab = 1 + 0.22 * (random_of(column, row, s.part) - 0.5) * (s.footprint < 0.5)
    joint = np.maximum(lines(s.u, 0.6, 0.02, s.footprint), lines(s.v, 0.45, 0.02, s.footprint))
    factor = slab * _rough(s, 0.025, 0.09, 0.12) * (1 - 0.6 * joint)
    return Surface(s.colour * factor[:, None])


@material(8, "kerb", ground=True)
def _kerb(s: Samples, look: Condition) -> Surface:
    joint = lines(s.u, 1.0, 0.025, s.footprint)
    return Surface(s.colour * (_rough(s, 0.02, 0.1, 0.1) * (1 - 0.5 * joint))[:, None])


@material(22, "lawn", ground=True)
def _lawn(s: Samples, look: Condition) -> Surface:
    x, y = s.position[:, 0], s.position[:, 1]
    blades = noise(x, y, 0.025, s.footprint)
    patch = noise(x, y, 0.7, s.footprint)
    green = mix(s.colour, (0.11, 0.13, 0.04), smooth(patch, -0.5, 1.5))
    dead = np.clip(look.dead_grass * (0.75 + 0.35 * patch), 0, 1)
    albedo = mix(green, (0.16, 0.125, 0.07), dead)
    return Surface(albedo * np.clip(1 + 0.42 * blades, 0.2, 2.5)[:, None])


@material(22, "terrain")
def _terrain(s: Samples, look: Condition) -> Surface:
    crowns = noise(s.u, s.v, 1.6, s.footprint)
    woods = smooth(noise(s.u, s.v, 11.0, s.footprint, 3.0), -0.4, 0.1)
    forest = mix(s.colour, (0.11, 0.085, 0.06), np.float32(0.75 * (1 - look.leaves) * (1 - look.autumn)))
    forest = mix(forest, (0.20, 0.09, 0.02), np.float32(0.6 * look.autumn))
    meadow = mix((0.10, 0.13, 0.04), (0.17, 0.14, 0.08), np.float32(look.dead_grass))
    return Surface(mix(meadow, forest, woods) * np.clip(1 + 0.45 * crowns * woods, 0.25, 2)[:, None])


def _masonry(s: Samples, style: Array) -> Array:
    """Albedo (n, 3) of a bare wall: plaster, bricks, stones, boards or concrete panels."""
    factor = _rough(s, 0.022, 0.07, 0.11)
    for kind, length, course, gap, spread in ((BRICK, 0.26, 0.09, 0.014, 0.5), (STONE, 0.85, 0.42, 0.025, 0.32)):
        rows = np.nonzero(style == kind)[0]
        if len(rows):
            u, v, footprint = s.u[rows], s.v[rows], s.footprint[rows]
            layer = np.floor(v / course)
            along = u + 0.5 * length * (layer % 2)
            tone = random_of(np.floor(along / length).astype(int), layer.astype(int), s.part[rows])
            tone = 1 + spread * (tone - 0.5) * np.clip(1.6 - footprint / course, 0, 1)
            joint = np.maximum(lines(v, course, gap, footprint), lines(along, length, gap, footprint))
            factor[rows] *= tone * (1 - 0.4 * joint)
    rows = np.nonzero(style == BOARDS)[0]
    if len(rows):
        board = np.floor(s.v[rows] / 0.2).astype(int)
        tone = 1 + 0.16 * (random_of(board, s.part[rows]) - 0.5) * (s.footprint[rows] < 0.15)
        factor[rows] *= tone * (1 - 0.5 * lines(s.v[rows], 0.2, 0.025, s.footprint[rows]))
    rows = np.nonzero(style == PANELS)[0]
    if len(rows):
        u, v, footprint = s.u[rows], s.v[rows], s.footprint[rows]
        joint = np.maximum(lines(u, 3.6, 0.05, footprint), lines(v, 3.0, 0.05, footprint))
        factor[rows] *= 1 - 0.5 * joint
    stain = noise(s.u, s.v * 0.12, 0.12, s.footprint, s.shift + 2)
    return s.colour * (factor * np.clip(1 - 0.1 * np.maximum(stain, 0), 0.5, 1))[:, None]


@material(11, "facade")
def _facade(s: Samples, look: Condition) -> Surface:
    length, floor, bay, width, height, style, shop, top = s.values.T
    wall = _masonry(s, style)
    v = s.v - 0.5
    columns = np.maximum(np.floor((length - 0.8) / bay), 0)
    across = (s.u - (length - columns * bay) / 2) / bay
    column, row = np.floor(across), np.floor(v / floor)
    du, dv = (across - column - 0.5) * bay, v - row * floor
    there = (column >= 0) & (column < columns) & (row >= 0) & ((row + 0.97) * floor <= top - 0.4) & (width > 0)
    chance = random_of(column.astype(int), row.astype(int), s.part)
    is_shop = (row == 0) & (shop > 0)
    is_door = (row == 0) & (shop == 0) & (np.floor(columns / 2) == column)
    half = np.where(is_shop, bay * 0.44, np.where(is_door, 0.55, width / 2))
    low = np.where(is_shop, 0.35, np.where(is_door, -0.4, 0.85))
    high = np.where(is_shop, 2.55, np.where(is_door, 1.95, 0.85 + height))
    f = s.footprint
    there = there & (chance > 0.04)

    def panel(border: float) -> Array:
        across = within(du, -half - border, half + border, f)
        return across * within(dv, low - border, high + border, f) * there

    surround, opening, pane = panel(0.13), panel(0.0), panel(-0.075)
    post = np.where(is_shop, 0.0, lines(du, 50.0, 0.05, f))
    bar = within(dv, low + (high - low) * 0.66, low + (high - low) * 0.66 + 0.05, f) * (chance > 0.4)
    pane = pane * (1 - np.maximum(post, bar)) * (1 - is_door)
    tone = random_of(s.part, 7)
    albedo = mix(wall, wall * 0.35 + 0.26, surround * (tone > 0.35))
    sill = within(dv, low - 0.14, low - 0.04, f) * within(du, -half - 0.15, half + 0.15, f) * there
    albedo = mix(albedo, (0.42, 0.41, 0.39), sill)
    frame = mix((0.55, 0.54, 0.52), (0.12, 0.07, 0.04), (tone * 7 % 1 > 0.55).astype(np.float32))
    albedo = mix(albedo, frame, opening)
    shutter = (tone * 13 % 1 > 0.7) & ~is_shop & ~is_door
    leaf = within(np.abs(du), half + 0.02, half + 0.02 + width * 0.4, f) * within(dv, low, high, f) * (there & shutter)
    slats = 1 - 0.5 * lines(dv, 0.09, 0.03, f)
    hue = np.stack([0.05 + 0.2 * (tone * 3 % 1), 0.10 + 0.1 * (tone * 5 % 1), 0.05 + 0.15 * (tone * 11 % 1)], axis=1)
    albedo = mix(albedo, hue * slats[:, None], leaf)
    # Behind the glass: curtains that differ between days; on the glass: the reflected sky.
    visit = random_of(column.astype(int), row.astype(int), s.part, look.day)
    drawn = (chance * 5 % 1) * 0.7 + 0.3 * visit
    curtain = (dv > low + (high - low) * drawn) & (chance * 3 % 1 < 0.6)
    inside = np.where(curtain[:, None], rgb([0.34, 0.32, 0.28]) * (0.5 + chance[:, None]), np.float32(0.02))
    inside = inside * (1 - 0.35 * lines(du + 3 * dv * (chance > 0.8), 0.16, 0.05, f) * curtain)[:, None]
    albedo = mix(albedo, inside.astype(np.float32), pane)
    door = mix((0.20, 0.10, 0.05), (0.05, 0.11, 0.09), (tone * 17 % 1 > 0.5).astype(np.float32))
    door = door * (1 - 0.4 * lines(du, 0.36, 0.03, f))[:, None]
    albedo = mix(albedo, door, panel(-0.05) * is_door)
    plinth = within(s.v, -1.0, 0.45, f) * (shop >= 0) * (length > 0)
    albedo = albedo * (1 - 0.35 * plinth * (1 - opening))[:, None]
    glow = None
    if look.lamps:
        lit = (visit < np.where(is_shop, 0.75, 0.30)) * pane * look.lamps
        warm = mix((1.0, 0.62, 0.25), (0.85, 0.85, 0.75), chance)
        glow = warm * (lit * np.where(curtain, 0.5, 0.8) * (0.4 + 0.5 * visit))[:, None]
    return Surface(albedo, glow, 0.35 * pane * (0.5 + 0.5 * visit))


@material(11, "roof")
def _roof(s: Samples, look: Condition) -> Surface:
    row, column = np.floor(s.v / 0.34).astype(int), np.floor(s.u / 0.28).astype(int)
    tone = 1 + 0.3 * (random_of(row, column, s.part) - 0.5) * (s.footprint < 0.3)
    shade = 1 - 0.5 * np.maximum(lines(s.v, 0.34, 0.05, s.footprint), 0.5 * lines(s.u, 0.28, 0.03, s.footprint))
    return Surface(s.colour * (tone * shade * _rough(s, 0.05, 0.08, 0.12))[:, None])


@material(12, "wall")
def _wall(s: Samples, look: Condition) -> Surface:
    style = np.choose(s.values[:, 0].astype(int), [0, BRICK, STONE])
    return Surface(_masonry(s, style))


@material(13, "fence")
def _fence(s: Samples, look: Condition) -> Surface:
    streak = noise(s.u * 4, s.v * 0.4, 0.03, s.footprint, s.shift)
    return Surface(s.colour * np.clip(1 + 0.15 * streak, 0.4, 1.6)[:, None])


@material(17, "bulb")
def _bulb(s: Samples, look: Condition) -> Surface:
    light = rgb([9.0, 6.6, 3.6]) * look.lamps
    return Surface(s.colour, np.broadcast_to(light, s.colour.shape))


@material(19, "traffic light")
def _traffic_light(s: Samples, look: Condition) -> Surface:
    """Three lights; which one is on changes from day to day."""
    visit = random_of(s.part, look.day)
    level = np.floor((s.v - 0.02) / 0.3)
    disc = smooth(0.11 - np.hypot(s.v - 0.02 - 0.3 * level - 0.14, np.abs(s.u) - 0.17), 0.0, 0.02)
    hue = rgb([[0.1, 1.0, 0.35], [1.0, 0.6, 0.05], [1.0, 0.08, 0.03]])[np.clip(level, 0, 2).astype(int)]
    on = (np.floor(visit * 3) == level) * disc
    return Surface(mix(s.colour, hue * 0.12, disc), hue * (0.9 * on)[:, None])


@material(20, "sign")
def _sign(s: Samples, look: Condition) -> Surface:
    """Plates with a rim and a symbol; round, triangle, square, board, octagon."""
    kind, symbol = s.values[:, 0], s.values[:, 1]
    x, y, f = s.u, s.v, s.footprint / 0.38
    radius = np.hypot(x, y)
    white, black, red, blue = (0.72, 0.72, 0.70), (0.02, 0.02, 0.02), (0.50, 0.02, 0.02), (0.02, 0.08, 0.42)
    yellow, green = (0.65, 0.42, 0.02), (0.02, 0.22, 0.08)
    rim = np.where(kind == 1, np.minimum(np.abs(-0.5 - y), 0.5 - 0.866 * np.abs(x) - 0.5 * y + 0.0), 1.0 - radius)
    edge = np.clip((0.17 - rim) / np.maximum(f, 0.02) + 0.5, 0, 1) * ((kind == 0) | (kind == 1))
    albedo = mix(white, red, edge)
    prohibits = (kind == 0) & (symbol < 3)
    for which, colour in (
        ((kind == 0) & ~prohibits, blue), ((kind == 2) & (symbol < 3), blue), ((kind == 2) & (symbol >= 3), yellow),
        ((kind == 3) & (symbol < 4), green), ((kind == 3) & (symbol >= 4), white), (kind == 4, red),
    ):  # fmt: skip
        albedo[which] = colour
    bars = within(np.abs(x - 0.25 * (symbol % 2)), 0.0, 0.12 + 0.04 * symbol, f) * within(y, -0.45, 0.5, f)
    cross = within(np.abs(y - 0.1 * symbol + 0.2), 0.0, 0.13, f) * within(np.abs(x), 0.0, 0.5, f)
    mark = np.where(symbol % 3 == 0, bars, np.where(symbol % 3 == 1, cross, np.maximum(bars, cross)))
    letters = random_of(np.floor(x / 0.14).astype(int), np.floor(y / 0.3).astype(int), s.part) > 0.45
    letters = letters * within(np.abs(y % 0.6 - 0.3), 0, 0.12, f)
    mark = np.where(kind == 3, letters * (radius < 1.9), mark)
    dark = (prohibits | (kind == 1) | ((kind == 2) & (symbol >= 3)) | ((kind == 3) & (symbol >= 4))).astype(np.float32)
    return Surface(mix(albedo, mix(white, black, dark), mark).astype(np.float32))


@material(21, "bark")
def _bark(s: Samples, look: Condition) -> Surface:
    ridges = noise(s.u * 3, s.v * 0.6, 0.02, s.footprint, s.shift)
    return Surface(s.colour * np.clip(1 + 0.4 * ridges, 0.3, 2)[:, None])


@material(21, "leaf", static=False)
def _leaf(s: Samples, look: Condition) -> Surface:
    chance = random_of(s.triangle // 2, 3)
    green = s.colour * (0.55 + 0.9 * chance)[:, None]
    hue = np.clip(s.values[:, 0] + 0.35 * (random_of(s.triangle // 2, 5) - 0.5), 0, 1)
    turned = mix((0.42, 0.26, 0.03), (0.33, 0.06, 0.02), hue) * (0.6 + 0.8 * chance)[:, None]
    return Surface(mix(green, turned, np.float32(look.autumn * 0.92)))


@material(21, "needles", "hedge")
def _needles(s: Samples, look: Condition) -> Surface:
    tuft = noise(s.position[:, 0] + s.position[:, 1], s.position[:, 2], 0.04, s.footprint, s.shift)
    chance = random_of(s.triangle // 2, 3)
    return Surface(s.colour * (np.clip(1 + 0.4 * tuft, 0.3, 2) * (0.65 + 0.7 * chance))[:, None])


@material(26, "car", static=False)
def _car(s: Samples, look: Condition) -> Surface:
    dirt = noise(s.u, s.v, 0.05, s.footprint, s.shift)
    return Surface(s.colour * np.clip(1 + 0.04 * dirt, 0.5, 1.5)[:, None], None, np.full(len(s.u), 0.16, np.float32))


@material(26, "car glass", static=False)
def _car_glass(s: Samples, look: Condition) -> Surface:
    return Surface(s.colour, None, np.full(len(s.u), 0.35, np.float32))


@material(26, "tyre", "plate", "rim", static=False)
def _plain(s: Samples, look: Condition) -> Surface:
    return Surface(s.colour)


@material(26, "headlight", static=False)
def _headlight(s: Samples, look: Condition) -> Surface:
    return Surface(s.colour, s.values[:, :1] * rgb([7.0, 6.6, 5.8]) * look.lamps)


@material(26, "taillight", static=False)
def _taillight(s: Samples, look: Condition) -> Surface:
    return Surface(s.colour, s.values[:, :1] * rgb([1.6, 0.05, 0.03]) * look.lamps)

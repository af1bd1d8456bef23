"""Rendering: shading of ray hits, sky, haze, and a camera model with lens, weather and noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fgsn.world.conditions import Condition
from fgsn.world.materials import MATERIALS, Samples
from fgsn.world.scene import Hits, SceneCamera
from fgsn.world.texture import Array, mix, noise, random_of, rgb, smooth

_NAMES = list(MATERIALS)
_LAMP_REACH = 55.0


@dataclass(frozen=True, eq=False)
class Rendering:
    """A rendered image with its depth and labels."""

    image: NDArray[np.uint8]
    """(height, width, 3)"""
    depth: Array
    """(height, width) metres along the optical axis; infinite for the sky."""
    labels: NDArray[np.uint8]
    """(height, width) Cityscapes labelIds."""


def render(view: SceneCamera, look: Condition, lamps: NDArray[np.float64], rng: np.random.Generator) -> Rendering:
    """Render one image; `lamps` (L, 3) are the street lamps, and `rng` draws noise, drops and flakes."""
    shader = Shader(view, look, lamps)
    grid = view.camera.grid()
    hits = view.cast(grid)
    light = shader.paint(grid, hits)
    shape = (view.camera.height, view.camera.width)
    _soften_edges(shader, grid, hits, light, shape)
    image = _expose(light.reshape(*shape, 3), look, rng)
    depth = np.where(hits.part >= 0, hits.depth, np.float32(np.inf)).reshape(shape)
    return Rendering(image, depth, view.scene.label[hits.part].reshape(shape))


class Shader:
    """Shades the rays of one camera."""

    def __init__(self, view: SceneCamera, look: Condition, lamps: NDArray[np.float64]) -> None:
        self.view, self.scene, self.look = view, view.scene, look
        self.centre = view.pose.centre.astype(np.float32)
        self.forward = view.pose.rotation[2].astype(np.float32)
        offset = lamps - view.pose.centre
        ahead = offset @ view.pose.rotation[2]
        near = (np.linalg.norm(offset, axis=1) < _LAMP_REACH) & (ahead > -12)
        self.lamps = lamps[near].astype(np.float32)
        towards = rgb(look.sun_direction)
        self.towards_sun = towards / np.linalg.norm(towards)

    def paint(self, pixels: NDArray[np.float64], hits: Hits) -> Array:
        """Linear light (N, 3) that reaches the camera through pixels (N, 2)."""
        directions = self.view.directions(pixels)
        light = np.empty((len(pixels), 3), np.float32)
        sky = hits.part < 0
        light[sky] = self.sky(directions[sky])
        rows = np.nonzero(~sky)[0]
        light[rows] = self._surfaces(directions[rows], hits, rows)
        return light

    def sky(self, directions: Array) -> Array:
        """Light (n, 3) of the sky in directions (n, 3)."""
        look = self.look
        unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        rise = np.maximum(unit[:, 2], 0.0)
        light = mix(look.horizon, look.zenith, np.minimum(1.25 * rise**0.6, 1))
        x, y = (unit[:, :2] / (rise + 0.12)[:, None]).T
        pixel = np.full(len(unit), 0.004, np.float32)
        shift = 13.7 * look.day
        cloud = noise(x, y, 0.02, pixel, shift) * 0.6 + noise(x, y, 0.11, pixel, shift)
        cover = smooth(cloud, -0.6, 1.6) * look.clouds * smooth(rise, 0.02, 0.2)
        bright = 0.55 * rgb(look.horizon) + 0.55 * max(look.horizon)
        dark = 0.62 * rgb(look.zenith)
        light = mix(light, bright if max(look.sun) > 0 else dark, cover)
        if max(look.sun) > 0:
            near = np.maximum(np.einsum("ij,j->i", unit, self.towards_sun), 0)
            light += (0.35 * near**24 + 4.0 * near**900)[:, None] * rgb(look.sun)
        return light

    def _surfaces(self, directions: Array, hits: Hits, rows: NDArray[np.int64]) -> Array:
        """Light (n, 3) from the surfaces that the rays `rows` of `hits` hit."""
        look, scene = self.look, self.scene
        depth, part, normal = hits.depth[rows], hits.part[rows], hits.normal[rows]
        position = self.centre + directions * depth[:, None]
        length = np.linalg.norm(directions, axis=1)
        unit = directions / length[:, None]
        facing = np.maximum(-np.einsum("ij,ij->i", unit, normal), 0.02)
        footprint = depth / np.float32(self.view.camera.fx) / np.sqrt(facing)
        samples = Samples(
            hits.uv[rows, 0], hits.uv[rows, 1], position, footprint,
            scene.colour[part], scene.values[part], part, hits.triangle[rows],
        )  # fmt: skip
        albedo = np.empty((len(rows), 3), np.float32)
        glow = np.zeros((len(rows), 3), np.float32)
        mirror = np.zeros(len(rows), np.float32)
        material = scene.material[part]
        for index in np.unique(material):
            mine = np.nonzero(material == index)[0]
            surface = MATERIALS[_NAMES[index]].shade(samples[mine], look)
            albedo[mine] = surface.albedo
            if surface.glow is not None:
                glow[mine] = surface.glow
            if surface.mirror is not None:
                mirror[mine] = surface.mirror
        albedo, mirror = self._season(samples, normal, albedo, mirror)
        light = albedo * self._light(samples, self._relief(samples, normal), unit) + glow
        shiny = np.nonzero(mirror > 0.01)[0]
        light[shiny] = self._mirrored(light[shiny], mirror[shiny], unit[shiny], normal[shiny], position[shiny])
        clear = np.exp(-look.haze * depth * length)
        return mix(np.broadcast_to(rgb(look.horizon), light.shape), light, clear)

    def _relief(self, s: Samples, normal: Array) -> Array:
        """Perturbed normals (n, 3) of rough surfaces, so that their texture depends on the light."""
        smooth_label = np.isin(self.scene.label[s.part], (20, 24, 26))
        strength = np.where(smooth_label, 0.0, 0.16).astype(np.float32)
        x = noise(s.u, s.v, 0.03, s.footprint, s.shift + 31) * strength
        y = noise(s.u, s.v, 0.03, s.footprint, s.shift + 57) * strength
        flat = np.abs(normal[:, 2]) > 0.8
        aside = np.stack([-normal[:, 1], normal[:, 0], np.zeros(len(x))], axis=1)
        along = np.where(flat[:, None], rgb((1, 0, 0)), aside)
        across = np.where(flat[:, None], rgb((0, 1, 0)), rgb((0, 0, 1)))
        bent = normal + x[:, None] * along + y[:, None] * across
        return (bent / np.linalg.norm(bent, axis=1, keepdims=True)).astype(np.float32)

    def _season(self, s: Samples, normal: Array, albedo: Array, mirror: Array) -> tuple[Array, Array]:
        """Albedo (n, 3) and mirror weight (n,) with water, fallen leaves and snow."""
        look = self.look
        ground = self.scene.ground[s.part]
        label = self.scene.label[s.part]
        x, y, z = s.position.T
        if look.wet:
            soaked = np.where(ground, 0.5, np.where(label == 23, 0, 0.3)) * look.wet
            streak = np.clip(0.6 + 0.5 * noise(x + y, z * 0.2, 0.15, s.footprint), 0, 1.2)
            albedo = albedo * (1 - soaked * np.where(ground, 1.0, streak))[:, None]
            puddle = smooth(noise(x, y, 0.16, s.footprint, 4.0), 0.2, 1.0)
            hard = ground & ((label == 7) | (label == 8))
            mirror = np.maximum(mirror, np.where(hard, look.wet * (0.22 + 0.78 * puddle), 0))
        if look.litter:
            rows = np.nonzero(ground)[0]
            cell_x, cell_y = np.floor(x[rows] / 0.09).astype(int), np.floor(y[rows] / 0.09).astype(int)
            drift = noise(x[rows], y[rows], 0.45, s.footprint[rows], 8.0)
            on_road = np.where(label[rows] == 7, 0.30 + 0.5 * (np.abs(s.v[rows]) > 3.3), 0.9)
            share = np.clip(look.litter * on_road * (0.55 + 0.5 * drift), 0, 0.95)
            # One leaf per cell: an elongated blob, randomly rotated and shifted.
            turn = random_of(cell_x, cell_y, 4) * np.pi
            dx = x[rows] / 0.09 - cell_x - 0.3 - 0.4 * random_of(cell_x, cell_y, 5)
            dy = y[rows] / 0.09 - cell_y - 0.3 - 0.4 * random_of(cell_x, cell_y, 6)
            long, short = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
            inside = np.hypot(long, 1.7 * short) < 0.5
            here = (inside & (random_of(cell_x, cell_y) < 1.3 * share)).astype(np.float32)
            far = np.clip(s.footprint[rows] / 0.09 - 0.5, 0, 1)
            hue = mix((0.36, 0.19, 0.03), (0.24, 0.06, 0.02), random_of(cell_x, cell_y, 2))
            hue = hue * (0.5 + random_of(cell_x, cell_y, 3))[:, None] * (0.35 + 0.65 * look.autumn)
            albedo[rows] = mix(albedo[rows], hue, here * (1 - far) + 0.6 * share * far)
        if look.snow:
            lumps = noise(x + 0.4 * z, y + 0.4 * z, 0.05, s.footprint)
            drift = noise(x, y + z, 0.55, s.footprint, 6.0)
            up = smooth(normal[:, 2] + 0.10 * lumps + 0.08 * drift, 0.22, 0.55)
            # Wind also blows snow onto walls; evergreens carry it on their upper sides.
            cover = np.maximum(up, 0.75 * smooth(drift + 0.5 * lumps, 1.0, 1.8) * (np.abs(normal[:, 2]) < 0.3))
            carried = np.minimum(up + 0.5 * smooth(drift, 0.2, 1), 0.97) * (normal[:, 2] > -0.2)
            cover = np.where(label == 26, carried, cover)
            wheel = np.abs(np.abs(np.abs(s.v) - 1.65) - 0.75)
            track = np.exp(-(((wheel + 0.12 * drift) / 0.27) ** 2)) * smooth(drift + 0.6 * lumps, -1.4, 0.4)
            cover = np.where(label == 7, up * (1 - 0.85 * track * (s.footprint < 0.6)), cover)
            trodden = 0.55 * smooth(drift + 0.7 * lumps, 0.3, 1.4)
            cover = np.where(label == 8, up * (1 - trodden), cover) * look.snow
            cover = np.where((label == 24) | (label == 20), cover * 0.3, cover)
            white = rgb([0.80, 0.83, 0.88]) * (1 + 0.06 * lumps + 0.05 * drift)[:, None]
            albedo, mirror = mix(albedo, white, cover), mirror * (1 - cover)
        return albedo, mirror

    def _light(self, s: Samples, normal: Array, unit: Array) -> Array:
        """Incoming light (n, 3) from sky, sun, lamps and headlights."""
        look, scene = self.look, self.scene
        label = scene.label[s.part]
        soft = scene.material[s.part] == _NAMES.index("leaf")
        low = np.where(scene.ground[s.part], 1.0, 0.68 + 0.32 * smooth(s.position[:, 2], 0.0, 2.2))
        inner = np.where(label == 21, 0.62 + 0.45 * random_of(s.triangle, 1), 1.0)
        share = 0.5 + 0.5 * normal[:, 2]
        open_sky = low * inner * self._openness(s, normal)
        light = mix(look.bounce, look.sky_light, share) * open_sky[:, None]
        start = s.position + normal * 0.02 - unit * 0.01
        if max(look.sun) > 0:
            cosine = np.einsum("ij,j->i", normal, self.towards_sun)
            cosine = np.where(soft, 0.25 + 0.6 * np.abs(cosine), np.maximum(cosine, 0))  # leaves let light through
            rows = np.nonzero(cosine > 0.01)[0]
            rays = np.broadcast_to(self.towards_sun, (len(rows), 3)).astype(np.float32)
            rows = rows[~scene.blocked(start[rows], rays)]
            light[rows] += cosine[rows, None] * rgb(look.sun)
        if look.lamps > 0.5:
            light += self._lamplight(s.position, normal, unit)
        return light

    def _openness(self, s: Samples, normal: Array) -> Array:
        """Share of visible sky (n,), estimated from two rays: darkens surfaces under cars and eaves."""
        start = s.position + normal * 0.03
        around = random_of(s.triangle, np.floor(s.position * 50).astype(int).sum(axis=1)) * (2 * np.pi)
        total = np.zeros(len(start), np.float32)
        for turn in (around, around + np.pi):
            aim = np.stack([np.cos(turn) * 0.55, np.sin(turn) * 0.55, np.full(len(start), 0.8)], axis=1)
            total += self.scene.blocked(start, (aim + 0.6 * normal).astype(np.float32))
        return 1 - 0.28 * total

    def _lamplight(self, position: Array, normal: Array, unit: Array) -> Array:
        """Light (n, 3) from street lamps and the car's own headlights."""
        light = np.zeros(position.shape, np.float32)
        for lamp in self.lamps:
            offset = lamp - position
            square = np.einsum("ij,ij->i", offset, offset) + 0.4
            distance = np.sqrt(square)
            cosine = np.maximum(np.einsum("ij,ij->i", offset, normal) / distance, 0) * 0.85 + 0.08
            cone = smooth(offset[:, 2] / distance, 0.12, 0.62)
            light += (26.0 * cone * cosine / (square + 3))[:, None] * rgb([1.0, 0.72, 0.40])
        offset = position - (self.centre - rgb([0, 0, 0.9]))
        square = np.einsum("ij,ij->i", offset, offset) + 1.0
        aim = self.forward - rgb([0, 0, 0.05])
        angle = np.einsum("ij,ij->i", offset, np.broadcast_to(aim, offset.shape)) / np.sqrt(square)
        beam = smooth(angle, 0.80, 0.99)
        cosine = np.maximum(-np.einsum("ij,ij->i", unit, normal), 0) * 0.9 + 0.1
        light += (26.0 * beam * cosine / (square + 25))[:, None] * rgb([1.0, 0.95, 0.85])
        return light

    def _mirrored(self, light: Array, mirror: Array, unit: Array, normal: Array, position: Array) -> Array:
        """Light (n, 3) with reflections on shiny and wet surfaces: of the sky, or of something dark that hides it."""
        look = self.look
        ripple = noise(position[:, 0], position[:, 1], 0.03, np.full(len(unit), 0.03, np.float32))
        ripple = np.where(normal[:, 2] > 0.9, 0.02 * ripple, 0)  # water ripples, windows do not
        bent = normal + ripple[:, None] * rgb([1, -1, 0])
        along = np.einsum("ij,ij->i", unit, bent)
        away = (unit - 2 * along[:, None] * bent).astype(np.float32)
        away[:, 2] = np.where(np.abs(normal[:, 2]) > 0.5, np.abs(away[:, 2]), away[:, 2])
        hidden = self.scene.blocked(position + normal * 0.03, away)
        seen = np.where(hidden[:, None], 0.16 * rgb(look.sky_light), self.sky(away))
        fresnel = 0.06 + 0.94 * np.clip(1 + along, 0, 1) ** 4
        return mix(light, seen.astype(np.float32), np.clip(mirror * fresnel * 1.6, 0, 0.9))


def _soften_edges(shader: Shader, grid: NDArray[np.float64], hits: Hits, light: Array, shape: tuple[int, int]) -> None:
    """Supersample pixels at the edges of parts with three more rays; modifies `light`."""
    part = hits.part.reshape(shape)
    edge = np.zeros(shape, bool)
    edge[:, 1:] |= part[:, 1:] != part[:, :-1]
    edge[1:] |= part[1:] != part[:-1]
    edge[:, :-1] |= part[:, 1:] != part[:, :-1]
    rows = np.nonzero(edge.ravel())[0]
    total = light[rows].copy()
    for dx, dy in ((0.35, 0.15), (-0.15, 0.35), (-0.3, -0.3)):
        pixels = grid[rows] + (dx, dy)
        total += np.minimum(shader.paint(pixels, shader.view.cast(pixels)), 4.0)
    light[rows] = total / 4


def _expose(light: Array, look: Condition, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Camera model: lens, precipitation, exposure, noise, 8 bits."""
    height, width = light.shape[:2]
    scale = width / 512
    if look.lamps > 0.5:  # glare in the lens
        bright = np.maximum(light - 0.8, 0)
        for sigma, weight in ((2.0, 0.25), (9.0, 0.12)):
            light = light + weight * ndimage.gaussian_filter(bright, (sigma * scale, sigma * scale, 0))
    if look.blur:
        light = ndimage.gaussian_filter(light, (look.blur * scale, look.blur * scale, 0))
    if look.drops:
        light = _drops(light, look.drops, rng)
    if look.streaks or look.flakes:
        light = _precipitation(light, look, rng)
    balance = rgb([1 + look.warmth, 1, 1 - look.warmth]) * rng.normal(1, 0.015, 3).astype(np.float32)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    vignette = 1 - 0.13 * (x[None] ** 2 + y[:, None] ** 2)
    exposure = look.exposure * rng.normal(1, 0.04)
    film = 1 - np.exp(-1.7 * exposure * np.maximum(light, 0) * balance * vignette[..., None])
    value = film.astype(np.float32) ** np.float32(1 / 2.2)
    grain = rng.standard_normal(value.shape, dtype=np.float32)
    value += grain * look.noise * (1.25 - 0.7 * value)
    return np.clip(value * 255 + 0.5, 0, 255).astype(np.uint8)


def _drops(light: Array, count: int, rng: np.random.Generator) -> Array:
    """Add drops on the lens: round patches that show the street blurred and upside down."""
    height, width = light.shape[:2]
    blurred = ndimage.gaussian_filter(light, (0.012 * width, 0.012 * width, 0))[::-1]
    light = light.copy()
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(count):
        centre_x, centre_y = rng.uniform(0, width), rng.uniform(0, height)
        radius = width * rng.uniform(0.008, 0.03)
        box = (
            slice(max(0, int(centre_y - radius) - 1), int(centre_y + radius) + 2),
            slice(max(0, int(centre_x - radius) - 1), int(centre_x + radius) + 2),
        )
        inside = smooth(1 - np.hypot(x[box] - centre_x, 0.85 * (y[box] - centre_y)) / radius, 0.0, 0.35)[..., None]
        light[box] += (0.9 * blurred[box] + 0.03 - light[box]) * 0.85 * inside
    return light


def _precipitation(light: Array, look: Condition, rng: np.random.Generator) -> Array:
    """Add streaks of rain or flakes of snow, near and far."""
    height, width = light.shape[:2]
    veil = np.zeros((height, width), np.float32)
    if look.streaks:
        drops = (rng.random((height, width), dtype=np.float32) > 0.9975).astype(np.float32)
        veil += look.streaks * 2.2 * ndimage.uniform_filter1d(drops, max(3, height // 24), axis=0)
    if look.flakes:
        for size, density in ((0.0011, 0.004), (0.0022, 0.0012), (0.0045, 0.00022)):
            flakes = (rng.random((height, width), dtype=np.float32) > 1 - density).astype(np.float32)
            sigma = size * width
            veil += look.flakes * 5.0 * sigma**2 * ndimage.gaussian_filter(flakes, (1.5 * sigma, sigma))
    white = rgb(look.horizon)
    return light + (white - light) * np.clip(veil, 0, 0.85)[..., None]

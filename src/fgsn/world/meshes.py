"""Triangle meshes and the basic shapes of the town. World frame: metres, z up."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.world.texture import Array


@dataclass(frozen=True)
class Part:
    """A group of triangles with one material, such as a wall."""

    material: str
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    values: tuple[float, ...] = ()
    """Parameters of the material, at most 8."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle soup of F triangles."""

    triangles: Array
    """(F, 3, 3) corners in metres."""
    uv: Array
    """(F, 3, 2) surface coordinates of the corners in metres."""
    part: NDArray[np.int32]
    """(F,) part of each triangle."""
    keep: Array
    """(F,) a leaf is shown while the share of leaves on the trees is above this; -1 for everything else."""

    def __len__(self) -> int:
        return len(self.part)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Mesh":
        """The triangles selected by a mask or by indices."""
        return Mesh(self.triangles[which], self.uv[which], self.part[which], self.keep[which])


@dataclass
class MeshBuilder:
    """Collects parts and triangles. Part numbers start at `first`, so that meshes can be joined."""

    first: int = 0
    parts: list[Part] = field(default_factory=list)
    _pieces: list[tuple[Array, Array, NDArray[np.int32], Array]] = field(default_factory=list)

    def part(self, material: str, colour: ArrayLike = (0.5, 0.5, 0.5), values: tuple[float, ...] = ()) -> int:
        """Register a part and return its number."""
        red, green, blue = (float(value) for value in np.asarray(colour).ravel()[:3])
        self.parts.append(Part(material, (red, green, blue), values))
        return self.first + len(self.parts) - 1

    def triangles(self, part: int, corners: ArrayLike, uv: ArrayLike | None = None, keep: ArrayLike = -1.0) -> None:
        """Add triangles (F, 3, 3); without `uv`, surface coordinates are x + y and z."""
        corners = np.asarray(corners, np.float32).reshape(-1, 3, 3)
        if uv is None:
            uv = np.stack([corners[..., 0] + corners[..., 1], corners[..., 2]], axis=-1)
        uv = np.asarray(uv, np.float32).reshape(-1, 3, 2)
        count = len(corners)
        kept = np.broadcast_to(np.asarray(keep, np.float32), count)
        self._pieces.append((corners, uv, np.full(count, part, np.int32), kept))

    def quads(self, part: int, corners: ArrayLike, uv: ArrayLike | None = None, keep: ArrayLike = -1.0) -> None:
        """Add quadrilaterals (Q, 4, 3) with their corners in order; uv (Q, 4, 2)."""
        corners = np.asarray(corners, np.float32).reshape(-1, 4, 3)
        fan = [0, 1, 2, 0, 2, 3]
        if uv is not None:
            uv = np.asarray(uv, np.float32).reshape(-1, 4, 2)[:, fan].reshape(-1, 3, 2)
        keep = np.repeat(np.broadcast_to(np.asarray(keep, np.float32), len(corners)), 2)
        self.triangles(part, corners[:, fan].reshape(-1, 3, 3), uv, keep)

    def strip(self, part: int, near: Array, far: Array, uv_near: Array, uv_far: Array) -> None:
        """Add the surface between two lines of N points (N, 3) with their uv (N, 2)."""
        corners, uv = (
            np.stack([one[:-1], one[1:], other[1:], other[:-1]], axis=1)
            for one, other in ((near, far), (uv_near, uv_far))
        )
        self.quads(part, corners, uv)

    def wall(self, part: int, start: ArrayLike, end: ArrayLike, low: float, high: float) -> None:
        """Add an upright rectangle from `start` to `end` (x, y); u runs along it, v is the height above `low`."""
        (x0, y0), (x1, y1) = np.asarray(start, float), np.asarray(end, float)
        length = float(np.hypot(x1 - x0, y1 - y0))
        corners = [(x0, y0, low), (x1, y1, low), (x1, y1, high), (x0, y0, high)]
        self.quads(part, [corners], [[(0, 0), (length, 0), (length, high - low), (0, high - low)]])

    def box(
        self, part: int, frame: "LocalFrame", low: tuple[float, float, float], high: tuple[float, float, float]
    ) -> None:
        """Add a box between two corners in a local frame; u, v are metres on each face."""
        x0, y0, z0 = low
        x1, y1, z1 = high
        corners = frame.place(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
        for i in range(4):
            self.wall(part, corners[i], corners[(i + 1) % 4], frame.z + z0, frame.z + z1)
        for z in (z0, z1):
            top = np.column_stack([corners, np.full(4, frame.z + z)])
            self.quads(part, [top], [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]])

    def tube(
        self, part: int, frame: "LocalFrame", start: ArrayLike, end: ArrayLike, radius: float, tip: float, sides: int
    ) -> None:
        """Add a tapered tube between two points (x, y, z) in a local frame; u runs around, v along."""
        low, high = (frame.place(np.array([one])) for one in (start, end))
        self.triangles(part, *tubes(low, high, [radius], [tip], sides))

    def mesh(self) -> Mesh:
        """All triangles added so far."""
        self.triangles(self.first, np.zeros((0, 3, 3)))  # so that there is something to concatenate
        return Mesh(*(np.concatenate(columns) for columns in zip(*self._pieces, strict=True)))


@dataclass(frozen=True)
class LocalFrame:
    """An upright local frame in the world: x ahead, y left, z up."""

    x: float
    y: float
    heading: float
    """Direction of local x in radians, counter-clockwise from world x."""
    z: float = 0.0

    def place(self, points: ArrayLike) -> NDArray[np.float64]:
        """World coordinates of local points (..., 2) or (..., 3)."""
        points = np.asarray(points, np.float64)
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        x = self.x + cos * points[..., 0] - sin * points[..., 1]
        y = self.y + sin * points[..., 0] + cos * points[..., 1]
        if points.shape[-1] == 2:
            return np.stack([x, y], axis=-1)
        return np.stack([x, y, self.z + points[..., 2]], axis=-1)

    def at(self, ahead: float, left: float, turn: float = 0.0, up: float = 0.0) -> "LocalFrame":
        """A frame at a position and rotation relative to this one."""
        x, y = self.place((ahead, left))
        return LocalFrame(float(x), float(y), self.heading + turn, self.z + up)


def tubes(start: ArrayLike, end: ArrayLike, radius: ArrayLike, tip: ArrayLike, sides: int) -> tuple[Array, Array]:
    """Tapered tubes (N) without caps as triangles (N * sides * 2, 3, 3) and their uv."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = end - start
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = axis / np.maximum(length, 1e-9)
    helper = np.where(np.abs(axis[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    right = np.cross(axis, helper)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(right, axis)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = right[:, None] * np.cos(angle)[:, None] + up[:, None] * np.sin(angle)[:, None]  # (N, sides + 1, 3)
    radius, tip = np.asarray(radius, np.float64), np.asarray(tip, np.float64)
    low = start[:, None] + ring * radius[:, None, None]
    high = end[:, None] + ring * tip[:, None, None]
    around = angle * radius[:, None]
    uv_low = np.stack([around, np.zeros_like(around)], axis=-1)
    uv_high = np.stack([around, np.broadcast_to(length, around.shape)], axis=-1)

    def fan(a: NDArray[np.float64], b: NDArray[np.float64]) -> Array:
        first = np.stack([a[:, :-1], a[:, 1:], b[:, 1:]], axis=2)
        second = np.stack([a[:, :-1], b[:, 1:], b[:, :-1]], axis=2)
        return np.concatenate([first, second], axis=1).reshape(-1, 3, a.shape[-1]).astype(np.float32)

    return fan(low, high), fan(uv_low, uv_high)

"""The centre line of the street: it bends between crossings and never crosses itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsn.world.meshes import LocalFrame, MeshBuilder

Array = NDArray[np.float64]
_STEP = 0.5  # metres between samples of the line
_STRAIGHT = 16.0  # metres before and after a crossing without a bend
_LONGEST_TURN = 0.5  # radians per block; keeps the radius of bends above the width of the lawns


@dataclass(frozen=True, eq=False)
class Route:
    """Positions and headings every `_STEP` metres from `start`, and the crossings."""

    start: float
    points: Array
    """(N, 2) x, y."""
    headings: Array
    """(N,) radians."""
    crossings: Array
    """(C,) distances along the route."""

    @property
    def end(self) -> float:
        """Last distance along the route."""
        return self.start + _STEP * (len(self.points) - 1)

    def at(self, along: ArrayLike, left: ArrayLike = 0.0) -> tuple[Array, Array]:
        """Points (..., 2) and headings (...) at a distance along the route and an offset to its left, in metres."""
        place = (np.asarray(along, np.float64) - self.start) / _STEP
        index = np.arange(len(self.points))
        x, y = (np.interp(place, index, self.points[:, axis]) for axis in (0, 1))
        heading = np.interp(place, index, self.headings)
        left = np.asarray(left, np.float64)
        return np.stack([x - left * np.sin(heading), y + left * np.cos(heading)], axis=-1), heading

    def frame(self, along: float, left: float = 0.0, turn: float = 0.0) -> LocalFrame:
        """A local frame at that point, looking along the street, rotated by `turn` radians."""
        (x, y), heading = self.at(along, left)
        return LocalFrame(float(x), float(y), float(heading) + turn)

    def ribbon(
        self, build: MeshBuilder, part: int, along: tuple[float, float], left: tuple[float, float], height: float
    ) -> None:
        """Add a flat band; u runs along the route, v across it."""
        s = _samples(along)
        near, far = (np.column_stack([self.at(s, d)[0], np.full(len(s), height)]) for d in left)
        build.strip(part, near, far, *(np.column_stack([s, np.full(len(s), d)]) for d in left))

    def curb(
        self, build: MeshBuilder, part: int, along: tuple[float, float], left: float, heights: tuple[float, float]
    ) -> None:
        """Add an upright band at a constant offset to the left."""
        s = _samples(along)
        low, high = (np.column_stack([self.at(s, left)[0], np.full(len(s), z)]) for z in heights)
        build.strip(part, low, high, *(np.column_stack([s, np.full(len(s), z)]) for z in heights))


def _samples(along: tuple[float, float]) -> Array:
    """Distances along the route, at most 4 metres apart."""
    return np.linspace(*along, max(2, int(np.ceil((along[1] - along[0]) / 4)) + 1))


def lay_route(seed: int, length: float, before: float = 40.0) -> Route:
    """Generate a street of at least `length` metres; a longer one starts with the same blocks."""
    headings, crossings = [np.zeros(int(before / _STEP))], []
    along, heading, block = 0.0, 0.0, 0
    while along < length:
        rng = np.random.default_rng((seed, 1, block))
        size = float(rng.uniform(58, 88))
        turn = float(rng.uniform(-_LONGEST_TURN, _LONGEST_TURN))
        turn = float(np.clip(heading + turn, -0.7, 0.7)) - heading  # so that the street never turns back
        steps = round(size / _STEP)
        share = np.clip((np.arange(steps) * _STEP - _STRAIGHT) / (size - 2 * _STRAIGHT), 0, 1)
        headings.append(heading + turn * (share * share * (3 - 2 * share)))
        heading += turn
        along += steps * _STEP
        crossings.append(along)
        block += 1
    headings.append(np.full(int(30 / _STEP), heading))
    every = np.concatenate(headings)
    steps_xy = np.stack([np.cos(every), np.sin(every)], axis=1) * _STEP
    points = np.cumsum(steps_xy, axis=0) - steps_xy[0] + (-before, 0.0)
    return Route(-before, points, every, np.array(crossings))

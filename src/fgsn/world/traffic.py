"""Cars and people; they move, so they never have correspondences."""

import numpy as np
from numpy.random import Generator

from fgsn.world.meshes import LocalFrame, MeshBuilder

_PAINT = [
    (0.60, 0.60, 0.62), (0.03, 0.03, 0.035), (0.25, 0.26, 0.28), (0.35, 0.02, 0.02),
    (0.03, 0.07, 0.25), (0.55, 0.53, 0.45), (0.06, 0.16, 0.09), (0.10, 0.11, 0.12),
]  # fmt: skip


def car(build: MeshBuilder, frame: LocalFrame, rng: Generator, lit: bool = False) -> None:
    """Add a car along local x, centred at the frame; if `lit`, its lights are on in the dark."""
    paint = build.part("car", np.array(_PAINT[rng.integers(len(_PAINT))]) * rng.uniform(0.8, 1.2))
    glass, tyre = build.part("car glass", (0.02, 0.025, 0.03)), build.part("tyre", (0.015, 0.015, 0.016))
    front = build.part("headlight", (0.7, 0.7, 0.7), (float(lit),))
    rear = build.part("taillight", (0.35, 0.01, 0.01), (float(lit),))
    kind = int(rng.integers(3))  # saloon, estate, van
    length, half = (4.4, 4.6, 4.9)[kind] * float(rng.uniform(0.9, 1.05)), 0.87
    waist, roof = (0.92, 0.95, 1.1)[kind], (1.42, 1.48, 1.95)[kind]
    back, ahead = -length / 2, length / 2
    # The side view: bonnet, windscreen, roof, rear window, boot.
    body = [(back, 0.35), (ahead, 0.35), (ahead, 0.72), (ahead - (1.1, 1.05, 0.7)[kind], waist), (back, waist)]
    cabin_low = (back + (0.75, 0.12, 0.05)[kind], ahead - (1.15, 1.1, 0.75)[kind])
    cabin_high = (back + (1.3, 0.4, 0.15)[kind], ahead - (1.95, 1.9, 1.35)[kind])
    _prism(build, paint, frame, body, half, half)
    cabin = [(cabin_low[0], waist), (cabin_low[1], waist), (cabin_high[1], roof - 0.04), (cabin_high[0], roof - 0.04)]
    _prism(build, glass, frame, cabin, half - 0.05, half - 0.17)
    x0, x1 = cabin_high
    lid = [(x0 - 0.04, roof - 0.05), (x1 + 0.04, roof - 0.05), (x1 - 0.1, roof), (x0 + 0.1, roof)]
    _prism(build, paint, frame, lid, half - 0.15, half - 0.2)
    x0, x1 = (x0 + x1) / 2 - 0.05, (x0 + x1) / 2 + 0.05
    pillar = [(x0, waist), (x1, waist), (x1, roof - 0.03), (x0, roof - 0.03)]
    _prism(build, paint, frame, pillar, half - 0.04, half - 0.16)
    for x in (back + 0.8, ahead - 0.85):
        for y in (-1, 1):
            rim = build.part("rim", (0.35, 0.35, 0.36))
            build.tube(tyre, frame, (x, y * (half - 0.2), 0.32), (x, y * (half + 0.02), 0.32), 0.32, 0.32, 14)
            build.tube(rim, frame, (x, y * (half + 0.021), 0.32), (x, y * (half + 0.03), 0.32), 0.2, 0.0, 10)
            build.tube(tyre, frame, (x, y * (half + 0.02), 0.32), (x, y * (half + 0.022), 0.32), 0.32, 0.18, 14)
    for y in (-1, 1):
        low, high = sorted((y * 0.45, y * 0.82))
        build.box(front, frame, (ahead - 0.02, low, 0.55), (ahead + 0.02, high, 0.7))
        build.box(rear, frame, (back - 0.02, low, 0.65), (back + 0.02, high, 0.82))
    plate = build.part("plate", (0.6, 0.6, 0.55))
    build.box(plate, frame, (back - 0.02, -0.25, 0.48), (back + 0.0, 0.25, 0.6))


def _prism(
    build: MeshBuilder, part: int, frame: LocalFrame, outline: list[tuple[float, float]], low: float, high: float
) -> None:
    """Extrude a side view (x, z) along y; the half width is `low` at the lowest z and `high` at the highest."""
    shape = np.array(outline)
    z = shape[:, 1]
    half = low + (high - low) * (z - z.min()) / np.ptp(z)
    left = frame.place(np.column_stack([shape[:, 0], half, z]))
    right = frame.place(np.column_stack([shape[:, 0], -half, z]))
    for side in (left, right):
        build.triangles(part, [(side[0], side[i], side[i + 1]) for i in range(1, len(side) - 1)])
    after = (np.arange(len(shape)) + 1) % len(shape)
    build.quads(part, np.stack([left, left[after], right[after], right], axis=1))


def person(build: MeshBuilder, frame: LocalFrame, rng: Generator) -> None:
    """Add a pedestrian walking along local x."""
    skin = build.part("person", (0.45, 0.28, 0.20))
    coat = build.part("person", rng.uniform(0.02, 0.4, 3))
    trousers = build.part("person", rng.uniform(0.02, 0.12, 3))
    scale, step = float(rng.uniform(0.92, 1.08)), float(rng.uniform(0.1, 0.35))

    def limb(part: int, start: tuple[float, ...], end: tuple[float, ...], radius: float, tip: float) -> None:
        low, high = np.array(start) * scale, np.array(end) * scale
        build.tube(part, frame, low, high, radius * scale, tip * scale, 8)

    for side in (-1, 1):
        limb(trousers, (side * step, side * 0.1, 0), (0, side * 0.09, 0.85), 0.065, 0.09)
        limb(coat, (-side * step * 0.8, side * 0.24, 0.85), (0, side * 0.2, 1.42), 0.045, 0.06)
    limb(coat, (0, 0, 0.8), (0, 0, 1.2), 0.19, 0.2)
    limb(coat, (0, 0, 1.2), (0, 0, 1.48), 0.2, 0.09)
    limb(skin, (0, 0, 1.46), (0, 0, 1.62), 0.07, 0.11)
    limb(build.part("person", rng.uniform(0.01, 0.15, 3)), (0, 0, 1.62), (0, 0, 1.76), 0.115, 0.03)

"""Trees, conifers, bushes and hedges; leaves fall in autumn, wood stays."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fgsn.world.meshes import LocalFrame, MeshBuilder, tubes
from fgsn.world.texture import Array


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree of height 1 with its foot at the origin, to be scaled, rotated and planted."""

    wood: Array
    wood_uv: Array
    leaves: Array
    """(Q, 4, 3) leaf clumps as quadrilaterals."""
    keep: Array
    """(Q,) `Mesh.keep` of each clump."""


def grow(rng: Generator) -> Tree:
    """Grow a broad-leaved tree: three generations of branches, with clumps of leaves at the twigs."""
    fork = float(rng.uniform(0.26, 0.36))
    starts, ends = [(0.0, 0.0, 0.0)], [(0.0, 0.0, fork)]
    radii, tips = [0.022], [0.016]
    twig_ends = []
    limbs = [(np.array([0.0, 0.0, fork]), np.array([0.0, 0.0, 1.0]), 0.30, 0.013)]
    for generation, (children, spread, shrink) in enumerate([(6, 0.8, 0.85), (4, 0.9, 0.62), (4, 1.0, 0.6)]):
        grown = []
        for base, direction, length, radius in limbs:
            for child in range(children):
                sideways = rng.normal(size=3)
                sideways -= sideways @ direction * direction
                sideways /= np.linalg.norm(sideways)
                aim = direction + sideways * spread * rng.uniform(0.5, 1.2) + (0, 0, 0.12)
                aim /= np.linalg.norm(aim)
                along = child / children * (0.0 if generation == 0 else 0.8)
                start = base - direction * length * along if generation else base
                reach = length * shrink * rng.uniform(0.75, 1.2)
                end = start + aim * reach
                starts.append(tuple(start))
                ends.append(tuple(end))
                radii.append(radius * 0.75)
                tips.append(radius * 0.4)
                grown.append((end, aim, reach, radius * 0.5))
                if generation == 2:
                    twig_ends.append(end)
        limbs = grown
    wood, wood_uv = tubes(starts, ends, np.array(radii), np.array(tips), 5)
    clumps = np.repeat(np.array(twig_ends), 36, axis=0)
    clumps = clumps + rng.normal(0, 0.034, clumps.shape)
    leaves = _leaves(clumps, rng.uniform(0.008, 0.016, len(clumps)), rng)
    return Tree(wood, wood_uv, leaves, rng.random(len(leaves)).astype(np.float32))


def _leaves(centres: NDArray[np.float64], size: NDArray[np.float64], rng: Generator) -> Array:
    """Randomly rotated quadrilaterals (N, 4, 3) with half side `size` (N,)."""
    first = rng.normal(size=centres.shape)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(first, rng.normal(size=centres.shape))
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    first, second = first * size[:, None], second * size[:, None] * 0.7
    corners = [centres - first - second, centres + first - second, centres + first + second, centres - first + second]
    return np.stack(corners, axis=1).astype(np.float32)


def plant(build: MeshBuilder, tree: Tree, frame: LocalFrame, height: float, rng: Generator, near: bool = True) -> None:
    """Add a tree, scaled and randomly rotated; a distant one (not `near`) has fewer and larger leaves."""
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    width = height * rng.uniform(0.85, 1.2)
    linear = np.array([[cos * width, sin * width, 0], [-sin * width, cos * width, 0], [0, 0, height]])
    foot = np.array([frame.x, frame.y, frame.z])
    bark = build.part("bark", np.array((0.16, 0.12, 0.09)) * rng.uniform(0.7, 1.3))
    build.triangles(bark, tree.wood @ linear + foot, tree.wood_uv * height)
    green = np.array((0.075, 0.13, 0.03)) * rng.uniform(0.7, 1.35) + rng.uniform(-0.015, 0.03) * np.array((1, 0.3, 0))
    crown = build.part("leaf", np.clip(green, 0.01, 1), (float(rng.random()), height))
    leaves, keep = tree.leaves, tree.keep
    if not near:
        middle = leaves[::3].mean(axis=1, keepdims=True)
        leaves, keep = middle + 1.6 * (leaves[::3] - middle), keep[::3]
    build.quads(crown, leaves @ linear + foot, keep=keep)


def conifer(build: MeshBuilder, frame: LocalFrame, height: float, rng: Generator) -> None:
    """Add an evergreen: a trunk with drooping sprays that stay all year."""
    bark = build.part("bark", (0.10, 0.07, 0.05))
    build.tube(bark, frame, (0, 0, 0), (0, 0, height), 0.016 * height, 0.01, 6)
    count = 900
    level = rng.random(count) ** 0.7 * 0.9  # 0 at the foot of the crown, 1 at its tip
    angle = rng.uniform(0, 2 * np.pi, count)
    reach = height * 0.2 * (1.02 - level) * rng.uniform(0.35, 1.1, count)
    base = height * (0.12 + 0.88 * level)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    across = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * (0.12 + 0.12 * reach)[:, None]
    tip = direction * reach[:, None]
    near = direction * (reach * 0.45)[:, None]
    ends = [(near - across, base), (near + across, base), (tip, base - 0.28 * reach - 0.1)]
    corners = np.stack([np.column_stack(end) for end in ends], axis=1)
    needles = build.part("needles", np.array((0.025, 0.055, 0.025)) * rng.uniform(0.8, 1.5))
    build.triangles(needles, frame.place(corners))


def hedge(build: MeshBuilder, frame: LocalFrame, length: float, height: float, rng: Generator) -> None:
    """Add a clipped evergreen hedge along local x from 0 to `length`: a rough box with sprays on it."""
    part = build.part("hedge", np.array((0.045, 0.085, 0.025)) * rng.uniform(0.7, 1.4))
    build.box(part, frame, (0, -0.35, 0), (length, 0.35, height))
    count = int(90 * length * height)
    centres = rng.uniform((0, -0.42, 0.05), (length, 0.42, height + 0.08), (count, 3))
    outward = rng.random(count) < 0.75
    centres[outward, 1] = np.sign(centres[outward, 1]) * rng.uniform(0.33, 0.44, int(outward.sum()))
    build.quads(part, frame.place(_leaves(centres, rng.uniform(0.04, 0.1, count), rng)))


def bush(build: MeshBuilder, frame: LocalFrame, size: float, rng: Generator) -> None:
    """Add a deciduous bush: a few stems, and leaves that fall."""
    bark = build.part("bark", (0.14, 0.10, 0.08))
    ends = rng.normal(0, 0.35, (9, 3)) * size
    ends[:, 2] = rng.uniform(0.5, 0.95, 9) * size
    foot = np.tile(frame.place((0, 0, 0)), (9, 1))
    build.triangles(bark, *tubes(foot, frame.place(ends), [0.025] * 9, [0.01] * 9, 4))
    count = int(420 * size)
    centres = rng.normal(size=(count, 3))
    centres *= (rng.uniform(0.5, 1, count) / np.linalg.norm(centres, axis=1))[:, None] * size * 0.6
    centres[:, 2] = np.abs(centres[:, 2] + 0.45 * size)
    leaves = build.part("leaf", np.array((0.07, 0.12, 0.03)) * rng.uniform(0.7, 1.4), (float(rng.random()), size))
    quads = _leaves(centres, rng.uniform(0.05, 0.11, count), rng)
    build.quads(leaves, frame.place(quads), keep=rng.random(count).astype(np.float32))

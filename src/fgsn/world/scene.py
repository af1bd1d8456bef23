"""Ray casting: first hits and occlusion."""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from fgsn.world.materials import MATERIALS
from fgsn.world.meshes import Array, Mesh, Part

_NAMES = list(MATERIALS)


@dataclass(frozen=True, eq=False)
class Hits:
    """First hits of N rays; `part` and `triangle` are -1 for the sky."""

    depth: Array
    """(N,) in units of the ray's direction; infinite for the sky."""
    part: NDArray[np.int64]
    triangle: NDArray[np.int64]
    normal: Array
    """(N, 3) facing the ray's origin."""
    uv: Array
    """(N, 2) surface coordinates."""


class RayMesh:
    """A mesh with an acceleration structure for ray casting."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        edges = mesh.triangles[:, 1:] - mesh.triangles[:, :1]
        normal = np.cross(edges[:, 0], edges[:, 1])
        self.normals = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, mesh.triangles)

    def cast(self, origins: Array, directions: Array) -> Hits:
        """First hits of rays (N, 3) float32."""
        raw = self._scene.run(origins, directions, output=True)
        triangle = raw["primID"].astype(np.int64)
        hit = triangle >= 0
        depth = np.where(hit, raw["tfar"], np.float32(np.inf))
        found = triangle[hit]
        normal = np.zeros((len(triangle), 3), np.float32)
        normal[hit] = self.normals[found]
        normal *= np.where(np.einsum("ij,ij->i", normal, directions) > 0, -1, 1)[:, None].astype(np.float32)
        uv = np.zeros((len(triangle), 2), np.float32)
        corner = self.mesh.uv[found]
        b, c = raw["u"][hit][:, None], raw["v"][hit][:, None]
        uv[hit] = corner[:, 0] * (1 - b - c) + corner[:, 1] * b + corner[:, 2] * c
        part = np.full(len(triangle), -1, np.int64)
        part[hit] = self.mesh.part[found]
        return Hits(depth, part, triangle, normal, uv)

    def blocked(self, origins: Array, directions: Array) -> NDArray[np.bool_]:
        """Whether the rays (N, 3) float32 hit anything, (N,)."""
        return self._scene.run(origins, directions, query="OCCLUDED") >= 0


class Scene:
    """The town on one drive, and for one image the things that move."""

    def __init__(self, standing: RayMesh, parts: list[Part], moving: RayMesh | None = None) -> None:
        self.standing, self.moving = standing, moving
        self.parts = parts
        self.material = np.array([_NAMES.index(part.material) for part in parts])
        self.colour = np.array([part.colour for part in parts], np.float32)
        self.values = np.zeros((len(parts), 8), np.float32)
        for row, part in enumerate(parts):
            self.values[row, : len(part.values)] = part.values
        # The last row is that of the sky, whose part is -1.
        self.label = np.array([*(MATERIALS[part.material].label for part in parts), 23], np.uint8)
        self.static = np.array([*(MATERIALS[part.material].static for part in parts), False])
        self.ground = np.array([*(MATERIALS[part.material].ground for part in parts), False])

    def with_moving(self, mesh: Mesh, parts: list[Part]) -> "Scene":
        """This scene with moving things; their parts are numbered after those of the scene."""
        return Scene(self.standing, self.parts + parts, RayMesh(mesh)) if len(mesh) else self

    def cast(self, origins: Array, directions: Array) -> Hits:
        """First hits of rays (N, 3) float32 with standing and moving things."""
        hits = self.standing.cast(origins, directions)
        if self.moving is None:
            return hits
        other = self.moving.cast(origins, directions)
        nearer = other.depth < hits.depth
        columns = (
            np.where(nearer if b.ndim == 1 else nearer[:, None], b, a)
            for a, b in zip(vars(hits).values(), vars(other).values(), strict=True)
        )
        return Hits(*columns)

    def blocked(self, origins: Array, directions: Array) -> NDArray[np.bool_]:
        """Whether the rays (N, 3) float32 hit anything, (N,)."""
        blocked = self.standing.blocked(origins, directions)
        return blocked if self.moving is None else blocked | self.moving.blocked(origins, directions)

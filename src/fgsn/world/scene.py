"""Ray casting: first hits and occlusion, and cameras that cast rays through their pixels."""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from fgsn.geometry.camera import Camera
from fgsn.geometry.pose import Pose
from fgsn.world.materials import MATERIALS
from fgsn.world.meshes import Mesh, Part
from fgsn.world.texture import Array

FARTHEST = 100.0
"""Metres; farther points constrain the pose too little to be correspondences."""
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


@dataclass(frozen=True, eq=False)
class SceneCamera:
    """A camera at a pose in a scene; casts rays through its pixels."""

    scene: Scene
    camera: Camera
    pose: Pose
    """`camera_from_world`"""

    def directions(self, pixels: NDArray[np.float64]) -> Array:
        """World ray directions (N, 3) of pixels (N, 2), float32, scaled to one metre along the optical axis."""
        return np.einsum("ij,jk->ik", self.camera.rays(pixels), self.pose.rotation).astype(np.float32)

    def cast(self, pixels: NDArray[np.float64]) -> Hits:
        """First hits of the rays through pixels (N, 2)."""
        directions = self.directions(pixels)
        origins = np.broadcast_to(self.pose.centre.astype(np.float32), directions.shape).copy()
        return self.scene.cast(origins, directions)

    def cast_pixels(self, pixels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """World points (N, 3) seen at pixels (N, 2), NaN for the sky, and their parts (N,), -1 for the sky."""
        hits = self.cast(pixels)
        depth = np.where(hits.part >= 0, hits.depth, np.nan).astype(np.float64)
        return self.pose.inverse().transform(self.camera.unproject(pixels, depth)), hits.part

    def labels(self, pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Semantic labels (N,) at pixels (N, 2)."""
        return self.scene.label[self.cast(pixels).part]

    def visible(
        self, points: NDArray[np.float64], parts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Projections (N, 2) of points (N, 3) on parts (N,), and which of them are visible (N,).

        A point is visible if the ray through its projection hits the same part at the same position.
        """
        pixels, depth = self.camera.project(self.pose.transform(points))
        seen = self.camera.contains(pixels) & (depth < FARTHEST)
        rows = np.nonzero(seen)[0]
        found, part = self.cast_pixels(pixels[rows])
        apart = np.linalg.norm(found - points[rows], axis=1)
        seen[rows] = (part == parts[rows]) & (apart < 0.01 + 0.0005 * depth[rows])
        return pixels, seen

"""The particle filter's map: points with a position and a label, without descriptors."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from fgsn.errors import FgsnError
from fgsn.geometry.camera import Camera
from fgsn.geometry.visibility import Visibility

SLACK = 0.1
"""Share by which a point may be nearer or farther than in the images of the map."""
NARROWEST = 0.7
"""Smallest half angle of a cone in radians (40 degrees): a point observed once is visible from around there."""


@dataclass(frozen=True, eq=False)
class MapPoints:
    """N map points."""

    positions: NDArray[np.floating]
    """(N, 3) in the world frame."""
    labels: NDArray[np.integer]
    """(N,) labels; points with labels outside 0 to K - 1 are ignored."""
    visibility: Visibility | None = None
    """Without it, every point in front of the camera may be visible."""

    def __post_init__(self) -> None:
        count = len(self.positions)
        if self.positions.shape != (count, 3) or self.labels.shape != (count,) or not count:
            raise FgsnError(
                f"a map needs points (N, 3) with labels (N,), not {self.positions.shape} with {self.labels.shape}"
            )
        if not np.isfinite(self.positions).all():
            raise FgsnError("the map has points that are not finite")


class MapTensors:
    """Labelled map points as tensors on a device, relative to an origin so that float32 suffices everywhere."""

    def __init__(self, points: MapPoints, labels: int, origin: NDArray[np.float64], device: torch.device) -> None:
        known = (points.labels >= 0) & (points.labels < labels)
        if not known.any():
            raise FgsnError(f"no map point has one of the {labels} labels; label map and queries with the same model")
        self.positions = torch.from_numpy((points.positions[known] - origin).astype(np.float32)).to(device)
        self.labels = torch.from_numpy(points.labels[known].astype(np.int32)).to(device)
        self.cones: Tensor | None = None
        if points.visibility is not None:
            seen = points.visibility
            columns = [
                *seen.axis.T, np.cos(np.maximum(seen.half_angle, NARROWEST)),
                seen.nearest * (1 - SLACK), seen.farthest * (1 + SLACK),
            ]  # fmt: skip
            self.cones = torch.from_numpy(np.stack(columns, axis=1)[known].astype(np.float32)).to(device)

    def in_view(
        self,
        rotation: Float[Tensor, "3 3"],
        centre: Float[Tensor, "3"],
        camera: Camera,
        metres: float,
        radians: float,
        most: int,
        generator: torch.Generator,
    ) -> Int64[Tensor, " chosen"]:
        """Rows of points that may be visible from around a pose, in random order.

        Args:
            centre: of the camera, whose rotation is from the world, relative to the origin.
            camera: its intrinsics; distortion is ignored.
            metres: largest distance of the camera from `centre`.
            radians: largest deviation of its rotation.
            most: maximum number of points; drawn at random if there are more.
        """
        x, y, depth = ((self.positions - centre) @ rotation.T).unbind(dim=1)
        across = torch.maximum(
            x.abs() - depth * (camera.width / 2 / camera.fx), y.abs() - depth * (camera.height / 2 / camera.fy)
        )
        inside = (depth > -metres) & (across < metres + radians * depth.clamp(min=0))
        rows = torch.nonzero(inside & self._in_cone(centre, metres))[:, 0]
        return rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]

    def _in_cone(self, centre: Tensor, metres: float) -> Bool[Tensor, " points"]:
        """Which points may be visible from somewhere within `metres` of the centre."""
        if self.cones is None:
            return torch.ones(len(self.positions), dtype=torch.bool, device=self.positions.device)
        axis, (cosine, nearest, farthest) = self.cones[:, :3], self.cones[:, 3:].T
        ray = centre - self.positions
        distance = ray.norm(dim=1)
        in_reach = (distance > nearest - metres) & (distance < farthest + metres)
        turned = torch.acos(((ray * axis).sum(dim=1) / distance.clamp(min=1e-6)).clamp(-1, 1))
        return in_reach & (turned < torch.acos(cosine) + torch.atan2(torch.full_like(distance, metres), distance))

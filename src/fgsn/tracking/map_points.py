"""The particle filter's map: points with a position and a label, no descriptors."""

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
"""By this share a point may be nearer or farther than it ever was when the map was made."""
NARROWEST = 0.7
"""Half opening in radians (40 degrees) of the narrowest cone: a point that was seen once can be seen from around."""


@dataclass(frozen=True, eq=False)
class MapPoints:
    """N map points."""

    positions: NDArray[np.floating]
    """(N, 3) in the world."""
    labels: NDArray[np.integer]
    """(N,) labels; a point whose label is not in 0 ... K - 1 is never looked at."""
    visibility: Visibility | None = None
    """Without it, every point in front of the camera may be seen."""

    def __post_init__(self) -> None:
        count = len(self.positions)
        if self.positions.shape != (count, 3) or self.labels.shape != (count,) or not count:
            raise FgsnError(
                f"a map wants points (N, 3) with labels (N,), not {self.positions.shape} with {self.labels.shape}"
            )
        if not np.isfinite(self.positions).all():
            raise FgsnError("the map has points that are not finite")


class PointsInView:
    """Map points on a device, about an origin, so that 32 bits suffice far from the world's."""

    def __init__(self, points: MapPoints, labels: int, origin: NDArray[np.float64], device: torch.device) -> None:
        known = (points.labels >= 0) & (points.labels < labels)
        if not known.any():
            raise FgsnError(f"no map point has one of the {labels} labels; are map and labels of one model?")
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

    def choose(
        self,
        rotation: Float[Tensor, "3 3"],
        centre: Float[Tensor, "3"],
        camera: Camera,
        metres: float,
        radians: float,
        most: int,
        generator: torch.Generator,
    ) -> Int64[Tensor, " chosen"]:
        """Rows of points that may be seen from around a pose, in random order.

        Args:
            rotation: camera from world.
            centre: of the camera, about the origin.
            camera: its image, roughly: a distorted one is taken for a pinhole with the same focal lengths.
            metres: how far the camera may be from there.
            radians: how far it may be turned.
            most: of more points, this many are drawn.
            generator: random numbers, on the CPU.
        """
        x, y, depth = ((self.positions - centre) @ rotation.T).unbind(dim=1)
        across = torch.maximum(
            x.abs() - depth * (camera.width / 2 / camera.fx), y.abs() - depth * (camera.height / 2 / camera.fy)
        )
        inside = (depth > -metres) & (across < metres + radians * depth.clamp(min=0))
        rows = torch.nonzero(inside & self._in_cone(centre, metres))[:, 0]
        return rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]

    def _in_cone(self, centre: Tensor, metres: float) -> Bool[Tensor, " points"]:
        """Which points may be seen from somewhere within `metres`."""
        if self.cones is None:
            return torch.ones(len(self.positions), dtype=torch.bool, device=self.positions.device)
        axis, (cosine, nearest, farthest) = self.cones[:, :3], self.cones[:, 3:].T
        ray = centre - self.positions
        distance = ray.norm(dim=1)
        in_reach = (distance > nearest - metres) & (distance < farthest + metres)
        turned = torch.acos(((ray * axis).sum(dim=1) / distance.clamp(min=1e-6)).clamp(-1, 1))
        return in_reach & (turned < torch.acos(cosine) + torch.atan2(torch.full_like(distance, metres), distance))

"""Labelled map points that vote on a camera pose: they agree if the query shows their label where they project."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from fgsn.geometry.visibility import Visibility
from fgsn.inference.label_lookup import NO_LABEL

Array = NDArray[np.float64]

ELEMENTS, GPU_ELEMENTS = 2**17, 2**24
"""Poses times voters processed at once: on a processor few enough for its caches."""
DISTANCE_SLACK = 1.1
"""A point may be seen from 10 % nearer and farther than in the map (Toft et al. 2018)."""


@dataclass(frozen=True, eq=False)
class Voters(Visibility):
    """V labelled map points, and from where each can be seen."""

    points: NDArray[np.floating]
    """(V, 3) in the world."""
    labels: NDArray[np.integer]
    """(V,) at least 0."""

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Voters":
        """Some of the voters."""
        return Voters(*(getattr(self, field.name)[rows] for field in fields(self)))

    @cached_property
    def tree(self) -> KDTree:
        """For the neighbours of a point; built once per map."""
        return KDTree(self.points)


class VoteCounter:
    """Counts votes for poses of one query by one set of voters, all in upright frames (`fgsn.geometry.gravity`)."""

    def __init__(
        self,
        voters: Voters,
        labels: Tensor,
        pixels_from_upright: Array,
        upright_from_world: Array,
        origin: Array,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Prepare.

        Args:
            voters: the voters.
            labels: (H, W) of the query's pinhole image, NO_LABEL if there is none.
            pixels_from_upright: (3, 3) homogeneous pixels of directions in the camera's upright frame.
            upright_from_world: (3, 3).
            origin: (3,) of the upright world, subtracted from all points and centres.
            device: that votes are counted on.
            dtype: float32, or float64 to agree with the reference implementation in every vote.
        """
        self.count = len(voters)
        height, width = labels.shape
        # A border of pixels without labels catches all points outside the image, and the half pixel of rounding.
        self.labels = torch.nn.functional.pad(labels, (1, 1, 1, 1), value=NO_LABEL).contiguous().view(-1)
        self.limits = width + 1, height + 1
        shift = np.array([[1, 0, 1.5], [0, 1, 1.5], [0, 0, 1]])
        points = voters.points @ upright_from_world.T - origin
        axis = voters.axis @ upright_from_world.T
        ones = np.ones(self.count)

        def tensor(*rows: NDArray[np.floating]) -> Tensor:
            return torch.as_tensor(np.stack(rows), dtype=dtype, device=device)

        self.pixels = torch.as_tensor(shift @ pixels_from_upright, dtype=dtype, device=device)
        self.points = tensor(*points.T, ones)
        self.squares = tensor(*(-2 * points.T), ones, (points**2).sum(axis=1))
        self.cones = tensor(*axis.T, -(axis * points).sum(axis=1))
        self.cosine = tensor(np.cos(voters.half_angle))
        self.near = tensor((voters.nearest / DISTANCE_SLACK) ** 2)
        self.far = tensor((voters.farthest * DISTANCE_SLACK) ** 2)
        self.own_labels = torch.as_tensor(voters.labels, device=device).to(labels.dtype)

    def count_votes(self, centres: Tensor, yaw: Tensor) -> tuple[Tensor, Tensor]:
        """Count for B poses with centres (B, 3) and yaws (B,), a turn about the downward axis.

        Args:
            centres: relative to the origin.
            yaw: radians, from the upright world to the upright camera frame.

        Returns:
            How many voters agree, and how many are in view (B,) each.
        """
        step = max(1, (GPU_ELEMENTS if centres.is_cuda else ELEMENTS) // max(self.count, 1))
        agree, seen = (torch.zeros(len(centres), dtype=torch.int64, device=centres.device) for _ in range(2))
        for start in range(0, len(centres), step):
            part = slice(start, start + step)
            agree[part], seen[part] = self._count(centres[part], yaw[part])
        return agree, seen

    def _count(self, centres: Tensor, yaw: Tensor) -> tuple[Tensor, Tensor]:
        rows = len(centres)
        sine, cosine, zero, one = yaw.sin(), yaw.cos(), torch.zeros_like(yaw), torch.ones_like(yaw)
        turn = torch.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine], dim=1).view(rows, 3, 3)
        matrix = self.pixels @ turn
        matrix = torch.cat([matrix, -matrix @ centres[:, :, None]], dim=2)
        x, y, depth = (matrix.transpose(0, 1).reshape(3 * rows, 4) @ self.points).view(3, rows, -1)

        square = torch.cat([centres, (centres**2).sum(dim=1, keepdim=True), one[:, None]], dim=1)
        square = square @ self.squares
        along = torch.cat([centres, one[:, None]], dim=1) @ self.cones
        view = (square >= self.near) & (square <= self.far)
        view &= along >= square.clamp_(min=0).sqrt_().mul_(self.cosine)
        view &= depth > 1e-3
        # Behind the camera any finite number will do.
        depth = depth.clamp_(min=1e-3).reciprocal_()
        column = x.mul_(depth).clamp_(0, self.limits[0]).int()
        row = y.mul_(depth).clamp_(0, self.limits[1]).int()
        place = row.mul_(self.limits[0] + 1).add_(column).mul_(view)
        label = self.labels.index_select(0, place.view(-1)).view_as(place)
        agree = (label == self.own_labels) & view
        return agree.sum(dim=1), (label != NO_LABEL).sum(dim=1)

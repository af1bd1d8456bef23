"""The likelihood of one label map for camera poses, given map points with only a position and a label.

It is the likelihood of the whole image: the label of a pixel onto which a map point projects is drawn from the point's
row of the confusion matrix or, if the point is occluded, from the image's label distribution; the labels of all other
pixels are drawn from the image's label distribution. Up to a constant, this is a likelihood ratio per visible point:

    log ((1 - occlusion) p(label in the image | label of the point) / p(label in the image) + occlusion)

A point outside the image contributes 0, so a pose neither gains nor loses by seeing few points.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fgsn.geometry.camera import Camera
from fgsn.inference.undistort import undistorted

NEAREST = 0.1
"""Points at a smaller depth (in metres, if the map is metric) are treated as not visible."""
CHUNK = 1 << 17
"""Projections at a time on the CPU, so that they fit its cache."""
GPU_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class LabelLikelihood:
    """Log-likelihood ratios of camera poses for the label map of one image."""

    points: Float[Tensor, "3 points"]
    """Map points in the world frame of the poses."""
    cones: Float[Tensor, "6 points"] | None
    """Viewing cone of each point: axis (3), cosine of its half angle, nearest and farthest distance."""
    rows: Int[Tensor, " points"]
    """Start of the row of each point's label in `table`."""
    symbols: Int[Tensor, " padded"]
    """The image with a border of one pixel, row by row: the symbol of each pixel's label, 0 for none."""
    table: Float[Tensor, " entries"]
    """Log-likelihood ratio for each point label and symbol, flat."""
    expected: Float[Tensor, " entries"]
    """Mean ratio of a visible point, for each point label and every symbol but 0, flat."""
    camera: Camera
    """The camera without distortion."""

    @classmethod
    def of(
        cls,
        points: Float[Tensor, "points 3"],
        cones: Float[Tensor, "points 6"] | None,
        point_labels: Int[Tensor, " points"],
        probabilities: Float[Tensor, "labels labels"],
        labels: NDArray[np.integer],
        camera: Camera,
        occlusion: float,
    ) -> "LabelLikelihood":
        """Prepare the likelihood of an image (see the top of this file).

        Args:
            points: map points that may be visible, relative to an origin near the camera.
            cones: their viewing cones; None makes them visible from everywhere.
            point_labels: their labels, 0 to K - 1.
            probabilities: p(label in the image | label of the point), rows that sum to 1.
            labels: (H, W) label map; values outside 0 to K - 1 are ignored.
            camera: of the image; distortion is removed first.
            occlusion: share of occluded points among those in view, in (0, 1).

        Raises:
            FgsnError: the label map does not have the camera's size.
        """
        device, count = points.device, len(probabilities)
        labels, camera = undistorted(labels, camera)
        known = (labels >= 0) & (labels < count)
        # Symbols number the labels that occur in this image; 0 stands for no label.
        pixels = np.bincount(labels[known], minlength=count)
        present = np.flatnonzero(pixels)
        symbol_of = np.zeros(count + 1, np.int32)
        symbol_of[present] = np.arange(1, len(present) + 1)
        padded = np.zeros((camera.height + 2, camera.width + 2), np.int32)
        padded[1:-1, 1:-1] = symbol_of[np.where(known, labels, count)]
        share = torch.from_numpy((pixels[present] / max(1, pixels.sum())).astype(np.float32)).to(device)

        of_points, row = torch.unique(point_labels, return_inverse=True)
        likely = probabilities[of_points.long()][:, torch.from_numpy(present).to(device)]
        ratio = torch.log((1 - occlusion) * likely / share + occlusion)
        mean = (likely * ratio).sum(dim=1, keepdim=True) / likely.sum(dim=1, keepdim=True).clamp(min=1e-9)
        nothing = torch.zeros(len(of_points), 1, device=device)
        return cls(
            points.T.contiguous(),
            None if cones is None else cones.T.contiguous(),
            (row * (len(present) + 1)).int(),
            torch.from_numpy(padded.ravel()).to(device),
            torch.cat([nothing, ratio], dim=1).ravel(),
            torch.cat([nothing, mean.expand_as(ratio)], dim=1).ravel(),
            camera,
        )

    def scores(self, rotation: Float[Tensor, "poses 3 3"], centre: Float[Tensor, "poses 3"]) -> Float[Tensor, " poses"]:
        """Log-likelihood ratio of each camera pose: the sum over all points."""
        size = max(1, (CHUNK if self.points.device.type == "cpu" else GPU_CHUNK) // max(1, self.points.shape[1]))
        parts = zip(rotation.split(size), centre.split(size), strict=True)
        return torch.cat([_look_up(self.table, self._entries(*part)).sum(dim=1) for part in parts])

    def explained_share(self, rotation: Float[Tensor, "3 3"], centre: Float[Tensor, "3"]) -> float:
        """The score of one pose as a share of the score expected if it were correct, with the same visible points.

        Near 1 for a good pose, near 0 or negative for a wrong one; 0 if no point is in view.
        """
        entries = self._entries(rotation[None], centre[None])
        expected = float(self.expected[entries].sum())
        return float(self.table[entries].sum()) / expected if expected > 1e-6 else 0.0

    def _entries(self, rotation: Tensor, centre: Tensor) -> Tensor:
        """Entries (poses, points) of `table`, by the label of each point and the symbol of its pixel."""
        camera = self.camera
        intrinsics = rotation.new_tensor(camera.matrix)
        projection = intrinsics @ rotation
        x, y, depth = torch.baddbmm(
            -projection @ centre[..., None], projection, self.points.expand(len(rotation), -1, -1)
        ).unbind(dim=1)
        hidden = depth < NEAREST
        if self.cones is not None:
            hidden |= self._out_of_cone(centre)
        scale = depth.clamp_(min=NEAREST).reciprocal_()
        # 1 for the border, and 0.5 to round instead of truncating.
        column = x.mul_(scale).add_(1.5).clamp_(0, camera.width + 1).masked_fill_(hidden, 0).int()
        row = y.mul_(scale).add_(1.5).clamp_(0, camera.height + 1).int()
        pixel = row.mul_(camera.width + 2).add_(column)
        return _look_up(self.symbols, pixel).add_(self.rows)

    def _out_of_cone(self, centre: Tensor) -> Tensor:
        """Which points (poses, points) are seen from outside their cone: too near, too far, or too far aside."""
        assert self.cones is not None
        axis, (cosine, nearest, farthest) = self.cones[:3], self.cones[3:]
        along = torch.addmm(-(axis * self.points).sum(dim=0), centre, axis)
        square = torch.addmm(self.points.square().sum(dim=0), centre, self.points, alpha=-2)
        distance = square.add_(centre.square().sum(dim=1, keepdim=True)).clamp_(min=0).sqrt_()
        return (distance < nearest).logical_or_(distance > farthest).logical_or_(along < cosine * distance)


def _look_up(table: Tensor, entries: Tensor) -> Tensor:
    """table[entries], in half the time."""
    return table.index_select(0, entries.flatten()).view(entries.shape)

"""What the label map of one image says of camera poses, given map points of which only position and label are known.

The likelihood is that of the whole image: a pixel at which a map point appears shows a label drawn from the point's
row of the confusion matrix or, when the point is occluded, what any pixel of the image may show; all other pixels
show what any pixel may show. Up to a constant, that is a likelihood ratio per visible point:

    log ((1 - occlusion) p(label in the image | label of the point) / p(label in the image) + occlusion)

A point outside the image says nothing (0), so a pose that sees few points neither wins nor loses by that.
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
"""Points less deep than this (metres, if the map is metric) are taken for not seen."""
CHUNK = 1 << 17
"""Projections at a time: what they need stays in the processor's cache."""
GPU_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class LabelEvidence:
    """Scores of poses in one image."""

    points: Float[Tensor, "3 points"]
    """Map points in the frame that the poses start from."""
    cones: Float[Tensor, "6 points"] | None
    """From where each point can be seen: axis (3), cosine of half the opening, nearest and farthest distance."""
    rows: Int[Tensor, " points"]
    """For each point the start of its label's row in `table`."""
    symbols: Int[Tensor, " padded"]
    """The image within a border of one pixel, row by row: what is to be seen, 0 for nothing."""
    table: Float[Tensor, " entries"]
    """Log-likelihood ratio for each label of points and each symbol, flat."""
    expected: Float[Tensor, " entries"]
    """For each label of points and each symbol but "nothing" the mean ratio of a point of this label, if visible."""
    camera: Camera
    """Without distortion."""

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
    ) -> "LabelEvidence":
        """Prepare an image; see `LabelEvidence` and the head of this file.

        Args:
            points: map points that may be seen, in a frame near the camera.
            cones: from where they can be seen; None for anywhere.
            point_labels: their labels, 0 to K - 1.
            probabilities: p(label in the image | label of the point), rows that sum to 1.
            labels: (H, W) label map; values outside 0 to K - 1 say nothing.
            camera: of the image; a distorted one is undone first.
            occlusion: share of the points in view that are hidden, in (0, 1).

        Raises:
            FgsnError: the label map is not of the camera's size.
        """
        device, count = points.device, len(probabilities)
        labels, camera = undistorted(labels, camera)
        known = (labels >= 0) & (labels < count)
        # Symbols are the labels of this image, few of many; 0 is what says nothing.
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
        """Log-likelihood ratio of each camera, rotated and centred in the frame of the points: the sum over them."""
        size = max(1, (CHUNK if self.points.device.type == "cpu" else GPU_CHUNK) // max(1, self.points.shape[1]))
        parts = zip(rotation.split(size), centre.split(size), strict=True)
        return torch.cat([_look_up(self.table, self._entries(*part)).sum(dim=1) for part in parts])

    def support(self, rotation: Float[Tensor, "3 3"], centre: Float[Tensor, "3"]) -> float:
        """The score of one camera as a share of what it would be, on average, if all points were where it says.

        Near 1 at a good pose, near 0 or negative at a wrong one; 0 when no point is in view.
        """
        entries = self._entries(rotation[None], centre[None])
        expected = float(self.expected[entries].sum())
        return float(self.table[entries].sum()) / expected if expected > 1e-6 else 0.0

    def _entries(self, rotation: Tensor, centre: Tensor) -> Tensor:
        """Entries (poses, points) of `table`: where each point appears, and what is to be seen there."""
        camera = self.camera
        lens = rotation.new_tensor([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        turned = lens @ rotation
        x, y, depth = torch.baddbmm(
            -turned @ centre[..., None], turned, self.points.expand(len(rotation), -1, -1)
        ).unbind(dim=1)
        hidden = depth < NEAREST
        if self.cones is not None:
            hidden |= self._out_of_cone(centre)
        scale = depth.clamp_(min=NEAREST).reciprocal_()
        # The border makes every index one larger, and 0.5 more rounds instead of cutting off.
        column = x.mul_(scale).add_(1.5).clamp_(0, camera.width + 1).masked_fill_(hidden, 0).int()
        row = y.mul_(scale).add_(1.5).clamp_(0, camera.height + 1).int()
        pixel = row.mul_(camera.width + 2).add_(column)
        return _look_up(self.symbols, pixel).add_(self.rows)

    def _out_of_cone(self, centre: Tensor) -> Tensor:
        """Which points (poses, points) are not seen from there: too near, too far, or from aside."""
        assert self.cones is not None
        axis, (cosine, nearest, farthest) = self.cones[:3], self.cones[3:]
        along = torch.addmm(-(axis * self.points).sum(dim=0), centre, axis)
        square = torch.addmm(self.points.square().sum(dim=0), centre, self.points, alpha=-2)
        distance = square.add_(centre.square().sum(dim=1, keepdim=True)).clamp_(min=0).sqrt_()
        return (distance < nearest).logical_or_(distance > farthest).logical_or_(along < cosine * distance)


def _look_up(table: Tensor, entries: Tensor) -> Tensor:
    """table[entries], twice as fast."""
    return table.index_select(0, entries.flatten()).view(entries.shape)
